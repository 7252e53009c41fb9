package log

import (
	"errors"
	"fmt"
	"math"

	"millrace/internal/batch"
	"millrace/record"
)

// compaction is one pass over one log: it learns the newest offset of each key
// from the part that was never compacted, and then makes all segments up to there
// anew, with what is still wanted.
//
// A new segment covers exactly the offsets of those whose place it takes. Until
// its swap nothing in the log has changed, so a pass may end at any point.
type compaction struct {
	log   *Log
	cfg   Config
	nowMs int64
	pace  func(n int) error // is told of the bytes read; ends the pass with an error

	keys    *offsetMap
	reader  batchReader
	keeper  keeper
	aborted []AbortedTxn // those of one segment

	readBytes, leftBytes int64 // of the segments made anew, before and after
}

// errOvertaken means that the segments of a pass are not those of the log any
// more: retention has removed some.
var errOvertaken = errors.New("log: segments went while they were compacted")

// run compacts what lies below limit, where a segment ends, and was not compacted
// before. It gives the end of what now is: below limit when the keys were too
// many for the map.
func (c *compaction) run(limit record.Offset) (end record.Offset, err error) {
	v := c.log.view.Load()
	from := max(c.log.compactedTo(), v.segments[0].base)
	c.reader.read = c.pace
	c.keeper = keeper{
		newest: c.keys, start: v.start, nowMs: c.nowMs, horizon: addMs(c.nowMs, c.cfg.DeleteRetentionMs),
		lastOf: c.log.lastBatches(), faults: c.log.store.opts.faults.compaction,
	}
	if end, err = c.learn(v, from, limit); err != nil {
		return from, err
	}
	c.keeper.mapped = end
	for _, g := range c.groups(v, end) {
		if err := c.renew(g); err != nil {
			return from, err
		}
	}
	if n := c.keeper.unreadable; n > 0 {
		c.log.warn("compaction keeps batches as they are", fmt.Errorf("the records of %d batches cannot be read", n))
	}
	return end, nil
}

// addMs is a time later, without overflow: settings reach up to 2^63-1.
func addMs(ms, later int64) int64 {
	if ms > math.MaxInt64-later {
		return math.MaxInt64
	}
	return ms + later
}

// lastBatches are the newest batches of the producers that are remembered.
func (l *Log) lastBatches() map[int64]lastBatch {
	l.appender.Lock()
	defer l.appender.Unlock()
	all := make(map[int64]lastBatch, len(l.appender.producers.byID))
	for id, p := range l.appender.producers.byID {
		all[id] = lastBatch{offset: p.lastOffset(), epoch: p.epoch}
	}
	return all
}

// learn notes the newest offset of each key from the offset from on. It gives the
// offset up to which it came: limit, unless the map was full before.
func (c *compaction) learn(v *view, from, limit record.Offset) (end record.Offset, err error) {
	c.keys.clear()
	end = limit
	txns := cleanedTxns{}
	first := v.at(from)
	for i := first; end == limit && v.limit(i) <= limit; i++ {
		if err := c.expectAborted(&txns, v, i, i == first); err != nil {
			return 0, err
		}
		err := c.each(v.segments[i], v.limit(i), func(b []byte, h batch.Header) error {
			if discard := txns.discards(h); discard || h.Control() || h.LastOffset() < from {
				return nil
			}
			if full, at := c.learnBatch(b, from); full {
				end = at
				return errEnd
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return end, nil
}

// learnBatch notes the keys of one batch, from the offset from on. When the map
// is full it says at which offset.
func (c *compaction) learnBatch(b []byte, from record.Offset) (full bool, at record.Offset) {
	w := &c.keeper.rewriter
	if w.Reset(b) != nil {
		return false, 0 // it stays as it is: see keeper.keep
	}
	for w.Next() {
		if r := w.Record(); r.Offset >= from && r.Key != nil && !c.keys.put(r.Key, r.Offset) {
			return true, r.Offset
		}
	}
	return false, 0
}

// expectAborted tells of the aborted transactions that begin in segment i of v,
// and of those that reach into the first one.
func (c *compaction) expectAborted(txns *cleanedTxns, v *view, i int, first bool) error {
	base := v.segments[i].base
	var err error
	if c.aborted, err = c.log.Aborted(c.aborted[:0], base, v.limit(i)); err != nil {
		return err
	}
	for _, t := range c.aborted {
		if first || t.First >= base {
			txns.expect(t)
		}
	}
	return nil
}

// each visits the batches of a sealed segment that ends at limit, until visit
// gives errEnd. *badBatch at the first that is not what was written: what cannot
// be read must not be taken for unwanted.
func (c *compaction) each(seg *segment, limit record.Offset, visit func(b []byte, h batch.Header) error) error {
	f, err := seg.openData()
	if err != nil {
		return err
	}
	defer seg.data.release()
	c.reader.start(seg, f, limit, c.log.epochs.Load())
	for err == nil {
		var b []byte
		var h batch.Header
		if b, h, err = c.reader.batch(); err == nil {
			err = visit(b, h)
		}
	}
	if err == errEnd {
		return nil
	}
	return err
}

// segmentGroup are neighbours that become one segment.
type segmentGroup struct {
	segments []*segment
	end      record.Offset // at which the next segment starts
	view     *view
	at       int // of the first of them in view
}

// groups are the segments of v that start below end, as many in each as one new
// segment may hold if nothing of them goes.
func (c *compaction) groups(v *view, end record.Offset) (all []segmentGroup) {
	var bytes int64
	for i := 0; v.segments[i].base < end; i++ {
		seg := v.segments[i]
		size, n := seg.size.Load(), len(all)
		if n > 0 && bytes+size <= min(c.cfg.SegmentBytes, math.MaxInt32) && relativeOffsetFits(all[n-1].segments[0].base, v.limit(i)) {
			g := &all[n-1]
			g.segments, g.end = v.segments[g.at:i+1], v.limit(i)
			bytes += size
			continue
		}
		all = append(all, segmentGroup{segments: v.segments[i : i+1], end: v.limit(i), view: v, at: i})
		bytes = size
	}
	return all
}

// renew makes a group's segments anew, as one.
func (c *compaction) renew(g segmentGroup) error {
	w, err := c.log.newSegmentWriter(g)
	if err != nil {
		return err
	}
	changed, err := c.copyWanted(g, w)
	if err == nil {
		err = w.finish(g.end)
	}
	if err != nil {
		return errors.Join(err, w.abandon())
	}
	var before int64
	for _, seg := range g.segments {
		before += seg.size.Load()
	}
	c.readBytes += before
	c.leftBytes += w.written
	if !changed && len(g.segments) == 1 {
		return w.abandon()
	}
	return c.log.swap(g, w)
}

// copyWanted copies what stays of a group into the new segment, and says whether
// that is not all.
func (c *compaction) copyWanted(g segmentGroup, w *segmentWriter) (changed bool, err error) {
	for i, seg := range g.segments {
		if err := c.expectAborted(&c.keeper.txns, g.view, g.at+i, g.at+i == 0); err != nil {
			return false, err
		}
		err := c.each(seg, g.view.limit(g.at+i), func(b []byte, h batch.Header) error {
			kept, err := c.keeper.keep(b, h)
			if err != nil || len(kept) == 0 {
				changed = true
				return err
			}
			if &kept[0] != &b[0] {
				changed = true
				if h, err = batch.ParseHeader(kept); err != nil {
					return err
				}
			}
			return w.add(kept, h)
		})
		if err == nil {
			err = w.addAborted(seg, c.keeper.txns.takeStill())
		}
		if err != nil {
			return false, err
		}
	}
	return changed, nil
}
