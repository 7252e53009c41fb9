package log

import (
	"sync/atomic"

	"millrace/record"
)

// place is where a batch starts.
type place struct {
	position int64         // in its segment's file
	base     record.Offset // of the batch
}

// hintSet remembers where the last few reads ended, so that a reader that goes on
// from there needs no index. A hint is only a guess: the batch found at its
// position has to start with its offset. That is why a set is neither locked nor
// allocated: of two readers that write one slot at once, the checksum drops both.
type hintSet struct {
	slots [4]hint
	turn  atomic.Uint32
}

type hint struct{ segment, base, position, check atomic.Int64 }

const hintSeed = 0x5bd1e995 // makes the zero hint invalid

func (s *hintSet) find(segment, off record.Offset) (place, bool) {
	for i := range s.slots {
		h := &s.slots[i]
		if h.base.Load() != int64(off) || h.segment.Load() != int64(segment) {
			continue
		}
		position := h.position.Load()
		if h.check.Load() == int64(segment)^int64(off)^position^hintSeed {
			return place{position: position, base: off}, true
		}
	}
	return place{}, false
}

// forget drops all hints: positions have changed. One that is put at the same
// time may stay, and will be found wrong.
func (s *hintSet) forget() {
	for i := range s.slots {
		s.slots[i].check.Store(0)
		s.slots[i].base.Store(0)
	}
}

// put replaces the hint that the reader came from, or the oldest one.
func (s *hintSet) put(segment record.Offset, from, to place) {
	slot := &s.slots[s.turn.Load()%uint32(len(s.slots))]
	found := false
	for i := range s.slots {
		if s.slots[i].base.Load() == int64(from.base) {
			slot, found = &s.slots[i], true
			break
		}
	}
	if !found {
		s.turn.Add(1)
	}
	slot.segment.Store(int64(segment))
	slot.base.Store(int64(to.base))
	slot.position.Store(to.position)
	slot.check.Store(int64(segment) ^ int64(to.base) ^ to.position ^ hintSeed)
}
