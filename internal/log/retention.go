package log

import (
	"time"

	"millrace/record"
)

// retention removes what topics no longer keep: one goroutine per store, one
// pass at the start and one per interval.
type retention struct {
	store *Store
	kick  chan struct{} // capacity 1
	ended chan struct{}
	guard clockGuard
	last  time.Time // of the last pass
}

func newRetention(s *Store) *retention {
	return &retention{store: s, kick: make(chan struct{}, 1), ended: make(chan struct{})}
}

// nudge starts a pass soon: a configuration has changed.
func (r *retention) nudge() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *retention) run() {
	defer close(r.ended)
	ticker := time.NewTicker(r.store.opts.RetentionInterval)
	defer ticker.Stop()
	for {
		r.pass()
		select {
		case <-ticker.C:
		case <-r.kick:
		case <-r.store.quit:
			return
		}
	}
}

// pass decides for all logs, makes the new log starts durable in one write, and
// removes what lies below them.
func (r *retention) pass() {
	now := r.store.opts.Now()
	elapsed := now.Sub(r.last) // by the monotonic clock, unless a test has none
	r.last = now
	if !r.guard.trusts(now, elapsed) {
		r.store.opts.Logger.Error("the clock leapt forward: nothing expires for an hour after that, in case it is wrong", "now", now)
		return
	}
	nowMs := now.UnixMilli()
	starts := map[*Log]record.Offset{}
	for _, l := range r.store.allLogs() {
		if l.stopped() != nil {
			continue
		}
		l.expireProducers(nowMs)
		if !l.configured.Load() {
			continue
		}
		if err := l.sealExpired(nowMs); err != nil {
			l.warn("retention skipped", err)
			continue
		}
		start, err := l.retained(nowMs)
		if err != nil {
			l.warn("retention skipped", err)
		} else if start > l.StartOffset() {
			starts[l] = start
		}
		select {
		case <-r.store.quit:
			return
		default:
		}
	}
	if len(starts) == 0 {
		return
	}
	if err := r.store.advance(starts); err != nil {
		r.store.opts.Logger.Warn("retention removed nothing", "error", err)
	}
}

// expireProducers forgets idempotent producers that are idle for too long.
func (l *Log) expireProducers(nowMs int64) {
	l.appender.Lock()
	defer l.appender.Unlock()
	l.appender.producers.expire(nowMs - l.store.opts.ProducerExpiration.Milliseconds())
}

// retained is the log start by the topic's retention: segments go from the oldest
// on, whole, and never the active one.
func (l *Log) retained(nowMs int64) (record.Offset, error) {
	cfg, v := l.config.Load(), l.view.Load()
	if !cfg.Deletes() {
		return v.start, nil
	}
	excess := int64(-1)
	if cfg.RetentionBytes >= 0 {
		excess = l.SizeBytes() - cfg.RetentionBytes
	}
	start := v.start
	for i, seg := range v.segments[:len(v.segments)-1] {
		size := seg.size.Load()
		expired, err := l.expired(v, i, cfg, nowMs)
		if err != nil {
			return start, err
		}
		if end := v.segments[i+1].base; expired || excess >= size {
			start = max(start, min(end, l.HighWatermark()))
		} else if end > start {
			break
		}
		excess -= size
	}
	return start, nil
}

// expired says that all records of segment i are older than retention.ms.
func (l *Log) expired(v *view, i int, cfg *Config, nowMs int64) (bool, error) {
	if cfg.RetentionMs < 0 {
		return false, nil
	}
	seg := v.segments[i]
	if seg.timeKnown.Load() && !olderThan(seg.maxTime.Load(), nowMs, cfg.RetentionMs) {
		return false, nil
	}
	newest, err := l.newestTime(v, i) // from the batches: an index must not delete records
	if err != nil {
		return false, err
	}
	if newest.ts < 0 {
		newest.ts, err = seg.modifiedMs(nowMs)
	}
	return olderThan(newest.ts, nowMs, cfg.RetentionMs), err
}

