package log

import (
	"hash/maphash"

	"millrace/record"
)

// offsetMap remembers the newest offset of each key, in bounded memory: of a key
// it keeps a hash of 16 bytes, of two seeds that nobody outside this process
// knows, so that nobody can make two keys collide, which would lose a record.
// It is open addressing with linear probing; it grows by doubling up to its limit
// and is for one goroutine.
type offsetMap struct {
	slots []offsetSlot // a power of two of them
	used  int
	most  int // slots
	seeds [2]maphash.Seed
}

type offsetSlot struct {
	hash [2]uint64
	next record.Offset // the offset + 1; 0: the slot is free
}

const (
	offsetSlotBytes = 24
	fewestSlots     = 1 << 10
)

// newOffsetMap takes at most maxBytes, and some while it grows.
func newOffsetMap(maxBytes int64) *offsetMap {
	m := &offsetMap{most: 8, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for int64(m.most)*2*offsetSlotBytes <= maxBytes {
		m.most *= 2
	}
	return m
}

// clear forgets all keys and keeps the memory.
func (m *offsetMap) clear() {
	clear(m.slots)
	m.used = 0
}

// put notes that the newest record of key is the one at off. It is false, and the
// map as it was, when there is no room for another key.
func (m *offsetMap) put(key []byte, off record.Offset) bool {
	if m.full() && !m.grow() {
		if s := m.find(m.hash(key)); s.next > 0 { // no further key
			s.next = off + 1
			return true
		}
		return false
	}
	hash := m.hash(key)
	s := m.find(hash)
	if s.next == 0 {
		s.hash = hash
		m.used++
	}
	s.next = off + 1
	return true
}

// newest is the offset of the newest record with that key, as far as the map
// knows; -1 when it does not know the key.
func (m *offsetMap) newest(key []byte) record.Offset {
	if m.used == 0 {
		return -1
	}
	return m.find(m.hash(key)).next - 1
}

func (m *offsetMap) hash(key []byte) [2]uint64 {
	return [2]uint64{maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)}
}

// find is the slot of the key with that hash, or the free one where it belongs.
func (m *offsetMap) find(hash [2]uint64) *offsetSlot {
	mask := uint64(len(m.slots) - 1)
	for i := hash[0] & mask; ; i = (i + 1) & mask {
		if s := &m.slots[i]; s.next == 0 || s.hash == hash {
			return s
		}
	}
}

// full: probing stays short while one slot in eight is free.
func (m *offsetMap) full() bool { return m.used >= len(m.slots)-len(m.slots)/8 }

func (m *offsetMap) grow() bool {
	if len(m.slots) >= m.most {
		return false
	}
	old := m.slots
	m.slots = make([]offsetSlot, min(m.most, max(fewestSlots, 2*len(old))))
	for i := range old {
		if old[i].next > 0 {
			*m.find(old[i].hash) = old[i]
		}
	}
	return true
}
