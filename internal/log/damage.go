package log

import (
	"cmp"
	"slices"

	"millrace/internal/batch"
	"millrace/record"
)

// damage is a stretch of a segment that is not what was written. Readers of
// other offsets go round it.
type damage struct {
	pos, end int64         // bytes
	from, to record.Offset // offsets that cannot be read: from included, to not
	reason   string
}

func (d damage) corrupt(tp record.TopicPartition, seg *segment) *CorruptError {
	return &CorruptError{TP: tp, Offset: d.from, Next: d.to, Segment: seg.base, Position: d.pos, Reason: d.reason}
}

// undo makes the damaged bytes b what they were, if one flipped bit explains them.
func (d damage) undo(b []byte) (h batch.Header, ok bool) {
	for bit := range 8 * len(b) {
		b[bit/8] ^= 1 << (bit % 8)
		h, err := batch.CheckCRC(b)
		if err == nil && h.Size() == len(b) && h.BaseOffset == d.from && h.LastOffset() < d.to {
			return h, true
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	return h, false
}

// maxKnownDamage bounds what is remembered per segment. Damage beyond it is
// found again by each reader.
const maxKnownDamage = 1000

// damageAt is the damage that starts at pos; nil when none is known.
func (s *segment) damageAt(pos int64) *damage {
	known := s.damage.Load()
	if known == nil {
		return nil
	}
	i, found := slices.BinarySearchFunc(*known, pos, func(d damage, pos int64) int { return cmp.Compare(d.pos, pos) })
	if !found {
		return nil
	}
	return &(*known)[i]
}

// addDamage remembers d, unless it is known already.
func (s *segment) addDamage(d damage) (news bool) {
	for {
		known := s.damage.Load()
		var all []damage
		if known != nil {
			all = *known
		}
		i, found := slices.BinarySearchFunc(all, d, func(a, b damage) int { return cmp.Compare(a.pos, b.pos) })
		if found {
			return false
		}
		if len(all) >= maxKnownDamage {
			return true
		}
		all = slices.Insert(slices.Clone(all), i, d)
		if s.damage.CompareAndSwap(known, &all) {
			return true
		}
	}
}

// noteDamage remembers and reports damage that was found while reading.
func (l *Log) noteDamage(seg *segment, d damage) {
	if seg.addDamage(d) {
		l.store.metrics.corrupt.Inc()
		l.store.opts.Logger.Error("stored records are damaged and cannot be read; the others are served",
			"partition", l.tp.String(), "from", int64(d.from), "to", int64(d.to), "file", seg.path(dataFile), "position", d.pos, "reason", d.reason)
	}
}

// assess measures the damage at the cursor, where cause was found instead of a
// batch: it ends where the next sound batch starts, or at the cursor's end, where
// the offset is endOffset.
func (c *cursor) assess(seg *segment, endOffset record.Offset, cause error) (damage, error) {
	d := damage{pos: c.pos, end: c.end, from: c.next, to: endOffset, reason: cause.Error()}
	pos, base, err := c.resume(seg, endOffset)
	if err == nil && pos < c.end {
		d.end, d.to = pos, base
	}
	return d, err
}

// resume finds the next sound batch behind the damaged one at the cursor. It
// gives c.end when there is none.
//
// A damaged length may by chance lead to the end, or to a later batch, past sound
// ones: it is followed at once only if the offset found there is the one that
// must come next, and else only if a search byte for byte finds nothing nearer.
func (c *cursor) resume(seg *segment, endOffset record.Offset) (pos int64, base record.Offset, err error) {
	claimed, claimedBase := c.end, endOffset
	if size := sizeOf(c.claimedLength(c.pos)); size > 0 && c.pos+size < c.end {
		base, ok, err := c.sound(c.pos+size, endOffset)
		if err != nil || ok && base == c.endOfDamaged() {
			return c.pos + size, base, err
		}
		if ok {
			claimed, claimedBase = c.pos+size, base
		}
	}
	pos, base, err = c.search(seg, endOffset)
	if err == nil && pos >= claimed {
		return claimed, claimedBase, nil
	}
	return pos, base, err
}

// search looks for a sound batch at every byte behind the cursor. What it finds
// has to be the start of a chain of batches that meets an index entry or the end:
// a record's value may hold bytes that look like a batch.
func (c *cursor) search(seg *segment, endOffset record.Offset) (pos int64, base record.Offset, err error) {
	for pos = c.pos + 1; pos+batch.HeaderSize <= c.end; pos++ {
		base, ok, err := c.sound(pos, endOffset)
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			continue
		}
		if ok, err = c.chained(seg, pos, base); ok || err != nil {
			return pos, base, err
		}
	}
	return c.end, endOffset, nil
}

// sound says whether the batch at pos is whole and true, and follows the one at
// the cursor. The cheap checks come first: search asks at every byte.
func (c *cursor) sound(pos int64, endOffset record.Offset) (base record.Offset, ok bool, err error) {
	b, err := c.bytes(pos, batch.HeaderSize)
	if err != nil || len(b) < batch.HeaderSize || b[16] != 2 {
		return 0, false, err
	}
	h, err := batch.ParseHeader(b)
	if err != nil || h.BaseOffset <= c.next || h.LastOffset() >= endOffset || plausible(h, h.BaseOffset, c.end-pos, c.epochs) != nil {
		return 0, false, nil
	}
	if err := c.prove(h, pos); err != nil {
		return 0, false, unlessBad(err)
	}
	return h.BaseOffset, true, nil
}

// chained says whether the batches from pos on follow each other up to a batch
// that the index names, or up to the end.
func (c *cursor) chained(seg *segment, pos int64, base record.Offset) (bool, error) {
	ahead := *c
	ahead.window, ahead.windowN = windows.Get().(*[windowSize]byte), 0
	defer ahead.close()
	ahead.pos, ahead.next = pos, base
	named, err := seg.indexedFrom(pos)
	if err != nil {
		return false, err
	}
	for {
		h, err := ahead.header()
		if err == errEnd {
			return true, nil
		}
		if err != nil {
			return false, unlessBad(err)
		}
		if named != nil && ahead.pos >= named.position {
			return ahead.pos == named.position && h.LastOffset() == named.last, nil
		}
		ahead.pass(h)
	}
}

// indexedFrom is the first index entry at or behind pos, if there is one.
func (s *segment) indexedFrom(pos int64) (*indexEntry, error) {
	f, err := s.openIndex(&s.index, indexFile)
	if f == nil || err != nil {
		return nil, err
	}
	defer s.index.release()
	entries, err := readEntries(f, indexEntrySize)
	if err != nil {
		return nil, err
	}
	i, err := entries.search(func(b []byte) bool { return decodeIndexEntry(b, s.base).position < pos })
	if err != nil || i == entries.count {
		return nil, err
	}
	b, err := entries.at(i)
	if err != nil {
		return nil, err
	}
	e := decodeIndexEntry(b, s.base)
	return &e, nil
}
