package log

import (
	"errors"
	"fmt"
)

// Close stops cleanly (rule S5): appends are refused, everything written is
// synced, indexes and producers are written, then the checkpoints, and last the
// mark that spares the next start its scan. A store with a failed partition is
// closed without that mark. It is safe to call twice.
//
// The order is that of trust: nothing is written that presumes what is not yet
// durable. Background work ends first, so that nothing changes meanwhile.
func (s *Store) Close() error {
	s.closed.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.closing.Store(true)
	s.changes.Lock() // a Create or Delete in progress ends first
	defer s.changes.Unlock()
	logs := s.allLogs()
	for _, l := range logs {
		l.appender.Lock() // an append in progress ends first
		l.end(fmt.Errorf("%w: %s", ErrClosed, l.tp))
		l.appender.Unlock()
	}
	close(s.quit)
	<-s.retention.ended
	<-s.cleaner.ended
	<-s.checkpointer.ended
	s.removals.Wait()
	close(s.syncer.quit)
	<-s.syncer.ended
	err := s.leaveClean(logs)
	if err != nil {
		err = fmt.Errorf("close log: the next start will scan: %w", err)
	}
	return errors.Join(err, s.release())
}

// release gives back what a store holds: files, metrics and the lock.
func (s *Store) release() error {
	s.handles.close()
	if s.metrics != nil {
		s.metrics.unregister()
	}
	return s.lock.Close()
}

// leaveClean writes what a clean start relies on.
func (s *Store) leaveClean(logs []*Log) error {
	for _, l := range logs {
		if reason := l.failed.Load(); reason != nil {
			return *reason
		}
		if l.indexFailed.Load() {
			return fmt.Errorf("%s: an index could not be synced", l.tp)
		}
	}
	changed := false
	for _, l := range logs {
		touched, err := l.writeLast()
		if err != nil {
			return err
		}
		changed = changed || touched
	}
	if changed {
		if err := s.syncAll(); err != nil {
			return err
		}
	}
	if err := s.checkpointer.writePoints(nil); err != nil {
		return err
	}
	if err := s.writeStarts(nil); err != nil {
		return err
	}
	return s.replaceRoot(cleanFile, []byte(`{"version":0,"brokerEpoch":-1}`+"\n"))
}

// writeLast writes the index entries and the producers that are in memory only,
// if the log has changed since its last checkpoint. Store.leaveClean syncs them.
func (l *Log) writeLast() (changed bool, err error) {
	l.appender.Lock()
	defer l.appender.Unlock()
	a := &l.appender
	changed = len(a.sealed) > 0 || a.index.dirty || a.aborted.dirty
	if len(a.index.offsets) > 0 || a.index.max.ts > a.index.last.ts {
		changed = true
		if err := a.index.seal(); err != nil {
			return changed, err
		}
	}
	if a.producers.changed {
		changed = true
		if err := putFile(l.store.fsys, l.snapshotPath(l.NextOffset()), l.encodeProducers(), false); err != nil {
			return changed, err
		}
	}
	return changed, nil
}
