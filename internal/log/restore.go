package log

import (
	"errors"
	"fmt"
	"slices"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// restoreProducers builds the state of the producers and of their transactions:
// the newest snapshot at or before the end, and the batches behind it.
//
// Each checkpoint leaves a snapshot behind if the state has changed, so a sound
// newest snapshot holds for the recovery point too, and no snapshot at all means
// that there was no producer below it.
//
// Deleted segments that are still there count too, above the recovery point: they
// may hold the marker of a transaction that is open in the snapshot.
func (l *Log) restoreProducers(snapshots []record.Offset, point record.Offset, deleted []*segment) error {
	if l.store.opts.faults.forgetProducers {
		return nil
	}
	from, err := l.loadSnapshot(snapshots, point)
	if err != nil {
		return err
	}
	if err := l.replayDeleted(deleted, from); err != nil {
		return err
	}
	from = max(from, l.view.Load().segments[0].base) // below the log start too: what is deleted may be in an open transaction
	sound, err := l.checkAborted(from)
	if err != nil {
		return err
	}
	if !sound {
		if err := l.remakeAborted(from); err != nil {
			return err
		}
	}
	if err := l.replay(from, &l.appender.producers); err != nil {
		return err
	}
	l.restoreStable()
	return nil
}

// loadSnapshot takes the newest sound snapshot as the state, and says from where
// on the batches are news to it.
func (l *Log) loadSnapshot(snapshots []record.Offset, point record.Offset) (from record.Offset, err error) {
	for i := len(snapshots) - 1; i >= 0; i-- {
		off := snapshots[i]
		if off > l.NextOffset() { // its records were lost with the tail
			l.recovered.touched = true // it must not come back when there are others
			if err := l.store.fsys.Remove(l.snapshotPath(off)); err != nil {
				return 0, err
			}
			continue
		}
		state, err := l.readSnapshot(off)
		if err == nil {
			l.appender.producers = *state
			l.appender.snapshots = slices.Clone(snapshots[:i+1])
			return max(point, off), nil
		}
		if damaged := (*fileError)(nil); !errors.As(err, &damaged) {
			return 0, err
		}
		l.store.opts.Logger.Error("producer snapshot is unreadable: the batches are read instead", "partition", l.tp.String(), "error", err)
		point = 0
	}
	return point, nil
}

func (l *Log) snapshotPath(off record.Offset) string {
	return l.dir + "/" + fileName(off, snapshotFile)
}

func (l *Log) readSnapshot(off record.Offset) (*producers, error) {
	path := l.snapshotPath(off)
	b, err := l.store.fsys.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state, err := decodeSnapshot(b)
	if err != nil {
		return nil, &fileError{path, err}
	}
	return state, nil
}

// checkAborted holds the indexes of aborted transactions against their seals, up
// to from, and leaves the writer in the segment that holds from. What lies above
// is dropped: the replay makes it anew.
func (l *Log) checkAborted(from record.Offset) (sound bool, err error) {
	v, sound := l.view.Load(), true
	at := v.at(max(from, v.segments[0].base))
	for _, seg := range v.segments[:at] {
		if !seg.txnsFound {
			continue
		}
		count, ok, err := seg.sealedAborted()
		if err != nil {
			return false, err
		}
		seg.aborted.Store(count)
		sound = sound && ok
	}
	if !sound {
		return false, nil
	}
	var mark abortedMark // without one there must be none
	if l.appender.producers.aborted.base == v.segments[at].base {
		mark = l.appender.producers.aborted
	}
	return l.appender.aborted.resume(v.segments[at], mark.count, mark.crc)
}

// remakeAborted makes all indexes of aborted transactions anew, up to from.
func (l *Log) remakeAborted(from record.Offset) error {
	l.store.opts.Logger.Error("an index of aborted transactions is damaged: all are made anew from the batches", "partition", l.tp.String())
	l.recovered.touched = true
	v := l.view.Load()
	if _, err := l.appender.aborted.resume(v.segments[0], 0, 0); err != nil {
		return err
	}
	var passed producers
	r := replay{log: l, producers: &passed, from: v.segments[0].base, to: from}
	return r.run()
}

// replay adds the batches from the given offset on to state.
func (l *Log) replay(from record.Offset, state *producers) error {
	r := replay{log: l, producers: state, from: from, to: l.NextOffset()}
	for id, p := range state.byID {
		if p.txnFirst != noTxn {
			r.open.txns = append(r.open.txns, unstable{producer: id, first: p.txnFirst, marker: undecided})
		}
	}
	r.open.sort()
	return r.run()
}

// replayDeleted adds the batches from the given offset on of segments that nobody
// reads any more. Each is proven, and damage ends its segment: nobody has promised
// that these bytes were synced, but that what was deleted is.
func (l *Log) replayDeleted(deleted []*segment, from record.Offset) error {
	r := replay{log: l, producers: &l.appender.producers, from: from, to: l.view.Load().segments[0].base, deleted: true}
	r.nowMs = l.store.opts.Now().UnixMilli()
	for _, seg := range deleted {
		if err := r.deletedSegment(seg); err != nil {
			return fmt.Errorf("producers of %s: %w", seg.path(dataFile), err)
		}
	}
	return nil
}

func (r *replay) deletedSegment(seg *segment) error {
	f, err := seg.openData()
	if err != nil {
		return err
	}
	defer seg.data.release()
	c := newCursor(f, r.log.epochs.Load(), 0, seg.base, seg.size.Load())
	defer c.close()
	for {
		h, err := c.proven()
		if err == errEnd || isBad(err) {
			return nil
		}
		if err == nil {
			_, err = r.visit(f, h, c.pos)
		}
		if err != nil {
			return err
		}
		c.pass(h)
	}
}

// replay repeats on the state of the producers, and on the indexes of aborted
// transactions, what the batches of a range did to them.
type replay struct {
	log       *Log
	producers *producers
	open      unstableSet
	from, to  record.Offset
	deleted   bool // the batches are: their aborted transactions are nobody's business
	nowMs     int64
}

// run leaves the writer of the index in the segment that holds the range's end.
func (r *replay) run() error {
	l := r.log
	r.nowMs = l.store.opts.Now().UnixMilli()
	v := l.view.Load()
	first := v.at(max(r.from, v.segments[0].base))
	for i := first; i < len(v.segments) && (i == first || v.segments[i].base <= r.to); i++ {
		if i > first {
			if err := l.nextAborted(v.segments[i]); err != nil {
				return err
			}
		}
		if r.from >= r.to {
			continue
		}
		if err := r.segment(v, i); err != nil {
			return fmt.Errorf("producers of %s: %w", v.segments[i].path(dataFile), err)
		}
	}
	return nil
}

// nextAborted seals the index of aborted transactions that was written last, and
// starts an empty one for seg.
func (l *Log) nextAborted(seg *segment) error {
	w := &l.appender.aborted
	if err := w.seal(); err != nil {
		return err
	}
	_, err := w.resume(seg, 0, 0)
	return err
}

func (r *replay) segment(v *view, i int) error {
	seg := v.segments[i]
	f, err := seg.openData()
	if err != nil {
		return err
	}
	defer seg.data.release()
	return r.log.eachOrDamage(v, i, f, timeEntry{ts: noTimestamp, last: r.from},
		func(h batch.Header, position int64) (bool, error) { return r.visit(f, h, position) },
		func(d damage) error { return r.damaged(f, d) })
}

// visit repeats one batch, unless it lies outside of the range.
func (r *replay) visit(f vfs.File, h batch.Header, position int64) (done bool, err error) {
	if h.BaseOffset < r.from { // also when the walk had to start again
		return false, nil
	}
	if h.BaseOffset >= r.to {
		return true, nil
	}
	r.from = h.LastOffset() + 1
	return false, r.add(f, h, position)
}

func (r *replay) add(f vfs.File, h batch.Header, position int64) error {
	if h.ProducerID < 0 {
		return nil
	}
	if !h.Control() {
		if r.producers.appended(h, r.nowMs) {
			r.open.begin(unstable{producer: h.ProducerID, first: h.BaseOffset, marker: undecided})
		}
		return nil
	}
	b, err := extend(f, position, h.Size(), nil)
	if err != nil {
		return err
	}
	return r.control(h, b)
}

func (r *replay) control(h batch.Header, b []byte) error {
	m, ok := decodeMarker(h, b)
	if !ok {
		return nil
	}
	return r.end(m, h.BaseOffset)
}

// largestMarker is above the size of every transaction marker.
const largestMarker = 256

// damaged looks for a marker in bytes that cannot be served any more: one flipped
// bit shall not hold readers up. When it cannot be found out, the transaction
// that it ended stays open.
func (r *replay) damaged(f vfs.File, d damage) error {
	if d.from < r.from || d.from >= r.to || d.end-d.pos > largestMarker {
		return nil
	}
	b, err := extend(f, d.pos, int(d.end-d.pos), nil)
	if err != nil {
		return err
	}
	h, ok := d.undo(b)
	if !ok || !h.Control() || h.ProducerID < 0 {
		return nil
	}
	r.from = d.to
	return r.control(h, b)
}

// end repeats a marker.
func (r *replay) end(m Marker, at record.Offset) error {
	first := r.producers.ended(m, r.nowMs)
	if first == noTxn || r.deleted {
		return nil
	}
	stable := r.open.without(first, at+1)
	r.open.drop(first)
	if m.Commit || r.log.store.opts.faults.loseAborted {
		return nil
	}
	w := &r.log.appender.aborted
	if err := w.stage(abortedEntry{AbortedTxn{m.ProducerID, first, at}, stable}); err != nil {
		return err
	}
	w.commit()
	return nil
}

// restoreStable tells readers of the transactions that are still open.
func (l *Log) restoreStable() {
	l.tail.Lock()
	defer l.tail.Unlock()
	s := unstableSet{}
	for id, p := range l.appender.producers.byID {
		if p.txnFirst != noTxn && !l.store.opts.faults.forgetOpenTxns {
			s.txns = append(s.txns, unstable{producer: id, first: p.txnFirst, sinceMs: p.lastMs, marker: undecided})
		}
	}
	s.sort()
	l.tail.unstable = s
	l.showLocked(l.HighWatermark())
}
