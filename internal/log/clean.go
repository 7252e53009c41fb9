package log

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"millrace/record"
)

// cleanerFile says up to where each compacted partition is compacted, with
// Kafka's name and format. When it is lost the logs are compacted from their
// start once more, which changes nothing in them.
const cleanerFile = "cleaner-offset-checkpoint"

// compacted is what is known about the compaction of one log.
type compacted struct {
	to     atomic.Int64 // below, only the newest record of each key is left
	failed atomic.Bool  // damage was found: the log stays as it is until the next start
	rests  time.Time    // a pass failed: not before then; for the cleaner alone
}

// restAfterFailure keeps a pass that fails again and again, for want of space
// above all, from taking the disk's time.
const restAfterFailure = time.Minute

func (l *Log) compactedTo() record.Offset { return record.Offset(l.compacted.to.Load()) }

// cleaner compacts logs: one goroutine per store, which takes the dirtiest log
// first, one after the other. Its memory is the map of keys, which it gives back
// when there is nothing to do, and the largest batch.
type cleaner struct {
	passing sync.Mutex // held by whoever cleans

	store *Store
	kick  chan struct{} // capacity 1
	ended chan struct{}

	burst  time.Time   // when it began to work without a rest
	listed atomic.Bool // there is a checkpoint
}

func newCleaner(s *Store) *cleaner {
	return &cleaner{store: s, kick: make(chan struct{}, 1), ended: make(chan struct{})}
}

// nudge brings the next look forward: there may be something to do.
func (c *cleaner) nudge() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *cleaner) run() {
	defer close(c.ended)
	ticker := time.NewTicker(c.store.opts.CompactionInterval)
	defer ticker.Stop()
	for {
		c.cleanAll()
		select {
		case <-ticker.C:
		case <-c.kick:
		case <-c.store.quit:
			return
		}
	}
}

// cleanAll compacts until no log is dirty enough. One that could not be compacted
// waits for the next round.
func (c *cleaner) cleanAll() {
	c.passing.Lock() // the tests' passes come beside the goroutine's own
	defer c.passing.Unlock()
	var keys *offsetMap
	tried := map[*Log]bool{}
	for {
		d := c.dirtiest(tried)
		if d.log == nil {
			return
		}
		tried[d.log] = true
		if keys == nil {
			keys = newOffsetMap(c.store.opts.CompactionMapBytes)
		}
		if err := c.clean(d, keys); err != nil && !c.tolerable(d.log, err) {
			d.log.compacted.rests = time.Now().Add(restAfterFailure)
			d.log.warn("compaction failed; it is tried again", err)
		}
		select {
		case <-c.store.quit:
			return
		default:
		}
	}
}

// tolerable says that an error of a pass needs no word, or has got one.
func (c *cleaner) tolerable(l *Log, err error) bool {
	if isBad(err) {
		l.compacted.failed.Store(true)
		c.store.opts.Logger.Error("the log is damaged and not compacted any more until a restart: it grows", "partition", l.tp.String(), "error", err)
		return true
	}
	return l.stopped() != nil || errors.Is(err, errOvertaken) || errors.Is(err, errRetired)
}

// clean compacts one log, in as many passes as its keys need.
func (c *cleaner) clean(d dirt, keys *offsetMap) error {
	l := d.log
	c.burst = time.Now()
	for l.compactedTo() < d.limit {
		began := c.store.opts.Now()
		pass := compaction{log: l, cfg: l.Config(), nowMs: began.UnixMilli(), keys: keys, pace: func(int) error { return c.pace(l) }}
		end, err := pass.run(d.limit)
		c.store.metrics.compaction.passed(&pass, err)
		if err != nil {
			return err
		}
		l.compacted.to.Store(int64(end))
		if err := c.writeCheckpoint(); err != nil {
			return err
		}
		c.store.opts.Logger.Debug("log compacted", "partition", l.tp.String(), "to", int64(end), "read_bytes", pass.readBytes, "left_bytes", pass.leftBytes)
	}
	return nil
}

const (
	// longestBurst is how long the cleaner works before it rests for as long: it
	// takes half of one processor at most, and as much of the disk's time.
	longestBurst = 5 * time.Millisecond
	longestRest  = 100 * time.Millisecond
)

// pace gives way to others, and ends the work when the store or the log stops.
func (c *cleaner) pace(l *Log) error {
	if err := l.stopped(); err != nil {
		return err
	}
	worked := time.Since(c.burst)
	if worked < longestBurst {
		return nil
	}
	rest := time.NewTimer(min(worked, longestRest))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-c.store.quit:
		return ErrClosed
	}
	c.burst = time.Now()
	return nil
}