// modifiedMs is when the file was written last, which stands for the timestamps
// that its records do not have, as in Kafka. nowMs where the disk does not know.
func (s *segment) modifiedMs(nowMs int64) (int64, error) {
	info, err := s.store.fsys.Stat(s.path(dataFile))
	if err != nil || info.ModTime().IsZero() {
		return nowMs, err
	}
	return info.ModTime().UnixMilli(), nil
}

// sealExpired rolls an active segment whose records are all expired, so that it
// can be removed: an idle partition must empty too.
func (l *Log) sealExpired(nowMs int64) error {
	cfg := l.config.Load()
	v := l.view.Load()
	i := len(v.segments) - 1
	if !cfg.Deletes() || v.active().size.Load() == 0 || l.durable.Load() != l.next.Load() {
		return nil
	}
	if expired, err := l.expired(v, i, cfg, nowMs); !expired || err != nil {
		return err
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	if v.active() != l.view.Load().active() || v.active().size.Load() == 0 || l.durable.Load() != l.next.Load() {
		return nil // somebody appended meanwhile
	}
	if err := l.roll(nowMs); err != nil {
		return err
	}
	return l.syncNames()
}

// syncNames makes a new segment's name durable before the log depends on it.
func (l *Log) syncNames() error {
	if l.store.opts.faults.skipDirSync {
		return nil
	}
	if err := l.store.timed(func() error { return l.store.fsys.SyncDir(l.dir) }); err != nil {
		l.store.noteFailedSync()
		return l.fail(err)
	}
	return nil
}

// advance moves log starts forward: durable first (rule L3), then visible, then
// the files below them go. Without any it only writes the checkpoint.
func (s *Store) advance(starts map[*Log]record.Offset) error {
	if err := s.keepProducers(starts); err != nil {
		return err
	}
	s.startsMu.Lock()
	defer s.startsMu.Unlock()
	if !s.opts.faults.deleteBeforeStart {
		if err := s.writeStarts(starts); err != nil {
			return err
		}
	}
	for l, start := range starts {
		l.startAt(start)
	}
	return nil
}

// keepProducers writes a checkpoint when a segment above a recovery point is to go:
// the next start could not read there what its producers did, and would take a
// transaction for open whose marker is gone.
func (s *Store) keepProducers(starts map[*Log]record.Offset) error {
	for l, start := range starts {
		v := l.view.Load()
		if start < v.segments[0].base || int64(v.segments[v.at(start)].base) <= l.checkpointed.Load() {
			continue
		}
		return s.checkpointer.checkpoint()
	}
	return nil
}

// writeStarts makes the log starts durable, with the given changes.
func (s *Store) writeStarts(changed map[*Log]record.Offset) error {
	all := offsets{}
	for _, l := range s.allLogs() {
		if start := max(l.StartOffset(), changed[l]); start > 0 {
			all[l.tp] = start
		}
	}
	return s.replaceRoot(logStartFile, all.encode())
}

// startAt shows the new start to readers and removes segments that lie below it.
func (l *Log) startAt(start record.Offset) {
	l.reshape.Lock()
	defer l.reshape.Unlock()
	var below []*segment
	l.changeView(func(v view) view {
		v.start = max(v.start, start)
		for len(v.segments) > 1 && v.segments[1].base <= v.start {
			below = append(below, v.segments[0])
			v.segments = v.segments[1:]
		}
		return v
	})
	l.names.RLock()
	defer l.names.RUnlock()
	if l.ended.Load() != nil {
		return // the directory goes, or the store is closed; a start removes the rest
	}
	for _, seg := range below {
		seg.retire()
		if err := seg.removeFiles(); err != nil {
			l.warn("an expired segment could not be removed; the next start tries again", err)
		}
	}
}

// DeleteRecords moves the log start to before, so that older records are gone
// for every reader. The new start is durable when it returns. ErrOffsetOutOfRange
// above the high watermark. A start that is there already stays.
func (l *Log) DeleteRecords(before record.Offset) (start record.Offset, err error) {
	if err := l.stopped(); err != nil {
		return 0, err
	}
	if before < 0 || before > l.HighWatermark() {
		return 0, outOfRange(l, before)
	}
	if before > l.StartOffset() {
		if err := l.store.advance(map[*Log]record.Offset{l: before}); err != nil {
			return 0, err
		}
	}
	return l.StartOffset(), nil
}
