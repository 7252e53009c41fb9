package log

import (
	"io"

	"millrace/internal/vfs"
	"millrace/record"
)

// copyUnsynced puts a copy in the place of each segment that may hold unsynced
// bytes. After a failed sync the page cache may call bytes clean that never
// reached the disk: they read well, but no later sync writes them. A copy makes
// them new. Replacing a file is safe against a crash; truncating it to write it
// anew would put at risk what was synced and acknowledged.
//
// It comes before anything opens a segment: a handle would stay with the file
// that was replaced, and take appends into it.
func copyUnsynced(fsys vfs.FS, segments []*segment, point record.Offset) error {
	if len(segments) == 0 {
		return nil
	}
	v := &view{segments: segments}
	for _, seg := range segments[v.at(max(point, segments[0].base)):] {
		if err := copyFile(fsys, seg.path(dataFile)); err != nil {
			return err
		}
	}
	return nil
}

// copyFile replaces a file by a durable copy of it.
func copyFile(fsys vfs.FS, name string) error {
	from, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := writeCopy(fsys, from, name+tempSuffix); err != nil {
		return err
	}
	return fsys.Rename(name+tempSuffix, name) // durable with Store.settle
}

func writeCopy(fsys vfs.FS, from vfs.File, name string) (err error) {
	to, err := fsys.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := to.Close(); err == nil {
			err = closeErr
		}
	}()
	window := windows.Get().(*[windowSize]byte)
	defer windows.Put(window)
	for pos := int64(0); ; {
		n, err := from.ReadAt(window[:], pos)
		if n > 0 {
			if _, err := to.Writev([][]byte{window[:n]}, pos); err != nil {
				return err
			}
			pos += int64(n)
		}
		if err == io.EOF {
			return to.SyncData()
		}
		if err != nil {
			return err
		}
	}
}
