package log

import (
	"fmt"
	"math"

	"millrace/internal/batch"
	"millrace/record"
)

// maybeRoll starts a new segment when the active one is too full or too old for
// the batches that come next. The appender is held.
func (l *Log) maybeRoll(headers []batch.Header, n int64, cfg *Config, nowMs int64) error {
	seg := l.view.Load().active()
	size := seg.size.Load()
	a := &l.appender
	if a.rollFrom == unknownAge {
		a.rollFrom = seg.firstTime(nowMs)
	}
	if size == 0 || a.rollFrom > nowMs { // the clock went back: count from here
		a.rollFrom = nowMs
	}
	full := size+n > min(cfg.SegmentBytes, math.MaxInt32) || !relativeOffsetFits(seg.base, l.NextOffset()+recordsIn(headers))
	old := nowMs-a.rollFrom >= cfg.rollMs()
	if size == 0 || !full && !old {
		return nil
	}
	return l.roll(nowMs)
}

// unknownAge: nobody has looked since the start when the active segment began.
const unknownAge = -1

// firstTime is the timestamp of the segment's first batch, by which its age is
// told after a restart; nowMs where that is not to be had.
func (s *segment) firstTime(nowMs int64) int64 {
	f, err := s.openData()
	if err != nil {
		return nowMs
	}
	defer s.data.release()
	c := newCursor(f, nil, 0, s.base, s.size.Load())
	defer c.close()
	h, err := c.proven()
	if err != nil || h.MaxTimestamp < 0 {
		return nowMs
	}
	return h.MaxTimestamp
}

// recordsIn is how many offsets the batches take.
func recordsIn(headers []batch.Header) (n record.Offset) {
	for _, h := range headers {
		n += record.Offset(h.LastOffsetDelta) + 1
	}
	return n
}

// roll seals the active segment and starts an empty one at the next offset. Its
// name is made durable with the next sync, before the high watermark passes it.
// The appender is held.
func (l *Log) roll(nowMs int64) error {
	l.names.RLock()
	defer l.names.RUnlock()
	if err := l.stopped(); err != nil {
		return err
	}
	seg := &segment{store: l.store, dir: l.dir, base: l.NextOffset()}
	if err := l.createSegment(seg); err != nil {
		return err
	}
	a := &l.appender
	a.index.complete(l)
	a.sealed = append(a.sealed, a.index.seg)
	if err := a.aborted.seal(); err != nil {
		l.warn("index of aborted transactions not sealed; the next start makes it anew", err)
	}
	a.aborted = abortedWriter{seg: seg}
	a.index = newIndexWriter(seg, l.config.Load().IndexIntervalBytes)
	a.rollFrom = nowMs
	l.tail.Lock()
	l.tail.newNames = true
	l.tail.Unlock()
	l.changeView(func(v view) view {
		v.segments = append(v.segments[:len(v.segments):len(v.segments)], seg)
		return v
	})
	return nil
}

// createSegment makes the file of an empty segment.
func (l *Log) createSegment(seg *segment) error {
	if _, err := seg.createData(); err != nil {
		if isNoSpace(err) {
			return fmt.Errorf("new segment of %s: %w: %w", l.tp, ErrNoSpace, err)
		}
		return fmt.Errorf("new segment of %s: %w", l.tp, err)
	}
	seg.data.release()
	seg.setMaxTime(noTimestamp, seg.base)
	return nil
}
