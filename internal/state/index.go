package state

import (
	"hash/maphash"
	"reflect"
	"unsafe"
)

// index gives each key a dense number, from 0 in the order of arrival. Whole
// columns of keys are looked up in one call, so that the cache misses of many
// keys overlap and nothing is dispatched per key. Keys are never removed one by
// one: an eviction builds a new index.
type index[K comparable] interface {
	// find sets ids[i] to the number of keys[i], and gives a number to a key that
	// has none; the index keeps a copy of its own of such a key.
	find(keys []K, ids []uint32)

	// lookup is the number of a key that has one. It changes nothing: readers may
	// call it at once.
	lookup(key K) (id uint32, ok bool)

	// key is the key with a number below len. Its bytes may be cut from cut; the
	// caller may keep it.
	key(id uint32, cut *Cutter) K
	len() int

	// sizeBytes is the memory of the index, its keys included.
	sizeBytes() int64

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

func (c *cells) grow() {
	old := c.cell
	c.cell = make([]uint64, 2*len(old))
	c.mask = uint32(len(c.cell) - 1)
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

// anyIndex is the index of all types but strings.
type anyIndex[K comparable] struct {
	cells
	seed maphash.Seed
	keys paged[K]
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
			id = x.keys.add(key)
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
func (x *anyIndex[K]) len() int                   { return x.keys.n }

func (x *anyIndex[K]) sizeBytes() int64 { return int64(len(x.cell))*8 + x.keys.sizeBytes() }

func (x *anyIndex[K]) reset() {
	x.cells.reset()
	x.keys.reset()
}
