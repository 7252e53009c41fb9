package state

import (
	"encoding/binary"
	"fmt"
	"slices"

	"millrace/record"
)

// Windows is a table with one accumulator per key and slice of time. Each slice
// is a [Keyed] table of its own, so a run of records of one slice costs what it
// costs without windows, and dropping a slice drops a table.
//
// In the changelog and on disk a key begins with its slice: eight bytes, the
// start in milliseconds, big endian with the sign bit flipped, so that slices
// lie in the order of time and old ones are one range.
type Windows[K comparable, A any] struct {
	spec   Spec[K, A]
	slices []*Slice[K, A] // ascending start

	// hot are the slices that may have open values. A table can keep thousands of
	// slices, of which a transaction changes one or two.
	hot  []*Slice[K, A]
	size sizes // of all slices, when the hot ones became hot

	droppedTo record.Timestamp // committed: slices below are gone
	openDrop  record.Timestamp // of the open transaction, >= droppedTo
	closed    record.Timestamp // windows that close at or before have told their last result
	openClose record.Timestamp // of the open transaction
	toDelete  bool             // droppedTo has moved and the disk does not know
	deleting  bool             // a flush that is not yet acknowledged deletes
}

// sizes is what slices hold, as of the last change that was not a record's.
type sizes struct {
	known        bool
	cache, dirty int64
}

// Slice is the table of the records from Start to the start of the next slice.
type Slice[K comparable, A any] struct {
	Start record.Timestamp
	*Keyed[K, A]
	hot   bool
	cache int64 // its part of Windows.size
}

const startBytes = 8

// noStart is below every slice's start.
const noStart = record.Timestamp(-1 << 63)

func appendStart(dst []byte, start record.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(start)^(1<<63))
}

func decodeStart(b []byte) record.Timestamp {
	return record.Timestamp(binary.BigEndian.Uint64(b) ^ (1 << 63))
}

