package broker

import (
	"bytes"
	"encoding/json/v2"
	"errors"
	"fmt"
	"hash/crc32"

	"millrace/internal/vfs"
)

// A state file is one small JSON document and, on the line below, the CRC-32C of
// what is above:
//
//	{"partitions":4,...}
//	crc32c 8a3f00c1
//
// It is replaced as a whole: new bytes under another name, sync, rename, sync of
// the directory. So after a crash it is the old document or the new one, and a
// flipped bit is noticed instead of changing a setting.

// errDamaged means that a state file's bytes do not match their checksum.
var errDamaged = errors.New("broker: damaged state file")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcLine is what the checksum's line begins with.
const crcLine = "crc32c "

// draftPrefix marks a file that is not yet in its place. A tilde is no character
// of a topic's name.
const draftPrefix = "~"

// syncEachUpTo is the number of files from which on one sync of the whole file
// system costs less than one per file.
const syncEachUpTo = 8

// stateFile is one document in a directory of state files.
type stateFile struct {
	name  string
	value any
}

// writeStateFiles makes all documents durable in dir. After an error none or
// some of them may be in place.
func writeStateFiles(fsys vfs.FS, dir string, files ...stateFile) error {
	if len(files) == 0 {
		return nil
	}
	for _, f := range files {
		if err := writeDraft(fsys, dir, f, len(files) <= syncEachUpTo); err != nil {
			return fmt.Errorf("write %s/%s in %s: %w", dir, f.name, fsys.Root(), err)
		}
	}
	if len(files) > syncEachUpTo {
		if err := fsys.SyncAll(); err != nil {
			return fmt.Errorf("sync %s in %s: %w", dir, fsys.Root(), err)
		}
	}
	for _, f := range files {
		if err := fsys.Rename(dir+"/"+draftPrefix+f.name, dir+"/"+f.name); err != nil {
			return fmt.Errorf("put %s/%s in place in %s: %w", dir, f.name, fsys.Root(), err)
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("sync directory %s in %s: %w", dir, fsys.Root(), err)
	}
	return nil
}

func writeDraft(fsys vfs.FS, dir string, f stateFile, sync bool) error {
	content, err := encodeState(f.value)
	if err != nil {
		return err
	}
	file, err := fsys.Create(dir + "/" + draftPrefix + f.name)
	if err != nil {
		return err
	}
	_, err = file.Writev([][]byte{content}, 0)
	if err == nil && sync {
		err = file.SyncData()
	}
	return errors.Join(err, file.Close())
}

// readStateFile fills value. A missing file is fs.ErrNotExist, a damaged one errDamaged.
func readStateFile(fsys vfs.FS, dir, name string, value any) error {
	content, err := fsys.ReadFile(dir + "/" + name)
	if err == nil {
		err = decodeState(content, value)
	}
	if err != nil {
		return fmt.Errorf("read %s/%s in %s: %w", dir, name, fsys.Root(), err)
	}
	return nil
}

// removeStateFiles removes them durably; a missing one is no error.
func removeStateFiles(fsys vfs.FS, dir string, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if err := fsys.RemoveAll(dir + "/" + name); err != nil {
			return fmt.Errorf("remove %s/%s in %s: %w", dir, name, fsys.Root(), err)
		}
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("sync directory %s in %s: %w", dir, fsys.Root(), err)
	}
	return nil
}

func encodeState(value any) ([]byte, error) {
	body, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return fmt.Appendf(body, "%s%08x\n", crcLine, crc32.Checksum(body, castagnoli)), nil
}

func decodeState(content []byte, value any) error {
	body, sum, found := bytes.Cut(content, []byte("\n"))
	if !found {
		return errDamaged
	}
	body = content[:len(body)+1]
	if want := fmt.Sprintf("%s%08x\n", crcLine, crc32.Checksum(body, castagnoli)); string(sum) != want {
		return errDamaged
	}
	if err := json.Unmarshal(body, value); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}
