package log

import (
	"encoding/binary"
	"fmt"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// scan is the recovery of one log: it finds the end, proves what lies above the
// recovery point, and brings the indexes of what it walks over up to date.
type scan struct {
	log    *Log
	report *PartitionReport

	clean bool          // the last stop was clean: no torn tail, only rot
	point record.Offset // recovery point: all below was synced

	segments []*segment
	index    *indexWriter // of the last segment
	next     record.Offset
	sealEnd  bool // the last segment ends in damage: appends need a new one
	cut      bool
	touched  bool // files were changed, or bytes are readable that may be unsynced
}

// run walks from the segment that holds the recovery point to the end. After a
// clean stop that is the last segment's last index interval.
func (s *scan) run() error {
	first := len(s.segments) - 1
	if !s.clean {
		first = (&view{segments: s.segments}).at(max(s.point, s.segments[0].base))
	}
	for i := first; i < len(s.segments); i++ {
		seg := s.segments[i]
		limit := (&view{segments: s.segments}).limit(i)
		torn, err := s.segment(seg, limit)
		if err != nil {
			return fmt.Errorf("recover %s: %w", seg.path(dataFile), err)
		}
		if torn || limit != maxOffset && s.next < limit && s.next >= s.point && !s.clean {
			return s.drop(i + 1)
		}
		if limit != maxOffset {
			s.missing(seg, limit)
			s.index.complete(s.log)
		}
	}
	return nil
}

// missing reports offsets that should lie at the end of a segment below the
// recovery point and do not.
func (s *scan) missing(seg *segment, limit record.Offset) {
	if s.next >= limit {
		return
	}
	s.damaged(seg, damage{pos: seg.size.Load(), end: seg.size.Load(), from: s.next, to: limit, reason: "records are missing"})
}

func (s *scan) damaged(seg *segment, d damage) {
	s.report.CorruptRanges = append(s.report.CorruptRanges, CorruptRange{From: d.from, To: d.to, Reason: d.reason})
	s.log.noteDamage(seg, d)
}

// drop removes the segments from i on: they lie behind bytes that were never
// synced, so nothing in them was acknowledged.
func (s *scan) drop(i int) error {
	for _, seg := range s.segments[i:] {
		s.report.CutBytes += seg.size.Load()
		s.cut = s.cut || seg.size.Load() > 0
		s.touched = true
		seg.retire()
		if err := seg.removeFiles(); err != nil {
			return err
		}
	}
	s.segments = s.segments[:i]
	return nil
}

// segment recovers one segment. It says whether a torn tail was cut off.
func (s *scan) segment(seg *segment, limit record.Offset) (torn bool, err error) {
	f, err := seg.openData()
	if err != nil {
		return false, err
	}
	defer seg.data.release()
	torn, err = s.walk(seg, f, limit, false)
	if isBad(err) { // an index entry or an unproven header led astray
		torn, err = s.walk(seg, f, limit, true)
	}
	return torn, err
}

// walk goes over the batches of seg, from where its indexes are good for or, with
// prove, from the start. Below the recovery point only headers are looked at,
// unless prove is set. After a clean stop that little is always proven.
func (s *scan) walk(seg *segment, f vfs.File, limit record.Offset, prove bool) (bool, error) {
	c := newCursor(f, s.log.epochs.Load(), 0, seg.base, seg.size.Load())
	defer c.close()
	var err error
	if s.index, err = s.resumeIndex(seg, c, prove); err != nil {
		return false, err
	}
	provenFrom := int64(-1)
	for c.pos < c.end {
		above := s.clean || c.next >= s.point
		if above && provenFrom < 0 {
			provenFrom = c.pos
		}
		h, err := s.look(c, prove || above)
		if err == nil {
			s.index.add(h, c.pos)
			s.index.maybeFlush(s.log)
			c.pass(h)
		} else if isBad(err) && (prove || above) {
			var torn bool
			torn, err = s.bad(seg, f, c, limit, above, err)
			if torn {
				return true, err
			}
		}
		if err != nil {
			return false, err
		}
	}
	if !prove && c.next < min(limit, s.point) {
		return false, bad("the batches end at offset %d", c.next)
	}
	s.next = c.next
	if provenFrom >= 0 && c.end > provenFrom && !s.clean {
		s.report.ScannedBytes += c.end - provenFrom
		s.touched = true
	}
	return false, nil
}

// look is the header at the cursor, proven on request. The last batch below the
// recovery point is always proven: a damaged length there would put the cursor
// into bytes above the point, and they would be taken for a torn tail.
func (s *scan) look(c *cursor, prove bool) (batch.Header, error) {
	h, err := c.header()
	if err == nil && (prove || h.LastOffset()+1 >= s.point) {
		err = c.prove(h, c.pos)
	}
	return h, err
}

// bad decides about the damage at the cursor: a torn tail is cut, anything else
// is kept and passed by.
func (s *scan) bad(seg *segment, f vfs.File, c *cursor, limit record.Offset, above bool, cause error) (cut bool, err error) {
	if above && !s.clean {
		evidence, err := c.gather(seg)
		if err != nil {
			return false, err
		}
		if judge(evidence) == torn || s.log.store.opts.faults.truncateRot {
			return true, s.truncate(seg, f, c)
		}
	}
	d, err := c.assess(seg, limit, cause)
	if err != nil {
		return false, err
	}
	if d.end == c.end && limit == maxOffset {
		d.to = c.endOfDamaged()
		s.sealEnd = true
	}
	s.damaged(seg, d)
	c.pos, c.next = d.end, d.to
	return false, nil
}

// truncate cuts the segment at the cursor.
func (s *scan) truncate(seg *segment, f vfs.File, c *cursor) error {
	if s.log.store.opts.faults.cutOneMore && c.next > seg.base {
		c.pos, c.next = c.previous(seg)
	}
	s.report.CutBytes += c.end - c.pos
	s.cut, s.touched = true, true
	s.next = c.next
	if err := f.Truncate(c.pos); err != nil {
		return err
	}
	seg.size.Store(c.pos)
	return nil
}

// previous is the place of the batch before the one at the cursor.
func (c *cursor) previous(seg *segment) (pos int64, next record.Offset) {
	back := newCursor(c.file, c.epochs, 0, seg.base, c.pos)
	defer back.close()
	for back.pos < c.pos {
		h, err := back.header()
		if err != nil {
			return c.pos, c.next
		}
		pos, next = back.pos, back.next
		back.pass(h)
	}
	return pos, next
}

// endOfDamaged guesses the offset behind the damaged batch at the cursor, the
// last of its file. Count and last offset delta say the same; where one of them
// is damaged the larger one counts, because no offset may be given twice.
func (c *cursor) endOfDamaged() record.Offset {
	const unbelievable = 1 << 24
	b, err := c.bytes(c.pos, batch.HeaderSize)
	if err != nil || len(b) < batch.HeaderSize {
		return c.next + 1
	}
	byDelta := int64(int32(binary.BigEndian.Uint32(b[lastOffsetDelta:]))) + 1
	byCount := int64(int32(binary.BigEndian.Uint32(b[recordCount:])))
	records := max(byDelta, byCount)
	if byDelta != byCount && records > unbelievable {
		records = min(byDelta, byCount)
	}
	return c.next + record.Offset(max(1, records))
}