// NewWindows is the table that s.Backing holds. It reads the starts of the
// slices, not their keys.
func NewWindows[K comparable, A any](s Spec[K, A]) (*Windows[K, A], error) {
	t := &Windows[K, A]{spec: s, droppedTo: noStart, openDrop: noStart, closed: noStart, openClose: noStart}
	if s.Backing == nil || s.Backing.Empty() {
		return t, nil
	}
	for from, more := []byte(nil), true; more; {
		more = false
		err := s.Backing.Scan(from, nil, func(key, _ []byte) bool {
			if len(key) < startBytes {
				return true // cannot be ours; its Get would say so
			}
			start := decodeStart(key)
			t.slices = append(t.slices, t.newSlice(start, false))
			from, more = appendStart(nil, start+1), start+1 > start
			return false
		})
		if err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Windows[K, A]) newSlice(start record.Timestamp, complete bool) *Slice[K, A] {
	return &Slice[K, A]{Start: start, Keyed: newKeyed(t.spec, appendStart(nil, start), complete)}
}

// Reset forgets everything, open values included, and keeps the slices that this
// transaction has used, empty: the next one is likely to use them too.
func (t *Windows[K, A]) Reset() {
	t.slices = slices.DeleteFunc(t.slices, func(s *Slice[K, A]) bool { return s.OpenKeys() == 0 })
	for _, s := range t.slices {
		s.Reset()
	}
	t.settle()
}

// settle ends the changes of a transaction.
func (t *Windows[K, A]) settle() {
	for _, s := range t.hot {
		s.hot = false
	}
	clear(t.hot)
	t.hot = t.hot[:0]
	t.size.known = false
}

// measure is the sizes with what has changed since they were taken.
func (t *Windows[K, A]) measure() sizes {
	if !t.size.known {
		t.size = sizes{known: true}
		for _, s := range t.slices {
			s.cache = s.CacheBytes()
			t.size.cache += s.cache
			t.size.dirty += s.DirtyBytes()
		}
		return t.size
	}
	now := t.size
	for _, s := range t.hot {
		now.cache += s.CacheBytes() - s.cache
	}
	return now
}

// Name implements [Table].
func (t *Windows[K, A]) Name() string { return t.spec.Name }

// Slice is the slice that begins at start, to be changed, made when there is
// none; nil when it has been dropped, for good.
func (t *Windows[K, A]) Slice(start record.Timestamp) *Slice[K, A] {
	s := t.slice(start)
	if s != nil && !s.hot {
		s.hot = true
		t.hot = append(t.hot, s)
	}
	return s
}

func (t *Windows[K, A]) slice(start record.Timestamp) *Slice[K, A] {
	if start < t.openDrop {
		return nil
	}
	// Records come nearly in order: the last slice is nearly always the one.
	if n := len(t.slices); n > 0 && t.slices[n-1].Start == start {
		return t.slices[n-1]
	}
	at, found := t.search(start)
	if !found {
		// All of a slice's keys are on disk or here, and the disk had none of it at
		// the start of the task.
		t.slices = slices.Insert(t.slices, at, t.newSlice(start, true))
	}
	return t.slices[at]
}

func (t *Windows[K, A]) search(start record.Timestamp) (int, bool) {
	return slices.BinarySearchFunc(t.slices, start, func(s *Slice[K, A], start record.Timestamp) int {
		switch {
		case s.Start < start:
			return -1
		case s.Start > start:
			return 1
		}
		return 0
	})
}

// Find is the slice that begins at start, or nil.
func (t *Windows[K, A]) Find(start record.Timestamp) *Slice[K, A] {
	if at, found := t.search(start); found && start >= t.openDrop {
		return t.slices[at]
	}
	return nil
}

// Between are the slices with from <= start < to that have not been dropped, in
// the order of time, valid until the next change.
func (t *Windows[K, A]) Between(from, to record.Timestamp) []*Slice[K, A] {
	first, _ := t.search(max(from, t.openDrop))
	end, _ := t.search(to)
	return t.slices[min(first, end):end]
}

// All are the slices that have not been dropped.
func (t *Windows[K, A]) All() []*Slice[K, A] { return t.slices[len(t.toDrop()):] }

// Drop removes, in the open transaction, all slices that begin before the given
// time. Their keys get tombstones in the changelog.
func (t *Windows[K, A]) Drop(before record.Timestamp) { t.openDrop = max(t.openDrop, before) }

// Close notes, in the open transaction, up to which watermark windows are final.
func (t *Windows[K, A]) Close(watermark record.Timestamp) { t.openClose = max(t.openClose, watermark) }

// Closed is the greatest watermark given to Close, the open transaction included.
func (t *Windows[K, A]) Closed() record.Timestamp { return t.openClose }

// CommittedClosed is the same as of the last commit.
func (t *Windows[K, A]) CommittedClosed() record.Timestamp { return t.closed }

// CommittedBetween are the slices with from <= start < to as of the last commit.
func (t *Windows[K, A]) CommittedBetween(from, to record.Timestamp) []*Slice[K, A] {
	first, _ := t.search(max(from, t.droppedTo))
	end, _ := t.search(to)
	return t.slices[min(first, end):end]
}

// Dropped is where the slices that are still there begin, the open transaction
// included.
func (t *Windows[K, A]) Dropped() record.Timestamp { return t.openDrop }

// toDrop are the slices that the open transaction drops.
func (t *Windows[K, A]) toDrop() []*Slice[K, A] {
	end, _ := t.search(t.openDrop)
	return t.slices[:end]
}

// Changes implements [Table].
func (t *Windows[K, A]) Changes(yield func(key, value []byte)) error {
	for _, s := range t.toDrop() {
		if err := s.tombstones(yield); err != nil {
			return err
		}
	}
	for _, s := range t.hot {
		if s.Start < t.openDrop {
			continue
		}
		if err := s.Changes(yield); err != nil {
			return err
		}
	}
	return nil
}

// tombstones yields one for every key that the changelog may hold.
func (s *Slice[K, A]) tombstones(yield func(key, value []byte)) error {
	var buf Cutter
	give := func(key []byte) { yield(buf.End(key), nil) }
	for id := range uint32(s.rows.n) {
		r := s.rows.at(id)
		if r.state&exists == 0 || !s.complete && r.state&onDisk != 0 {
			continue // never committed, or found by the scan
		}
		key, err := s.appendKey(buf.Begin(), id)
		if err != nil {
			return err
		}
		give(key)
	}
	if s.complete {
		return nil
	}
	return s.spec.Backing.Scan(s.prefix, afterPrefix(s.prefix), func(key, _ []byte) bool {
		give(append(buf.Begin(), key...))
		return true
	})
}

// Commit implements [Table].
func (t *Windows[K, A]) Commit() {
	t.closed = t.openClose
	if t.openDrop > t.droppedTo {
		gone := len(t.toDrop())
		t.slices = slices.Delete(t.slices, 0, gone)
		t.toDelete = t.toDelete || gone > 0
		t.droppedTo = t.openDrop
	}
	for _, s := range t.hot {
		s.Commit()
	}
	t.settle()
}

// Abort implements [Table].
func (t *Windows[K, A]) Abort() {
	t.openClose = t.closed
	t.openDrop = t.droppedTo
	for _, s := range t.hot {
		s.Abort()
	}
	t.settle()
}

// Flush implements [Table].
func (t *Windows[K, A]) Flush(w Writer) error {
	t.size.known = false
	if t.toDelete = t.toDelete || t.deleting; t.toDelete {
		w.DeleteRange(appendStart(nil, noStart), appendStart(nil, t.droppedTo))
		t.toDelete, t.deleting = false, true
	}
	for _, s := range t.slices {
		if err := s.Flush(w); err != nil {
			return err
		}
	}
	return nil
}

// Flushed implements [Table].
func (t *Windows[K, A]) Flushed() {
	t.deleting, t.size.known = false, false
	for _, s := range t.slices {
		s.Flushed()
	}
}

// Restore implements [Table]. A tombstone says that its whole slice was dropped,
// and all older ones before it.
func (t *Windows[K, A]) Restore(key, value []byte) error {
	if len(key) < startBytes {
		return fmt.Errorf("store %q: %w: a key of %d bytes", t.spec.Name, ErrDamaged, len(key))
	}
	start := decodeStart(key)
	if value == nil {
		t.LoadDropped(start + 1)
		return nil
	}
	s := t.slice(start)
	if s == nil {
		return nil // its tombstone is on the way
	}
	t.size.known = false
	return s.Restore(key, value)
}

// LoadClosed takes, at a start of the task, what was closed before.
func (t *Windows[K, A]) LoadClosed(watermark record.Timestamp) {
	t.closed, t.openClose = watermark, watermark
}

// LoadDropped drops, at a start of the task, the slices that were dropped before.
func (t *Windows[K, A]) LoadDropped(before record.Timestamp) {
	if before <= t.droppedTo {
		return
	}
	t.openDrop, t.size.known = before, false
	gone := len(t.toDrop())
	t.slices = slices.Delete(t.slices, 0, gone)
	t.toDelete = t.toDelete || gone > 0
	t.droppedTo = before
}

// OpenKeys implements [Table].
func (t *Windows[K, A]) OpenKeys() (n int) {
	for _, s := range t.hot {
		n += s.OpenKeys()
	}
	return n
}

// OpenBytes implements [Table].
func (t *Windows[K, A]) OpenBytes() (n int64) {
	for _, s := range t.hot {
		n += s.OpenBytes()
	}
	return n
}

// DirtyBytes implements [Table].
func (t *Windows[K, A]) DirtyBytes() int64 { return t.measure().dirty }

// CacheBytes implements [Table].
func (t *Windows[K, A]) CacheBytes() int64 { return t.measure().cache }

// Evict implements [Table]: the oldest slices go first.
func (t *Windows[K, A]) Evict(target int64) {
	defer func() { t.size.known = false }()
	size := t.CacheBytes()
	for _, s := range t.slices {
		if size <= target {
			return
		}
		before := s.CacheBytes()
		s.Evict(max(0, before-(size-target)))
		size -= before - s.CacheBytes()
	}
}
