package vfs

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

type osFile struct {
	*os.File
	raw      syscall.RawConn // keeps the descriptor ours during a raw system call
	path     string
	unsynced *unsyncedSet
}

func (f *osFile) Writev(bufs [][]byte, off int64) (int64, error) {
	defer f.unsynced.addFile(f)
	if len(bufs) == 1 {
		n, err := f.WriteAt(bufs[0], off)
		return int64(n), f.at("write", err)
	}
	n, err := writev(f, bufs, off)
	return n, f.at("write", err)
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, f.at("stat", err)
	}
	return info.Size(), nil
}

func (f *osFile) Truncate(sizeBytes int64) error {
	defer f.unsynced.addFile(f)
	return f.at("truncate", f.File.Truncate(sizeBytes))
}

func (f *osFile) SyncData() error {
	f.unsynced.dropFile(f)
	return f.at("sync", syncData(f))
}

// Close leaves unsynced bytes to the next SyncAll. Where that has to find the
// file by its handle, they are synced now, while there is one.
func (f *osFile) Close() error {
	err := f.unsynced.syncBeforeClose(f)
	if closeErr := f.at("close", f.File.Close()); err == nil {
		err = closeErr
	}
	return err
}

func (f *osFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if err == io.EOF {
		return n, err
	}
	return n, f.at("read", err)
}

func (f *osFile) at(op string, err error) error {
	if err == nil {
		return nil
	}
	if at, ok := err.(*fs.PathError); ok {
		err = at.Err
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}
