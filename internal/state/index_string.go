package state

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"unsafe"
)

// stringIndex is the index of strings, without a pointer per key, so that the
// garbage collector does not walk ten million of them. A key of up to 15 bytes
// lies in its two words; a longer one in the arena, to which the words point.
type stringIndex struct {
	cells
	numbered[stringKey]
	seed   maphash.Seed
	s0, s1 uint64 // secrets of the hash of short keys
	arena  arena
	probes [chunk]probe
}

// chunk is how many keys one pass looks up: their words stay in the first cache.
const chunk = 128

// stringKey is a key: short with its length in the top byte of hi, or long with
// the top byte 0xff, the length in lo and one more than the place in the arena in
// the rest of hi: so no long key equals what a probe knows of it.
type stringKey struct{ lo, hi uint64 }

const (
	shortest = 15   // bytes of the longest short key
	longMark = 0xff // top byte of hi
)

type probe struct {
	key  stringKey // of a long key only the mark and the length are set
	hash uint32
}

func newStringIndex() *stringIndex {
	return &stringIndex{cells: newCells(), seed: maphash.MakeSeed(), s0: rand.Uint64() | 1, s1: rand.Uint64() | 1}
}

func (x *stringIndex) find(keys []string, ids []uint32) {
	for len(keys) > 0 {
		n := min(len(keys), chunk)
		x.findChunk(keys[:n], ids[:n])
		keys, ids = keys[n:], ids[n:]
	}
}

// findChunk goes over the keys three times. The loads of one pass do not wait
// for each other, so the processor has many of them under way at once.
func (x *stringIndex) findChunk(keys []string, ids []uint32) {
	probes := x.probes[:len(keys)]
	for i, key := range keys {
		probes[i] = x.probe(key)
	}
	for i := range probes {
		ids[i] = x.firstMatch(probes[i].hash)
	}
	for i := range probes {
		p := &probes[i]
		if id := ids[i]; id < uint32(x.keys.n) && *x.keys.at(id) == p.key {
			continue // a short key where it was expected: nearly always
		}
		ids[i] = x.slow(keys[i], p)
	}
}

// firstMatch is the number in the first cell with this hash, or one that no key
// has. Keys of the same chunk that are new are not found here, but by slow.
func (x *stringIndex) firstMatch(hash uint32) uint32 {
	for at := hash & x.mask; ; at = (at + 1) & x.mask {
		c := x.cell[at]
		if uint32(c>>32) == hash || c == 0 {
			return uint32(c) - 1
		}
	}
}

// slow finds or adds a key with all care.
func (x *stringIndex) slow(key string, p *probe) uint32 {
	if id, ok := x.search(key, p); ok {
		return id
	}
	if x.full() {
		x.grow()
	}
	kept := p.key
	if len(key) > shortest {
		kept.hi |= x.arena.add(key) + 1
	}
	id := x.number(kept)
	x.put(p.hash, id)
	return id
}

func (x *stringIndex) search(key string, p *probe) (uint32, bool) {
	for at := p.hash & x.mask; x.cell[at] != 0; at = (at + 1) & x.mask {
		if uint32(x.cell[at]>>32) == p.hash {
			if id := uint32(x.cell[at]) - 1; x.equal(x.keys.at(id), p, key) {
				return id, true
			}
		}
	}
	return 0, false
}

func (x *stringIndex) equal(k *stringKey, p *probe, key string) bool {
	if len(key) <= shortest {
		return *k == p.key
	}
	return k.hi>>56 == longMark && k.lo == uint64(len(key)) && x.long(k) == key
}

func (x *stringIndex) lookup(key string) (uint32, bool) {
	p := x.probe(key)
	return x.search(key, &p)
}

func (x *stringIndex) probe(key string) probe {
	if len(key) > shortest {
		return probe{
			key:  stringKey{lo: uint64(len(key)), hi: longMark << 56},
			hash: uint32(maphash.String(x.seed, key) >> 32),
		}
	}
	k := shortKey(key)
	return probe{key: k, hash: x.hashShort(k)}
}

