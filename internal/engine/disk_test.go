//go:build synctests

package engine

import (
	"github.com/cockroachdb/pebble/v2/vfs"
)

// watchedDisk is the state's disk, and tells of each sync before it is done: the
// moments at which what survives a power cut changes.
type watchedDisk struct {
	vfs.FS
	before func()
}

func (d watchedDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.watch(d.FS.Create(name, category))
}

func (d watchedDisk) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return d.watch(d.FS.OpenReadWrite(name, category, options...))
}

func (d watchedDisk) OpenDir(name string) (vfs.File, error) { return d.watch(d.FS.OpenDir(name)) }

func (d watchedDisk) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return d.watch(d.FS.ReuseForWrite(from, to, category))
}

func (d watchedDisk) watch(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return watchedFile{f, d.before}, nil
}

type watchedFile struct {
	vfs.File
	before func()
}

func (f watchedFile) Sync() error {
	f.before()
	return f.File.Sync()
}

func (f watchedFile) SyncData() error {
	f.before()
	return f.File.SyncData()
}

func (f watchedFile) SyncTo(length int64) (bool, error) {
	f.before()
	return f.File.SyncTo(length)
}
