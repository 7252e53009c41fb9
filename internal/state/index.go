package state

import (
	"hash/maphash"
	"reflect"
	"unsafe"
)

// index gives each key a number, from 0 in the order of arrival; those of removed
// keys are given out again. Whole columns of keys are looked up in one call, so
// that the cache misses of many keys overlap and nothing is dispatched per key.
type index[K comparable] interface {
	// find sets ids[i] to the number of keys[i], and gives a number to a key that
	// has none; the index keeps a copy of its own of such a key.
	find(keys []K, ids []uint32)

	// added are the numbers given out since it was last called. What is not yet
	// known of their keys has to be found out then.
	added() []uint32

	// remove forgets the key with a number.
	remove(id uint32)

	// lookup is the number of a key that has one. It changes nothing: readers may
	// call it at once.
	lookup(key K) (id uint32, ok bool)

	// key is the key with a number. Its bytes may be cut from cut; the
	// caller may keep it.
	key(id uint32, cut *Cutter) K
	len() int

	// sizeBytes is the memory that the keys take. That of removed ones is used
	// again, and not counted.
	sizeBytes() int64

	// trim gives back what removed keys have left, where that is simple.
	trim()

	// reset forgets all keys and keeps some of the memory.
	reset()
}

// newIndex picks the index of K: that of strings works for every type made from
// string, for they are the same in memory.
func newIndex[K comparable]() index[K] {
	if reflect.TypeFor[K]().Kind() == reflect.String {
		return asStrings[K]{newStringIndex()}
	}
	return newAnyIndex[K]()
}

// asStrings is a string index for a type K made from string.
type asStrings[K comparable] struct{ *stringIndex }

func (x asStrings[K]) find(keys []K, ids []uint32) {
	x.stringIndex.find(unsafe.Slice((*string)(unsafe.Pointer(unsafe.SliceData(keys))), len(keys)), ids)
}

func (x asStrings[K]) lookup(key K) (uint32, bool) {
	return x.stringIndex.lookup(*(*string)(unsafe.Pointer(&key)))
}

func (x asStrings[K]) key(id uint32, cut *Cutter) K {
	s := x.stringIndex.key(id, cut)
	return *(*K)(unsafe.Pointer(&s))
}

// cells is an open-addressing hash table of numbers: in each cell the upper half
// of a key's hash and its number plus one; 0 is a free cell. At most three of
// four cells are taken; a search goes on from cell to cell until a free one.
type cells struct {
	cell []uint64
	mask uint32
	used int
}

const firstCells = 16

func newCells() cells { return cells{cell: make([]uint64, firstCells), mask: firstCells - 1} }

// full says that one more key needs [cells.grow] first.
func (c *cells) full() bool { return (c.used+1)*4 > len(c.cell)*3 }

// put takes a number into the first free cell for hash.
func (c *cells) put(hash, id uint32) {
	at := hash & c.mask
	for c.cell[at] != 0 {
		at = (at + 1) & c.mask
	}
	c.cell[at] = uint64(hash)<<32 | uint64(id+1)
	c.used++
}

// drop frees the cell of a number, and moves those behind it up that were only
// there because it was taken.
func (c *cells) drop(hash, id uint32) {
	at := hash & c.mask
	for uint32(c.cell[at]) != id+1 {
		at = (at + 1) & c.mask
	}
	for next := (at + 1) & c.mask; c.cell[next] != 0; next = (next + 1) & c.mask {
		home := uint32(c.cell[next]>>32) & c.mask
		if (next-home)&c.mask >= (next-at)&c.mask {
			c.cell[at], at = c.cell[next], next
		}
	}
	c.cell[at] = 0
	c.used--
}

func (c *cells) grow() { c.resize(2 * len(c.cell)) }

// shrink halves the table as long as most of it is free.
func (c *cells) shrink() {
	n := len(c.cell)
	for n > firstCells && c.used*8 < n {
		n /= 2
	}
	if n < len(c.cell) {
		c.resize(n)
	}
}

func (c *cells) resize(n int) {
	old := c.cell
	c.cell = make([]uint64, n)
	c.mask = uint32(n - 1)
	c.used = 0
	for _, x := range old {
		if x != 0 {
			c.put(uint32(x>>32), uint32(x)-1)
		}
	}
}

func (c *cells) reset() {
	clear(c.cell)
	c.used = 0
}

// numbered is keys by their numbers.
type numbered[T any] struct {
	keys  paged[T]
	free  []uint32 // numbers of removed keys
	fresh []uint32 // numbers given out since added was called
}

// number gives key a number.
func (x *numbered[T]) number(key T) (id uint32) {
	if last := len(x.free) - 1; last >= 0 {
		id, x.free = x.free[last], x.free[:last]
		*x.keys.at(id) = key
	} else {
		id = x.keys.add(key)
	}
	x.fresh = append(x.fresh, id)
	return id
}

func (x *numbered[T]) added() []uint32 {
	ids := x.fresh
	x.fresh = x.fresh[:0]
	return ids
}

func (x *numbered[T]) forget(id uint32) {
	var none T
	*x.keys.at(id) = none
	x.free = append(x.free, id)
}

func (x *numbered[T]) len() int { return x.keys.n - len(x.free) }

func (x *numbered[T]) sizeBytes() int64 {
	var one T
	return int64(x.len())*int64(unsafe.Sizeof(one)) + 4*int64(len(x.free))
}

func (x *numbered[T]) reset() {
	x.keys.reset()
	x.free, x.fresh = nil, nil
}

// anyIndex is the index of all types but strings.
type anyIndex[K comparable] struct {
	cells
	numbered[K]
	seed maphash.Seed
}

func newAnyIndex[K comparable]() *anyIndex[K] {
	return &anyIndex[K]{cells: newCells(), seed: maphash.MakeSeed()}
}

func (x *anyIndex[K]) find(keys []K, ids []uint32) {
	for i, key := range keys {
		hash := uint32(maphash.Comparable(x.seed, key) >> 32)
		id, ok := x.search(key, hash)
		if !ok {
			if x.full() {
				x.grow()
			}
			id = x.number(key)
			x.put(hash, id)
		}
		ids[i] = id
	}
}

func (x *anyIndex[K]) lookup(key K) (uint32, bool) {
	return x.search(key, uint32(maphash.Comparable(x.seed, key)>>32))
}

func (x *anyIndex[K]) search(key K, hash uint32) (uint32, bool) {
	for at := hash & x.mask; x.cell[at] != 0; at = (at + 1) & x.mask {
		if uint32(x.cell[at]>>32) == hash {
			if id := uint32(x.cell[at]) - 1; *x.keys.at(id) == key {
				return id, true
			}
		}
	}
	return 0, false
}

func (x *anyIndex[K]) key(id uint32, _ *Cutter) K { return *x.keys.at(id) }

func (x *anyIndex[K]) remove(id uint32) {
	x.drop(uint32(maphash.Comparable(x.seed, *x.keys.at(id))>>32), id)
	x.forget(id)
}

func (x *anyIndex[K]) sizeBytes() int64 { return int64(len(x.cell))*8 + x.numbered.sizeBytes() }

func (x *anyIndex[K]) trim() { x.shrink() }

func (x *anyIndex[K]) reset() {
	x.cells.reset()
	x.numbered.reset()
}
