package state

import "math/bits"

// Evict implements [Table]. Rows that are dirty, in a flush, or open stay, as
// does a key that is new: it costs little, and its absence is knowledge too.
// The room of evicted rows is used again for other keys, not given back.
func (t *Keyed[K, A]) Evict(target int64) {
	t.trim()
	size := t.CacheBytes()
	if size <= target || t.Len() == 0 || t.spec.Backing == nil {
		return
	}
	classes, clean := t.ages()
	if clean == 0 {
		return
	}
	// Rows are taken to be of equal size, so this many have to go.
	quota := min(clean, int64(t.Len())-int64(t.Len())*max(target, 0)/size)
	class := len(classes) - 1
	for ; class > 0 && quota > classes[class]; class-- {
		quota -= classes[class]
	}
	for id := range uint32(t.rows.n) {
		r := t.rows.at(id)
		switch c := t.ageClass(r); {
		case !r.evictable() || c < class || c == class && quota == 0:
		case c == class:
			quota--
			t.evict(id, r)
		default:
			t.evict(id, r)
		}
	}
	t.complete = false
	t.keys.trim()
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

// evictable says that the disk has what the row has.
func (r *row[A]) evictable() bool { return r.open < 0 && r.state == exists|onDisk }

// ageClass is the order of magnitude of the number of commits since a row's use.
func (t *Keyed[K, A]) ageClass(r *row[A]) int { return bits.Len16(t.age - r.used) }

// ages counts the rows that can be evicted, by their age.
func (t *Keyed[K, A]) ages() (classes [17]int64, clean int64) {
	for id := range uint32(t.rows.n) {
		if r := t.rows.at(id); r.evictable() {
			classes[t.ageClass(r)]++
			clean++
		}
	}
	return classes, clean
}

func (t *Keyed[K, A]) evict(id uint32, r *row[A]) {
	t.keys.remove(id)
	t.resize(id, 0)
	*r = row[A]{open: -1}
}
