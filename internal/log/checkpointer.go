package log

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/record"
)

// checkpointer writes recovery points: what an unclean start need not scan. A
// point is written after the sync and the producer snapshot that it stands for,
// so it may be lost but never lies.
type checkpointer struct {
	store *Store
	kick  chan struct{} // capacity 1
	ended chan struct{}
	bytes atomic.Int64 // synced since the last checkpoint

	taking  sync.Mutex // one checkpoint at a time
	writing sync.Mutex // one writer of the recovery points at a time
}

func newCheckpointer(s *Store) *checkpointer {
	return &checkpointer{store: s, kick: make(chan struct{}, 1), ended: make(chan struct{})}
}

// wrote accounts for bytes that a sync round takes.
func (c *checkpointer) wrote(n int64) {
	if c.bytes.Add(n) >= c.store.opts.CheckpointBytes {
		select {
		case c.kick <- struct{}{}:
		default:
		}
	}
}

func (c *checkpointer) run() {
	defer close(c.ended)
	ticker := time.NewTicker(c.store.opts.CheckpointInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.kick:
		case <-c.store.quit:
			return
		}
		if err := c.checkpoint(); err != nil {
			c.store.opts.Logger.Warn("checkpoint failed; the next one is tried in its time", "error", err)
			continue
		}
		c.store.cleaner.nudge() // more may be compacted
	}
}

// checkpointTarget is one log that has changed since its recovery point.
type checkpointTarget struct {
	log      *Log
	point    record.Offset
	snapshot []byte     // of the producers at point; nil when they have not changed
	indexed  []*segment // whose indexes got entries
}

// checkpoint syncs all that is written, indexes included, snapshots the producers
// that changed, and writes the recovery points.
func (c *checkpointer) checkpoint() error {
	c.taking.Lock()
	defer c.taking.Unlock()
	c.bytes.Store(0)
	targets := c.targets()
	if len(targets) == 0 {
		return nil
	}
	select {
	case <-c.store.syncer.all().done:
	case <-c.store.syncer.ended: // the store is closed, and syncs no more
		for _, t := range targets {
			t.giveBack()
		}
		return ErrClosed
	}
	c.syncIndexes(targets)
	points := make(map[*Log]record.Offset, len(targets))
	for _, t := range targets {
		if record.Offset(t.log.durable.Load()) < t.point || t.log.stopped() != nil || t.log.indexFailed.Load() {
			t.giveBack() // a sync failed, or the log is gone
			continue
		}
		if err := t.saveProducers(); err != nil {
			t.log.warn("checkpoint skipped", err)
			continue
		}
		points[t.log] = t.point
	}
	return c.writePoints(points)
}

func (c *checkpointer) targets() (all []checkpointTarget) {
	for _, l := range c.store.allLogs() {
		if t, changed := l.checkpointTarget(); changed {
			all = append(all, t)
		}
	}
	return all
}

