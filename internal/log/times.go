package log

import (
	"errors"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// OffsetForTime finds the first record whose timestamp is at or after ts, among
// those that readers see. ok is false when there is none.
func (l *Log) OffsetForTime(ts record.Timestamp) (off record.Offset, at record.Timestamp, ok bool, err error) {
	for {
		if err := l.unreadable(); err != nil {
			return 0, 0, false, err
		}
		off, at, ok, err = l.offsetForTime(l.view.Load(), ts)
		if !errors.Is(err, errRetired) { // else retention removed a segment: the new view knows
			return off, at, ok, l.readError(err)
		}
	}
}

func (l *Log) offsetForTime(v *view, ts record.Timestamp) (off record.Offset, at record.Timestamp, ok bool, err error) {
	for i := range v.segments {
		newest, err := l.newestTime(v, i)
		if err != nil {
			return 0, 0, false, err
		}
		if newest.ts < int64(ts) {
			continue
		}
		if off, at, ok, err = l.searchSegment(v, i, ts); ok || err != nil {
			return off, at, ok, err
		}
	}
	return 0, 0, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp, as Kafka's
// ListOffsets with timestamp -3. ok is false when no record has a timestamp.
func (l *Log) MaxTimestamp() (off record.Offset, at record.Timestamp, ok bool, err error) {
	for {
		if err := l.unreadable(); err != nil {
			return 0, 0, false, err
		}
		newest, err := l.newestOfAll(l.view.Load())
		if err == nil && newest >= 0 {
			return l.OffsetForTime(record.Timestamp(newest))
		}
		if !errors.Is(err, errRetired) {
			return 0, 0, false, l.readError(err)
		}
	}
}

func (l *Log) newestOfAll(v *view) (int64, error) {
	newest := int64(noTimestamp)
	for i := range v.segments {
		e, err := l.newestTime(v, i)
		if err != nil {
			return 0, err
		}
		newest = max(newest, e.ts)
	}
	return newest, nil
}

// searchSegment walks from the time index's last entry below ts.
func (l *Log) searchSegment(v *view, i int, ts record.Timestamp) (off record.Offset, at record.Timestamp, ok bool, err error) {
	seg := v.segments[i]
	f, err := seg.openData()
	if err != nil {
		return 0, 0, false, err
	}
	defer seg.data.release()
	from, err := seg.timeBefore(int64(ts))
	if err != nil {
		return 0, 0, false, err
	}
	err = l.each(v, i, f, from, func(h batch.Header, position int64) (bool, error) {
		if h.MaxTimestamp >= int64(ts) && h.LastOffset() >= v.start {
			off, at, ok, err = searchBatch(f, position, h, ts, v.start)
		}
		return ok, err
	})
	return off, at, ok, err
}

// timeBefore is the last time entry below ts; noTimestamp at the segment's start
// when there is none.
func (s *segment) timeBefore(ts int64) (timeEntry, error) {
	none := timeEntry{ts: noTimestamp, last: s.base}
	f, err := s.openIndex(&s.times, timesFile)
	if f == nil || err != nil {
		return none, err
	}
	defer s.times.release()
	entries, err := readEntries(f, timeEntrySize)
	if err != nil {
		return none, err
	}
	n, err := entries.search(func(b []byte) bool { return decodeTimeEntry(b, s.base).ts < ts })
	if n == 0 || err != nil {
		return none, err
	}
	b, err := entries.at(n - 1)
	if err != nil {
		return none, err
	}
	return decodeTimeEntry(b, s.base), nil
}

// searchBatch finds the first record at or after ts, and not before start, in
// the batch at position. Under log append time that is the first record.
func searchBatch(f vfs.File, position int64, h batch.Header, ts record.Timestamp, start record.Offset) (record.Offset, record.Timestamp, bool, error) {
	b, err := extend(f, position, h.Size(), nil)
	if err != nil {
		return 0, 0, false, err
	}
	if _, err := batch.CheckCRC(b); err != nil {
		return 0, 0, false, nil // damage is no answer; who reads it is told
	}
	var it batch.Iterator
	if err := it.Reset(b, nil); err != nil {
		return 0, 0, false, nil
	}
	for it.Next() {
		if r := it.Record(); r.Timestamp >= ts && r.Offset >= start {
			return r.Offset, r.Timestamp, true, nil
		}
	}
	return 0, 0, false, nil
}

// newestTime is the largest timestamp of segment i. For a sealed segment it is
// found once: from the time index's last entry, if its batch bears it out, and
// the batches behind that one.
func (l *Log) newestTime(v *view, i int) (timeEntry, error) {
	seg := v.segments[i]
	if !seg.timeKnown.Load() {
		newest, err := l.findNewestTime(v, i)
		if err != nil {
			return newest, err
		}
		seg.setMaxTime(newest.ts, newest.last)
	}
	return timeEntry{ts: seg.maxTime.Load(), last: record.Offset(seg.maxTimeOffset.Load())}, nil
}

func (l *Log) findNewestTime(v *view, i int) (timeEntry, error) {
	newest := timeEntry{ts: noTimestamp, last: v.segments[i].base}
	f, err := v.segments[i].openData()
	if err != nil {
		return newest, err
	}
	defer v.segments[i].data.release()
	from, err := v.segments[i].timeBefore(maxOffset)
	if err != nil {
		return newest, err
	}
	err = l.each(v, i, f, from, func(h batch.Header, _ int64) (bool, error) {
		if h.MaxTimestamp > newest.ts {
			newest = timeEntry{ts: h.MaxTimestamp, last: h.LastOffset()}
		}
		return false, nil
	})
	return newest, err
}
