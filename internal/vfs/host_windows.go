package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock locks one byte far behind the content: a locked byte cannot be read
// by others, and they want to read who holds the lock.
func tryLock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: 1 << 20})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

func freeBytes(self *os.File) (int64, error) {
	dir, err := windows.UTF16PtrFromString(self.Name())
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(dir, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(free), nil
}

// syncDirectory does nothing: NTFS journals names by itself, and Windows cannot
// flush a directory handle.
func syncDirectory(*os.File) error { return nil }

func isNotDir(err error) bool { return errors.Is(err, windows.ERROR_DIRECTORY) }

func isNoSpace(err error) bool { return errors.Is(err, windows.ERROR_DISK_FULL) }