// dirt is what a log has to be compacted.
type dirt struct {
	log   *Log
	limit record.Offset // at which a segment ends
	ratio float64       // of bytes that were never compacted
	due   bool          // by max.compaction.lag.ms, whatever the ratio
}

// dirtiest is the log that needs compaction most; none when none needs it.
func (c *cleaner) dirtiest(tried map[*Log]bool) (worst dirt) {
	nowMs := c.store.opts.Now().UnixMilli()
	highest := 0.0
	for _, l := range c.store.allLogs() {
		cfg := l.config.Load()
		if !cfg.Compacts() || !l.configured.Load() || l.compacted.failed.Load() || l.stopped() != nil {
			continue
		}
		if err := l.sealLagging(cfg, nowMs); err != nil {
			l.warn("the active segment could not be sealed for compaction", err)
		}
		d, err := l.dirt(cfg, nowMs)
		if err != nil {
			l.warn("compaction skipped", err)
			continue
		}
		highest = max(highest, d.ratio)
		if tried[l] || time.Now().Before(l.compacted.rests) || !d.due && d.ratio <= cfg.MinCleanableDirtyRatio {
			continue
		}
		if worst.log == nil || d.due && !worst.due || d.due == worst.due && d.ratio > worst.ratio {
			worst = d
		}
	}
	c.store.metrics.compaction.dirtyRatio.Set(highest)
	return worst
}

// dirt measures what may be compacted: sealed segments below the recovery point,
// in which no transaction is open and no record too young. So a start never has
// to judge a compacted segment by what a crash may have done to it.
func (l *Log) dirt(cfg *Config, nowMs int64) (dirt, error) {
	v := l.view.Load()
	stable := min(l.LastStableOffset(), record.Offset(l.checkpointed.Load()))
	if l.store.opts.faults.compaction.passOpen {
		stable = record.Offset(l.checkpointed.Load())
	}
	d := dirt{log: l, limit: v.segments[0].base}
	var clean, dirty int64
	for i, seg := range v.segments[:len(v.segments)-1] {
		if v.limit(i) > stable {
			break
		}
		if young, err := l.tooYoung(v, i, cfg, nowMs); young || err != nil {
			return d.measured(clean, dirty), err
		}
		d.limit = v.limit(i)
		if d.limit <= l.compactedTo() {
			clean += seg.size.Load()
			continue
		}
		if dirty == 0 && cfg.MaxCompactionLagMs < math.MaxInt64 {
			d.due = olderThan(seg.firstTime(nowMs), nowMs, cfg.MaxCompactionLagMs)
		}
		dirty += seg.size.Load()
	}
	return d.measured(clean, dirty), nil
}

func (d dirt) measured(clean, dirty int64) dirt {
	if dirty > 0 {
		d.ratio = float64(dirty) / float64(clean+dirty)
	}
	return d
}

// tooYoung says that segment i has a record younger than min.compaction.lag.ms.
func (l *Log) tooYoung(v *view, i int, cfg *Config, nowMs int64) (bool, error) {
	if cfg.MinCompactionLagMs <= 0 {
		return false, nil
	}
	newest, err := l.newestTime(v, i)
	return err == nil && !olderThan(newest.ts, nowMs, cfg.MinCompactionLagMs-1), err
}

// sealLagging rolls an active segment that is too old for max.compaction.lag.ms:
// in a partition where nobody appends, no append would.
func (l *Log) sealLagging(cfg *Config, nowMs int64) error {
	active := l.view.Load().active()
	if cfg.MaxCompactionLagMs == math.MaxInt64 || active.size.Load() == 0 || !olderThan(active.firstTime(nowMs), nowMs, cfg.MaxCompactionLagMs) {
		return nil
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	if l.view.Load().active() != active || l.durable.Load() != l.next.Load() {
		return nil // somebody appends: that rolls it
	}
	if err := l.roll(nowMs); err != nil {
		return err
	}
	return l.syncNames()
}

// writeCheckpoint says on disk up to where all logs are compacted.
func (c *cleaner) writeCheckpoint() error {
	all := offsets{}
	for _, l := range c.store.allLogs() {
		if to := l.compactedTo(); to > 0 {
			all[l.tp] = to
		}
	}
	c.listed.Store(true)
	return c.store.replaceRoot(cleanerFile, all.encode())
}

// forgetFormer writes the checkpoint without partitions that were deleted, if
// there is one that may name them.
func (c *cleaner) forgetFormer() error {
	if !c.listed.Load() {
		return nil
	}
	return c.writeCheckpoint()
}
