package state

import (
	"fmt"
	"unsafe"
)

// Changes implements [Table].
func (t *Keyed[K, A]) Changes(yield func(key, value []byte)) error {
	var buf Cutter
	for i := range t.open {
		o := &t.open[i]
		key, err := t.appendKey(buf.Begin(), o.row)
		if err != nil {
			return err
		}
		both, err := t.spec.Value.Append(key, o.Value)
		if err != nil {
			return fmt.Errorf("store %q: encode an accumulator: %w", t.spec.Name, err)
		}
		both = buf.End(both)
		t.resize(o.row, len(both)-len(key))
		yield(both[:len(key):len(key)], both[len(key):])
	}
	return nil
}

// OpenedBytes is the i-th changed key of the open transaction and its value as
// bytes, as far as the codecs can write them: for a report, not for a log.
func (t *Keyed[K, A]) OpenedBytes(i int) (key, value []byte) {
	key, _ = t.appendKey(nil, t.open[i].row)
	value, _ = t.spec.Value.Append(nil, t.open[i].Value)
	return key, value
}

// Commit implements [Table].
func (t *Keyed[K, A]) Commit() {
	for i := range t.open {
		o := &t.open[i]
		r := t.rows.at(o.row)
		r.committed = o.Value
		r.open = -1
		if r.state&isDirty == 0 {
			t.dirty = append(t.dirty, o.row)
		}
		r.state |= exists | isDirty
	}
	t.closeOpen()
	t.age++
}

// Abort implements [Table].
func (t *Keyed[K, A]) Abort() {
	for i := range t.open {
		t.rows.at(t.open[i].row).open = -1
	}
	t.closeOpen()
}

// closeOpen empties the open layer. What a rare large transaction has taken is
// given back.
func (t *Keyed[K, A]) closeOpen() {
	if n := len(t.open); cap(t.open) > 1024 && n < cap(t.open)/8 {
		t.open = nil
		return
	}
	clear(t.open)
	t.open = t.open[:0]
}

// Flush implements [Table]. What an earlier flush has written without being
// acknowledged is written again.
func (t *Keyed[K, A]) Flush(w Writer) error {
	t.unflush()
	for _, id := range t.dirty {
		r := t.rows.at(id)
		key, err := t.appendKey(t.scratch[:0], id)
		if err != nil {
			return err
		}
		both, err := t.spec.Value.Append(key, r.committed)
		t.scratch = both
		if err != nil {
			return fmt.Errorf("store %q: encode an accumulator: %w", t.spec.Name, err)
		}
		w.Put(both[:len(key)], both[len(key):])
	}
	for _, id := range t.dirty {
		r := t.rows.at(id)
		r.state = r.state&^isDirty | inFlush
	}
	t.dirty, t.flushing = t.flushing[:0], t.dirty
	return nil
}

// unflush makes the rows of an unacknowledged flush dirty again.
func (t *Keyed[K, A]) unflush() {
	for _, id := range t.flushing {
		r := t.rows.at(id)
		if r.state&isDirty == 0 {
			t.dirty = append(t.dirty, id)
		}
		r.state = r.state&^inFlush | isDirty
	}
	t.flushing = t.flushing[:0]
}

// Flushed implements [Table].
func (t *Keyed[K, A]) Flushed() {
	for _, id := range t.flushing {
		r := t.rows.at(id)
		r.state = r.state&^inFlush | onDisk
	}
	t.flushing = t.flushing[:0]
}

// Restore implements [Table].
func (t *Keyed[K, A]) Restore(key, value []byte) error {
	k, err := t.spec.Key.Decode(append([]byte(nil), key[len(t.prefix):]...))
	if err != nil {
		return fmt.Errorf("store %q: %w: key: %w", t.spec.Name, ErrDamaged, err)
	}
	if value == nil {
		return fmt.Errorf("store %q: %w: a tombstone, and this table never deletes a key", t.spec.Name, ErrDamaged)
	}
	var id [1]uint32
	t.keys.find([]K{k}, id[:])
	t.makeRows(t.keys.added()) // what the disk has is older
	if err := t.set(id[0], value, exists); err != nil {
		return err
	}
	if r := t.rows.at(id[0]); r.state&isDirty == 0 {
		r.state |= isDirty
		t.dirty = append(t.dirty, id[0])
	}
	return nil
}

// OpenBytes implements [Table]. Room that an earlier transaction has left is not
// counted: else a large one would make the next ones look large.
func (t *Keyed[K, A]) OpenBytes() int64 {
	var o Open[K, A]
	return int64(len(t.open)) * int64(unsafe.Sizeof(o))
}

// DirtyBytes implements [Table].
func (t *Keyed[K, A]) DirtyBytes() int64 {
	n := len(t.dirty) + len(t.flushing)
	if n == 0 {
		return 0
	}
	return int64(n) * (t.CacheBytes() / int64(max(t.Len(), 1)))
}

// CacheBytes implements [Table].
func (t *Keyed[K, A]) CacheBytes() int64 {
	var r row[A]
	var o Open[K, A]
	return t.keys.sizeBytes() + int64(t.Len())*int64(unsafe.Sizeof(r)) + int64(cap(t.open))*int64(unsafe.Sizeof(o)) + t.extra + 4*int64(len(t.sizes)) +
		4*int64(cap(t.dirty)+cap(t.flushing))
}
