package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// AppendOptions choose how one append is treated.
type AppendOptions struct {
	// Sync starts a sync at once, for a caller who waits for it (acks=all). Without
	// it the bytes are synced within Options.BackgroundSync, or when the caller asks
	// for it by [Store.SyncTogether] or [Store.SyncHere].
	Sync bool
	// Txn says that the transaction coordinator knows this partition as part of the
	// producer's transaction. The first batch of a transaction needs it.
	Txn bool
	// FromZero says that the producer starts at sequence 0 where it has not written
	// before, as clients of transaction.version 2 do. Then a higher first sequence
	// has overtaken the batches before it, and is refused.
	FromZero bool
	// Internal marks the broker's own records: they may use half of the disk
	// reserve and are not bound by the topic's limits on size and timestamps, and
	// the sequences of transactional ones are not looked at.
	Internal bool
}

// Appended says where an append went. Until Wait has returned nil, the records
// may be lost by a power cut (under Fsync) and must not be acknowledged as safe.
type Appended struct {
	Base, Last   record.Offset
	AppendTimeMs int64         // the broker's timestamp of the records; -1 when they keep their own
	LogStart     record.Offset // of the log
	Duplicate    bool          // the batch was there before; Base and Last are where

	log    *Log
	round  *round
	marker bool
}

// Append writes the whole batches in b at the end of the log and gives their
// records the next offsets. Each batch must have passed batch.Validate; b is
// changed in place (base offset and leader epoch; under LogAppendTime also the
// timestamp and checksum). When Append returns, the bytes are in the operating
// system's page cache. On an error nothing was appended.
//
// A batch of an idempotent producer must come alone. Control batches are refused
// with ErrControl: see AppendMarker.
func (l *Log) Append(b []byte, o AppendOptions) (Appended, error) {
	var few [4]batch.Header // most appends have one batch
	cfg := l.config.Load()
	nowMs := l.store.opts.Now().UnixMilli()
	headers, err := l.inspect(few[:0], b, cfg, nowMs, o.Internal)
	if err != nil {
		return Appended{}, err
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	if err := l.stopped(); err != nil {
		return Appended{}, err
	}
	if h := headers[0]; len(headers) == 1 && h.ProducerID >= 0 {
		repeated, duplicate, err := l.appender.producers.decide(h, o)
		if err != nil {
			return Appended{}, err
		}
		if duplicate {
			return l.appendedBefore(repeated, o.Sync), nil
		}
	}
	return l.add(b, headers, addition{cfg: cfg, nowMs: nowMs, internal: o.Internal, sync: o.Sync})
}

// addition is how batches are added that may be: the appender has decided that.
type addition struct {
	cfg            *Config
	nowMs          int64
	internal, sync bool
	marker         *Marker // what the one batch says; nil for records
}

// add puts batches at the end of the log. The appender is held.
func (l *Log) add(b []byte, headers []batch.Header, how addition) (Appended, error) {
	if err := l.store.space.take(int64(len(b)), how.internal); err != nil {
		return Appended{}, err
	}
	if err := l.maybeRoll(headers, int64(len(b)), how.cfg, how.nowMs); err != nil {
		return Appended{}, err
	}
	seg := l.view.Load().active()
	f, err := seg.openData()
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l.tp, err)
	}
	defer seg.data.release() // after account has pinned it
	l.patch(b, headers, how.cfg, how.nowMs)
	if err := l.stageAborted(how.marker); err != nil {
		return Appended{}, err
	}
	if err := l.write(seg, f, b); err != nil {
		return Appended{}, err
	}
	return l.account(seg, headers, int64(len(b)), how), nil
}

// inspect splits b and holds each batch against the topic's limits.
func (l *Log) inspect(headers []batch.Header, b []byte, cfg *Config, nowMs int64, internal bool) ([]batch.Header, error) {
	for len(b) > 0 {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return nil, fmt.Errorf("append to %s: %w", l.tp, err)
		}
		if h.Size() > len(b) {
			return nil, fmt.Errorf("append to %s: %w", l.tp, batch.ErrTorn)
		}
		if h.Control() {
			return nil, fmt.Errorf("append to %s: %w", l.tp, ErrControl)
		}
		if !internal {
			if err := cfg.admit(h, nowMs); err != nil {
				return nil, err
			}
			if err := l.admitKeys(cfg, b[:h.Size()]); err != nil {
				return nil, err
			}
		}
		headers = append(headers, h)
		b = b[h.Size():]
	}
	if len(headers) == 0 {
		return nil, fmt.Errorf("append to %s: %w: no batch", l.tp, batch.ErrInvalid)
	}
	if len(headers) > 1 {
		return headers, l.inspectMany(headers)
	}
	return headers, nil
}

