package state

import "math/bits"

// Evict implements [Table]. Rows that are dirty, in a flush, or open stay, as
// does a key that is new: it costs little, and its absence is knowledge too.
//
// The table is built anew with what stays. That costs about what it took to
// read the rest, and gives the memory back in one piece: so evict seldom and much.
func (t *Keyed[K, A]) Evict(target int64) {
	t.trim()
	size := t.CacheBytes()
	if size <= target || t.rows.n == 0 || t.spec.Backing == nil {
		return
	}
	oldest := t.ageToDrop(size, target)
	if oldest < 0 {
		return
	}
	t.rebuild(func(r *row[A]) bool {
		return r.open < 0 && r.state&onDisk != 0 && r.state&(isDirty|inFlush) == 0 && t.ageClass(r) >= oldest
	})
}

// trim gives back what lists have grown to and do not hold now.
func (t *Keyed[K, A]) trim() {
	if len(t.open) == 0 {
		t.open = nil
	}
	if len(t.dirty) == 0 {
		t.dirty = nil
	}
	if len(t.flushing) == 0 {
		t.flushing = nil
	}
}

// ageClass is the order of magnitude of the number of commits since a row's use.
func (t *Keyed[K, A]) ageClass(r *row[A]) int { return bits.Len32(t.age - r.used) }

// ageToDrop is the class from which on rows must go, so that the table shrinks
// from size to target; -1 when there is nothing to drop.
func (t *Keyed[K, A]) ageToDrop(size, target int64) int {
	var classes [33]int64
	clean := int64(0)
	for id := range uint32(t.rows.n) {
		r := t.rows.at(id)
		if r.open < 0 && r.state&onDisk != 0 && r.state&(isDirty|inFlush) == 0 {
			classes[t.ageClass(r)]++
			clean++
		}
	}
	if clean == 0 {
		return -1
	}
	drop := min(clean, int64(t.rows.n)-int64(t.rows.n)*max(target, 0)/size)
	class := len(classes)
	for drop > 0 && class > 0 {
		class--
		drop -= classes[class]
	}
	return class
}

// rebuild keeps the rows that gone does not name, under new numbers.
func (t *Keyed[K, A]) rebuild(gone func(*row[A]) bool) {
	keys, rows, extra := newIndex[K](), paged[row[A]]{}, int64(0)
	moved := make([]uint32, t.rows.n)
	var id [1]uint32
	for old := range uint32(t.rows.n) {
		r := t.rows.at(old)
		if gone(r) {
			t.complete = false
			continue
		}
		keys.find([]K{t.keys.key(old, &t.cut)}, id[:])
		moved[old] = rows.add(*r)
		extra += int64(r.size)
	}
	for i := range t.open {
		t.open[i].row = moved[t.open[i].row]
	}
	renumber(t.dirty, moved)
	renumber(t.flushing, moved)
	t.keys, t.rows, t.extra = keys, rows, extra
}

func renumber(ids, moved []uint32) {
	for i, id := range ids {
		ids[i] = moved[id]
	}
}
