//go:build !linux

package vfs

import (
	"errors"
	"os"
)

func writev(f *osFile, bufs [][]byte, off int64) (int64, error) {
	return writeEach(f.File, bufs, off)
}

func writeEach(f *os.File, bufs [][]byte, off int64) (n int64, err error) {
	for _, b := range bufs {
		m, err := f.WriteAt(b, off+n)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// syncData is a full sync: on macOS the os package uses F_FULLFSYNC, because
// there fsync alone leaves the bytes in the drive's cache.
func syncData(f *osFile) error { return f.File.Sync() }

func syncWhole(*os.File) error { return errors.ErrUnsupported }

func wholeSyncReportsErrors() bool { return false }