func (x *stringIndex) hashShort(k stringKey) uint32 {
	hi, lo := bits.Mul64(k.lo^x.s0, k.hi^x.s1)
	return uint32((hi ^ lo) >> 32)
}

func (x *stringIndex) remove(id uint32) {
	k := x.keys.at(id)
	if k.hi>>56 == longMark {
		x.drop(uint32(maphash.String(x.seed, x.long(k))>>32), id)
		x.arena.live -= int64(k.lo)
	} else {
		x.drop(x.hashShort(*k), id)
	}
	x.forget(id)
}

// trim also moves long keys together when half of the arena is of removed ones.
func (x *stringIndex) trim() {
	x.shrink()
	if x.arena.live*2 > x.arena.size || x.arena.size <= arenaBlock {
		return
	}
	var moved arena
	for id := range uint32(x.keys.n) {
		if k := x.keys.at(id); k.hi>>56 == longMark {
			k.hi = longMark<<56 | moved.add(x.long(k)) + 1
		}
	}
	x.arena = moved
}

// shortKey packs up to 15 bytes and their number.
func shortKey(key string) (k stringKey) {
	n := len(key)
	b := unsafe.Slice(unsafe.StringData(key), n)
	switch {
	case n >= 8:
		k.lo = binary.LittleEndian.Uint64(b)
		// The last eight bytes overlap the first; shift the overlap out.
		k.hi = binary.LittleEndian.Uint64(b[n-8:]) >> (8 * uint(16-n))
	case n >= 4:
		k.lo = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*uint(n-4))
	case n > 0:
		k.lo = uint64(b[0]) | uint64(b[n/2])<<(8*uint(n/2)) | uint64(b[n-1])<<(8*uint(n-1))
	}
	k.hi |= uint64(n) << 56
	return k
}

func (x *stringIndex) key(id uint32, cut *Cutter) string {
	k := x.keys.at(id)
	n := k.hi >> 56
	if n == longMark {
		return x.long(k)
	}
	b := append(cut.Begin(), make([]byte, 16)...)
	binary.LittleEndian.PutUint64(b, k.lo)
	binary.LittleEndian.PutUint64(b[8:], k.hi)
	b = cut.End(b[:n])
	return unsafe.String(unsafe.SliceData(b), n)
}

func (x *stringIndex) long(k *stringKey) string {
	return x.arena.view(k.hi&^(longMark<<56)-1, int(k.lo))
}

func (x *stringIndex) sizeBytes() int64 {
	return int64(len(x.cell))*8 + x.numbered.sizeBytes() + x.arena.live
}

func (x *stringIndex) reset() {
	x.cells.reset()
	x.numbered.reset()
	x.arena = arena{}
}

// arena keeps the bytes of long keys, in blocks.
type arena struct {
	blocks [][]byte
	size   int64 // of the blocks
	live   int64 // of the keys that were not removed
}

const arenaBlock = 16 << 10

// add copies key and returns its place: block number and position in it.
func (a *arena) add(key string) uint64 {
	last := len(a.blocks) - 1
	if last < 0 || len(a.blocks[last])+len(key) > cap(a.blocks[last]) {
		block := make([]byte, 0, max(arenaBlock, len(key)))
		a.blocks = append(a.blocks, block)
		a.size += int64(cap(block))
		last++
	}
	a.live += int64(len(key))
	at := len(a.blocks[last])
	a.blocks[last] = append(a.blocks[last], key...)
	return uint64(last)<<24 | uint64(at)
}

// view is the key at a place: a string that shares the block, which is never
// written to again at that place.
func (a *arena) view(place uint64, n int) string {
	block := a.blocks[place>>24]
	return unsafe.String(&block[place&(1<<24-1)], n)
}
