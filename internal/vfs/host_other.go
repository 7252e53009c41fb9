//go:build !linux && !darwin && !freebsd && !windows

package vfs

import (
	"errors"
	"os"
)

// Where we know no lock that ends with its process, a data directory is refused.
func tryLock(*os.File) error { return errors.ErrUnsupported }

func freeBytes(*os.File) (int64, error) { return 0, errors.ErrUnsupported }

func syncDirectory(d *os.File) error { return d.Sync() }

func isNotDir(error) bool { return false }

func isNoSpace(error) bool { return false }
