package log

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"millrace/record"
)

// deleteSuffix marks a directory whose partition is deleted, as in Kafka:
// "topic-0.<32 hex digits>-delete".
const deleteSuffix = "-delete"

// longestName is the longest file name that the usual file systems allow.
const longestName = 255

// Delete removes partitions. When it returns nil they are gone for good, also
// after a crash; their files go in the background. A partition that is not there
// is no error. On an error some may be deleted, and some may be so only until the
// next start: ask again.
func (s *Store) Delete(tps []record.TopicPartition) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if s.closing.Load() {
		return ErrClosed
	}
	var doomed []string
	var failed []error
	for _, tp := range tps {
		l, there := s.Log(tp)
		if !there {
			continue
		}
		name, err := l.condemn()
		if err != nil {
			failed = append(failed, fmt.Errorf("delete partition %s: %w", tp, err))
			continue
		}
		doomed = append(doomed, name)
		s.former[tp] = true
		s.mu.Lock()
		delete(s.logs, tp)
		s.mu.Unlock()
	}
	if err := s.bury(doomed); err != nil {
		failed = append(failed, fmt.Errorf("delete partitions: %w", err))
	}
	return errors.Join(failed...)
}

// bury makes deletions durable, with those that could not be before, and then
// has the files removed.
func (s *Store) bury(doomed []string) error {
	s.doomed = append(s.doomed, doomed...)
	if len(s.doomed) == 0 {
		return nil
	}
	if !s.opts.faults.skipDirSync {
		if err := s.syncRoot(); err != nil {
			return err
		}
	}
	s.removeLater(s.doomed)
	s.doomed = nil
	return nil
}

// condemn stops the log and renames its directory, so that nothing finds it any
// more. A log that cannot be renamed is stopped all the same, until a restart
// brings it back or a later Delete succeeds.
func (l *Log) condemn() (name string, err error) {
	l.appender.Lock()
	defer l.appender.Unlock()
	l.names.Lock()
	defer l.names.Unlock()
	l.end(fmt.Errorf("%w: %s", ErrDeleted, l.tp))
	for _, seg := range l.view.Load().segments {
		seg.retire()
	}
	name = condemnedName(l.dir)
	return name, l.store.fsys.Rename(l.dir, name)
}

func condemnedName(dir string) string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (Go 1.24)
	tail := "." + hex.EncodeToString(id[:]) + deleteSuffix
	return dir[:min(len(dir), longestName-len(tail))] + tail
}

func isCondemned(name string) bool {
	rest, ok := strings.CutSuffix(name, deleteSuffix)
	at := strings.LastIndexByte(rest, '.')
	if !ok || at < 0 || len(rest)-at-1 != 32 {
		return false
	}
	_, err := hex.DecodeString(rest[at+1:])
	return err == nil
}

// removeTemporary removes what a crash has left of half-written files.
func (s *Store) removeTemporary(names []string) error {
	for _, name := range names {
		if strings.HasSuffix(name, tempSuffix) {
			if err := s.fsys.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCondemned removes what a crash has left of deleted partitions. Their new
// names may not be durable yet: a partition must not come back without its files.
func (s *Store) removeCondemned(names []string) {
	doomed := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !isCondemned(name) })
	if len(doomed) == 0 {
		return
	}
	if err := s.checkpointer.writePoints(map[*Log]record.Offset{}); err != nil { // a change: see rootNames
		s.opts.Logger.Warn("files of deleted partitions stay; the next start tries again", "error", err)
		return
	}
	s.removeLater(doomed)
}

// removeLater removes directories in the background; Close waits, at most for
// the one at hand. What is left goes at the next start.
func (s *Store) removeLater(names []string) {
	if len(names) == 0 {
		return
	}
	s.removals.Go(func() {
		for _, name := range names {
			if s.closing.Load() {
				return
			}
			if err := s.fsys.RemoveAll(name); err != nil {
				s.opts.Logger.Warn("files of a deleted partition could not be removed; the next start tries again", "directory", name, "error", err)
			}
		}
	})
}
