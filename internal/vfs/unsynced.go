package vfs

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"sync"
)

// unsyncedSet knows what SyncAll must sync one by one where there is no
// trustworthy call for the whole file system: other systems than Linux, and
// Linux before 5.8, whose syncfs reports no write error. A nil set does nothing.
//
// An operation is added after it is done, and dropped before it is synced: then
// a sync beside it covers it or leaves it in the set.
type unsyncedSet struct {
	mu    sync.Mutex
	files map[*osFile]struct{}
	dirs  map[string]struct{}
}

func newUnsyncedSet() *unsyncedSet {
	return &unsyncedSet{files: map[*osFile]struct{}{}, dirs: map[string]struct{}{}}
}

func (s *unsyncedSet) addFile(f *osFile) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f] = struct{}{}
}

func (s *unsyncedSet) dropFile(f *osFile) (was bool) {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was = s.files[f]
	delete(s.files, f)
	return was
}

func (s *unsyncedSet) syncBeforeClose(f *osFile) error {
	if !s.dropFile(f) {
		return nil
	}
	return f.at("sync", syncData(f))
}

func (s *unsyncedSet) addNameIn(dir string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs[path.Clean(dir)] = struct{}{}
}

func (s *unsyncedSet) dropNamesIn(dir string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dirs, path.Clean(dir))
}

func (s *unsyncedSet) take() (map[*osFile]struct{}, map[string]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, dirs := maps.Clone(s.files), maps.Clone(s.dirs)
	clear(s.files)
	clear(s.dirs)
	return files, dirs
}

// syncAll never returns before all files were tried, and never tries one again:
// after a failed sync a later success proves nothing.
func (s *unsyncedSet) syncAll(syncDir func(dir string) error) error {
	files, dirs := s.take()
	var failed []error
	for f := range files {
		failed = append(failed, f.at("sync", syncData(f)))
	}
	for dir := range dirs {
		// A directory that is gone has no names; that it is gone is a name in its parent.
		if err := syncDir(dir); !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func parent(name string) string { return path.Dir(path.Clean(name)) }