// checkpointTarget captures the log's end, with the state of its producers there.
func (l *Log) checkpointTarget() (t checkpointTarget, changed bool) {
	if l.next.Load() == l.checkpointed.Load() || l.stopped() != nil {
		return t, false
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	a := &l.appender
	t = checkpointTarget{log: l, point: l.NextOffset()}
	if a.producers.changed {
		t.snapshot = l.encodeProducers()
		a.producers.changed = false
	}
	a.index.warn(l, a.index.flush())
	t.indexed, a.sealed = a.sealed, nil
	if a.index.dirty || a.aborted.dirty {
		t.indexed = append(t.indexed, a.index.seg)
		a.index.dirty, a.aborted.dirty = false, false
	}
	return t, true
}

// giveBack leaves what was captured to the next checkpoint, or to the clean stop.
func (t checkpointTarget) giveBack() {
	a := &t.log.appender
	a.Lock()
	defer a.Unlock()
	a.producers.changed = a.producers.changed || t.snapshot != nil
	for _, seg := range t.indexed {
		if !slices.Contains(a.sealed, seg) {
			a.sealed = append(a.sealed, seg)
		}
	}
}

// encodeProducers is the snapshot of the producers as they are. The appender is held.
func (l *Log) encodeProducers() []byte {
	a := &l.appender
	a.producers.aborted = a.aborted.mark()
	return a.producers.encode()
}

// syncIndexes makes the index entries below the points durable. Where that
// fails the log gets no more recovery points: a later success proves nothing.
func (c *checkpointer) syncIndexes(targets []checkpointTarget) {
	files := 0
	for _, t := range targets {
		files += 2 * len(t.indexed)
	}
	var err error
	if files > manyFiles {
		err = c.store.syncAll()
	}
	for _, t := range targets {
		if files <= manyFiles {
			err = t.log.syncIndexes(t.indexed)
		}
		if err != nil && len(t.indexed) > 0 {
			t.log.indexFailed.Store(true)
			t.log.warn("index not synced; the next start scans the log from its last checkpoint", err)
		}
	}
}

func (l *Log) syncIndexes(segments []*segment) error {
	for _, seg := range segments {
		if err := seg.syncIndexes(); err != nil {
			return err
		}
	}
	return nil
}

// saveProducers makes the snapshot of the producers at t.point durable, and
// removes old ones.
func (t checkpointTarget) saveProducers() error {
	if t.snapshot == nil {
		return nil
	}
	l := t.log
	err := l.writeSnapshot(t.point, t.snapshot)
	l.appender.Lock()
	defer l.appender.Unlock()
	if err != nil {
		l.appender.producers.changed = true
		return err
	}
	l.keepSnapshots(t.point)
	return nil
}

func (l *Log) writeSnapshot(off record.Offset, content []byte) error {
	l.names.RLock()
	defer l.names.RUnlock()
	if err := l.stopped(); err != nil {
		return err
	}
	if err := writeFile(l.store.fsys, l.snapshotPath(off), content); err != nil {
		return err
	}
	if err := l.store.fsys.SyncDir(l.dir); err != nil {
		l.store.noteFailedSync()
		return l.fail(err) // it may have covered the name of a new segment
	}
	return nil
}

// keptSnapshots stay on disk: when the newest is damaged the one before serves.
const keptSnapshots = 2

// keepSnapshots adds the newest snapshot and removes old ones. The appender is held.
func (l *Log) keepSnapshots(newest record.Offset) {
	l.names.RLock()
	defer l.names.RUnlock()
	if l.stopped() != nil {
		return
	}
	a := &l.appender
	if n := len(a.snapshots); n == 0 || a.snapshots[n-1] < newest {
		a.snapshots = append(a.snapshots, newest)
	}
	for len(a.snapshots) > keptSnapshots {
		if err := l.store.fsys.Remove(l.snapshotPath(a.snapshots[0])); err != nil {
			l.warn("old producer snapshot stays", err)
		}
		a.snapshots = a.snapshots[1:]
	}
}

func (l *Log) warn(what string, err error) {
	l.store.opts.Logger.Warn(what, "partition", l.tp.String(), "error", err)
}

// syncIndexes makes the indexes of a sealed segment durable. A segment that was
// removed meanwhile has none.
func (s *segment) syncIndexes() error {
	for _, index := range []struct {
		h    *handle
		kind fileKind
	}{{&s.index, indexFile}, {&s.times, timesFile}, {&s.txns, txnFile}} {
		f, err := s.openIndex(index.h, index.kind)
		if err != nil {
			return unlessRetired(err)
		}
		if f == nil {
			continue
		}
		err = s.store.timed(f.SyncData)
		index.h.release()
		if err != nil {
			return err
		}
	}
	return nil
}

func unlessRetired(err error) error {
	if err == errRetired {
		return nil
	}
	return err
}

// writePoints writes the recovery points of all logs, with the given changes.
// With nil every log's durable end is its point.
func (c *checkpointer) writePoints(changed map[*Log]record.Offset) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	logs := c.store.allLogs()
	all := make(offsets, len(logs))
	for _, l := range logs {
		point := record.Offset(l.checkpointed.Load())
		if p, ok := changed[l]; ok {
			point = p
		} else if changed == nil && l.failed.Load() == nil {
			point = record.Offset(l.durable.Load())
		}
		all[l.tp] = point
	}
	if err := c.store.replaceRoot(recoveryPointFile, all.encode()); err != nil {
		return err
	}
	for _, l := range logs {
		l.checkpointed.Store(int64(all[l.tp]))
	}
	return nil
}