// inspectMany refuses what only a single batch may be, and batches whose offsets
// do not fit into the index of one segment.
func (l *Log) inspectMany(headers []batch.Header) error {
	for _, h := range headers {
		if h.ProducerID >= 0 {
			return fmt.Errorf("append to %s: %w: %d batches of an idempotent producer in one append", l.tp, batch.ErrInvalid, len(headers))
		}
	}
	if !relativeOffsetFits(0, recordsIn(headers)) {
		return fmt.Errorf("append to %s: %w: %d records in one append", l.tp, batch.ErrInvalid, recordsIn(headers))
	}
	return nil
}

// admit checks the topic's limits for one batch.
func (c *Config) admit(h batch.Header, nowMs int64) error {
	if h.Size() > int(c.MaxMessageBytes) {
		return fmt.Errorf("%w: %d bytes, max.message.bytes is %d", ErrTooLarge, h.Size(), c.MaxMessageBytes)
	}
	switch {
	case c.LogAppendTime:
		return nil
	case h.LogAppendTime():
		return fmt.Errorf("%w: the batch claims the broker's append time", ErrTimestamp)
	case h.BaseTimestamp >= 0 && olderThan(h.BaseTimestamp, nowMs, c.TimestampBeforeMaxMs):
		return fmt.Errorf("%w: %d is more than message.timestamp.before.max.ms (%d) behind the clock (%d)", ErrTimestamp, h.BaseTimestamp, c.TimestampBeforeMaxMs, nowMs)
	case h.MaxTimestamp >= 0 && olderThan(nowMs, h.MaxTimestamp, c.TimestampAfterMaxMs):
		return fmt.Errorf("%w: %d is more than message.timestamp.after.max.ms (%d) ahead of the clock (%d)", ErrTimestamp, h.MaxTimestamp, c.TimestampAfterMaxMs, nowMs)
	}
	return nil
}

// olderThan says that ts lies more than ageMs before nowMs, without overflow:
// timestamps come from strangers.
func olderThan(ts, nowMs, ageMs int64) bool {
	return ts < nowMs && uint64(nowMs)-uint64(ts) > uint64(ageMs)
}

func (l *Log) appendedBefore(b producerBatch, sync bool) Appended {
	a := Appended{Base: b.lastOffset - record.Offset(b.delta), Last: b.lastOffset, AppendTimeMs: -1, LogStart: l.StartOffset(), Duplicate: true, log: l}
	if a.Safe() {
		sync = false
	}
	a.round = l.store.syncer.join(l, 0, a.ask(sync)) // the first append may still be unsynced
	return a
}

// patch writes into b what only the log knows, and into headers what was patched.
func (l *Log) patch(b []byte, headers []batch.Header, cfg *Config, nowMs int64) {
	epoch := l.LeaderEpoch()
	next := l.NextOffset()
	for i := range headers {
		h := &headers[i]
		one := b[:h.Size()]
		batch.SetBaseOffset(one, next)
		batch.SetLeaderEpoch(one, epoch)
		h.BaseOffset, h.LeaderEpoch = next, epoch
		if cfg.LogAppendTime {
			l.stamp(one, h.CRC, nowMs)
			h.MaxTimestamp = nowMs
		}
		next = h.LastOffset() + 1
		b = b[h.Size():]
	}
}

// stamp gives a batch the broker's time, and the checksum that goes with it.
func (l *Log) stamp(one []byte, crc uint32, nowMs int64) {
	batch.SetLogAppendTime(one, nowMs)
	if l.store.opts.faults.staleChecksum {
		binary.BigEndian.PutUint32(one[checksummed-4:], crc)
	}
}

// write puts b at the end of the active segment. What a failed write leaves
// behind is cut off again.
func (l *Log) write(seg *segment, f vfs.File, b []byte) error {
	end := seg.size.Load()
	l.appender.iov[0] = b
	_, err := f.Writev(l.appender.iov[:], end)
	l.appender.iov[0] = nil
	if err == nil {
		return nil
	}
	if cutErr := f.Truncate(end); cutErr != nil {
		return l.fail(fmt.Errorf("write failed (%w) and could not be undone: %w", err, cutErr))
	}
	if isNoSpace(err) {
		l.store.space.exhausted()
		return fmt.Errorf("append to %s: %w: %w", l.tp, ErrNoSpace, err)
	}
	return l.fail(err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, io.ErrShortWrite)
}

