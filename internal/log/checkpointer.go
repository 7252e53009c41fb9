package log

import (
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
		}
	}
}

// checkpointTarget is one log that has changed since its recovery point.
type checkpointTarget struct {
	log      *Log
	point    record.Offset
	snapshot []byte // of the producers at point; nil when they have not changed
	sealed   []*segment
}

// checkpoint syncs all that is written, snapshots the producers that changed,
// and writes the recovery points.
func (c *checkpointer) checkpoint() error {
	c.bytes.Store(0)
	targets := c.targets()
	if len(targets) == 0 {
		return nil
	}
	round := c.store.syncer.all()
	<-round.done
	points := make(map[*Log]record.Offset, len(targets))
	for _, t := range targets {
		if record.Offset(t.log.durable.Load()) < t.point || t.log.stopped() != nil {
			continue // its sync failed, or it is gone
		}
		if err := t.prepare(); err != nil {
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
	if l.next.Load() == l.checkpointed.Load() {
		return t, false
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	t = checkpointTarget{log: l, point: l.NextOffset()}
	if p := &l.appender.producers; p.changed {
		t.snapshot = p.encode()
		p.changed = false
	}
	l.tail.Lock()
	t.sealed, l.tail.sealed = l.tail.sealed, nil
	l.tail.Unlock()
	return t, true
}

// prepare makes durable what a recovery point at t.point presumes.
func (t checkpointTarget) prepare() error {
	l := t.log
	l.names.RLock()
	defer l.names.RUnlock()
	if err := l.stopped(); err != nil {
		return err
	}
	for _, seg := range t.sealed {
		if err := seg.syncIndexes(); err != nil {
			l.warn("index not synced; it is rebuilt when it turns out wrong", err)
		}
	}
	if t.snapshot == nil {
		return nil
	}
	if err := l.writeSnapshot(t.point, t.snapshot); err != nil {
		l.appender.Lock()
		l.appender.producers.changed = true
		l.appender.Unlock()
		return err
	}
	return nil
}

// keptSnapshots stay on disk: when the newest is damaged the one before serves.
const keptSnapshots = 2

// writeSnapshot makes a snapshot durable and removes old ones.
func (l *Log) writeSnapshot(off record.Offset, content []byte) error {
	if err := writeFile(l.store.fsys, l.snapshotPath(off), content); err != nil {
		return err
	}
	if err := l.store.fsys.SyncDir(l.dir); err != nil {
		return err
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	a := &l.appender
	if n := len(a.snapshots); n == 0 || a.snapshots[n-1] < off {
		a.snapshots = append(a.snapshots, off)
	}
	for len(a.snapshots) > keptSnapshots {
		if err := l.store.fsys.Remove(l.snapshotPath(a.snapshots[0])); err != nil {
			l.warn("old producer snapshot stays", err)
		}
		a.snapshots = a.snapshots[1:]
	}
	return nil
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
	}{{&s.index, indexFile}, {&s.times, timesFile}} {
		f, err := s.openIndex(index.h, index.kind)
		if f == nil || err != nil {
			return unlessRetired(err)
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
	if err := replaceFile(c.store.fsys, recoveryPointFile, all.encode()); err != nil {
		return err
	}
	for _, l := range logs {
		l.checkpointed.Store(int64(all[l.tp]))
	}
	return nil
}
