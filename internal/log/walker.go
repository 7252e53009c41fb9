package log

import (
	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// walker goes over the batches of a segment, round what is damaged.
type walker struct {
	*cursor
	log       *Log
	seg       *segment
	endOffset record.Offset // of the batch behind the cursor's end
	prove     bool          // verify each batch; without it a wrong header ends the walk with *badBatch
}

// walk starts at the batch of segment i of v that the index names at or before
// off. f is the segment's file; the caller closes the walker.
func (l *Log) walk(v *view, i int, f vfs.File, off record.Offset, prove bool) (*walker, error) {
	seg := v.segments[i]
	end, endOffset := l.readable(v, i)
	w := &walker{
		cursor: newCursor(f, l.epochs.Load(), 0, seg.base, end),
		log:    l, seg: seg, endOffset: endOffset, prove: prove,
	}
	if err := w.lookup(seg, off, prove); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// readable is where segment i of v ends for readers: a position, and the offset
// that the next batch has.
func (l *Log) readable(v *view, i int) (end int64, endOffset record.Offset) {
	l.tail.Lock()
	defer l.tail.Unlock()
	return v.segments[i].visible.Load(), min(v.limit(i), l.HighWatermark())
}

// step gives the batch at the cursor, which pass leaves behind, or the damage
// there, which is left behind already. errEnd at the end.
func (w *walker) step() (batch.Header, *damage, error) {
	if d := w.seg.damageAt(w.pos); d != nil && w.next < d.to { // missing records have no bytes: pass them once
		w.pos, w.next = d.end, d.to
		return batch.Header{}, d, nil
	}
	if w.pos >= w.end || w.next >= w.endOffset {
		return batch.Header{}, nil, errEnd
	}
	if !w.prove {
		h, err := w.header()
		return h, nil, err
	}
	h, cause := w.proven()
	if !isBad(cause) {
		return h, nil, cause
	}
	d, err := w.assess(w.seg, w.endOffset, cause)
	if err != nil {
		return h, nil, err
	}
	w.log.noteDamage(w.seg, d)
	w.pos, w.next = d.end, d.to
	return h, &d, nil
}

// each visits the batches of segment i of v from the given time entry on, until
// visit says that it is done. Damage is passed by. When an index turns out to lie
// the walk starts again at the front of the segment, so that batches may be
// visited twice, and some that lie before the entry.
func (l *Log) each(v *view, i int, f vfs.File, from timeEntry, visit func(h batch.Header, position int64) (done bool, err error)) error {
	return l.eachOrDamage(v, i, f, from, visit, func(damage) error { return nil })
}

// eachOrDamage is each, which also says what it passes by.
func (l *Log) eachOrDamage(v *view, i int, f vfs.File, from timeEntry, visit func(h batch.Header, position int64) (done bool, err error), passed func(damage) error) error {
	w, err := l.walk(v, i, f, from.last, false)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		h, d, err := w.step()
		switch {
		case err == errEnd:
			return nil
		case isBad(err) && !w.prove, err == nil && d == nil && !from.keptBy(h):
			from = timeEntry{ts: noTimestamp}
			w.pos, w.next, w.prove = 0, w.seg.base, true
		case err != nil:
			return err
		case d == nil:
			if done, err := visit(h, w.pos); done || err != nil {
				return err
			}
			w.pass(h)
		default:
			if err := passed(*d); err != nil {
				return err
			}
		}
	}
}
