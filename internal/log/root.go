package log

import (
	"errors"
	"sync/atomic"

	"millrace/record"
)

// rootNames knows whether a sync of the data directory proves anything. After one
// that failed, the page cache may call names clean that are not on disk, and the
// next sync passes them by (Rebello et al., USENIX ATC'20). Only a later change
// makes the directory dirty again, as a whole: then its sync covers them all.
type rootNames struct {
	failed  atomic.Int64 // syncs that failed
	settled atomic.Int64 // value of failed when a change was last synced
}

var errNamesUnsure = errors.New("an earlier sync of the directory failed, and so do attempts to repeat its changes")

// replaceRoot is replaceFile in the data directory.
func (s *Store) replaceRoot(name string, content []byte) error {
	before := s.root.failed.Load()
	if err := replaceFile(s.fsys, name, content); err != nil {
		s.root.failed.Add(1)
		return err
	}
	if s.root.failed.Load() == before {
		s.root.settled.Store(before)
	}
	return nil
}

// syncRoot makes the names in the data directory durable.
func (s *Store) syncRoot() error {
	if err := s.timed(func() error { return s.fsys.SyncDir(".") }); err != nil {
		s.root.failed.Add(1)
		return err
	}
	return s.proveRoot()
}

// proveRoot comes after a good sync of the data directory, or of everything. It
// repeats the sync with a change if that one may have been a lie.
func (s *Store) proveRoot() error {
	if s.root.failed.Load() == s.root.settled.Load() {
		return nil
	}
	if err := s.checkpointer.writePoints(map[*Log]record.Offset{}); err != nil {
		return err
	}
	if s.root.failed.Load() != s.root.settled.Load() {
		return errNamesUnsure
	}
	return nil
}