// account makes the written batches part of the log.
func (l *Log) account(seg *segment, headers []batch.Header, n int64, how addition) Appended {
	a := &l.appender
	position := seg.size.Load()
	var change transition
	for _, h := range headers {
		a.index.add(h, position)
		position += int64(h.Size())
		if h.ProducerID >= 0 {
			change = l.remember(h, how)
		}
	}
	a.index.maybeFlush(l)
	base, last := headers[0].BaseOffset, headers[len(headers)-1].LastOffset()
	l.wrote(seg, position, last+1, n, how.cfg, change)
	appended := Appended{Base: base, Last: last, AppendTimeMs: -1, LogStart: l.StartOffset(), log: l}
	if how.cfg.LogAppendTime {
		appended.AppendTimeMs = how.nowMs
	}
	appended.marker = how.marker != nil
	appended.round = l.store.syncer.join(l, n, appended.ask(how.sync))
	return appended
}

// remember takes a producer's batch, which came alone, into the state of the
// producers, and says what it does to the open transactions.
func (l *Log) remember(h batch.Header, how addition) transition {
	producers := &l.appender.producers
	if how.marker == nil {
		begins := producers.appended(h, how.nowMs)
		return transition{begins: begins, txn: unstable{producer: h.ProducerID, first: h.BaseOffset, sinceMs: how.nowMs, marker: undecided}}
	}
	first := producers.ended(*how.marker, how.nowMs)
	if first != noTxn && !how.marker.Commit {
		l.appender.aborted.commit()
	}
	return transition{ends: first != noTxn, first: first, marker: h.BaseOffset}
}

// wrote publishes the new end of the log to the scheduler and, under OS, to readers.
func (l *Log) wrote(seg *segment, end int64, next record.Offset, n int64, cfg *Config, change transition) {
	visible := cfg.durability(l.store.opts.Durability) == OS || l.store.opts.faults.aheadOfDurable
	stableMoved := false
	t := &l.tail
	t.Lock()
	if !seg.unsynced {
		seg.unsynced = true
		seg.data.tryAcquire() // the pin: Append holds a reference, so it is open
		t.unsynced = append(t.unsynced, seg)
	}
	t.bytes += n
	t.records += int64(next) - l.next.Load()
	t.unstable.apply(change)
	seg.size.Store(end)
	l.next.Store(int64(next))
	if visible {
		seg.show(end)
		stableMoved = l.showLocked(next)
	} else if l.store.opts.faults.earlyMarkers {
		l.showLocked(l.HighWatermark())
	}
	t.Unlock()
	if visible {
		l.wakeReaders(stableMoved)
	}
}

// showLocked lets readers see the records below next; tail is held. The segments
// show their bytes first: who reads the new watermark finds them. It says whether
// the last stable offset has moved.
func (l *Log) showLocked(next record.Offset) (stableMoved bool) {
	if int64(next) > l.highWatermark.Load() {
		l.highWatermark.Store(int64(next))
	}
	stable := int64(l.tail.unstable.settle(l.HighWatermark(), l.store.opts.faults))
	return l.stable.Swap(stable) != stable
}

// publishWritten lets readers see all that is written.
func (l *Log) publishWritten() {
	l.tail.Lock()
	for _, seg := range l.view.Load().segments {
		seg.show(seg.size.Load())
	}
	stableMoved := l.showLocked(l.NextOffset())
	l.tail.Unlock()
	l.wakeReaders(stableMoved)
}

// Wait returns nil once the records are as safe as the topic's durability
// promises: on stable storage under Fsync, at once under OS. For a marker the
// store's durability counts too: its coordinator forgets a transaction that every
// partition has ended, and a lost marker would hold readers up for ever. ErrFailed
// when they may be lost, ErrDeleted or ErrClosed when the log is gone; ctx ends the wait
// and says nothing about the records.
func (a Appended) Wait(ctx context.Context) error {
	l := a.log
	for round := a.round; !a.Safe(); round = l.store.syncer.next() {
		if reason := l.failed.Load(); reason != nil {
			return *reason
		}
		select {
		case <-round.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := l.stopped(); err != nil && !a.Safe() {
			return err
		}
	}
	return nil
}

// ask is what the scheduler is asked for.
func (a Appended) ask(sync bool) syncAsk {
	switch {
	case !sync:
		return syncLater
	case a.marker && a.log.store.opts.Durability == Fsync:
		return syncNowAlsoOS
	}
	return syncNow
}

// Safe says that the records have the promised durability, so that Wait returns
// nil at once.
func (a Appended) Safe() bool {
	l := a.log
	promised := l.durability()
	if promised == OS && a.marker {
		promised = l.store.opts.Durability
	}
	return l.durable.Load() > int64(a.Last) || l.store.opts.faults.ackBeforeSync || promised == OS
}
