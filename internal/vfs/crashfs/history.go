package crashfs

import "math/rand/v2"

// maxVersions bounds what one block or size remembers of its unsynced past.
const maxVersions = 8

// history is one thing that the machine sees in its newest version and the disk
// may hold in any version since the last sync: the kernel writes when it likes.
type history[T any] struct {
	now T
	// older[0] is on the disk, the others were seen since. Empty: now is on the disk.
	older []T
	// dirty: a sync will write now. Not dirty with an older version: a sync failed.
	dirty bool
}

func (h *history[T]) set(v T) {
	switch {
	case h.dirty && len(h.older) == maxVersions:
		copy(h.older[1:], h.older[2:])
		h.older[maxVersions-1] = h.now
	case h.dirty || len(h.older) == 0:
		h.older = append(h.older, h.now)
	}
	h.now, h.dirty = v, true
}

func (h *history[T]) sync() {
	if h.dirty {
		h.older, h.dirty = nil, false
	}
}

func (h *history[T]) syncFailed() {
	if h.dirty {
		h.older, h.dirty = h.older[:1:1], false
	}
}

// afterCrash is the version that the disk turns out to hold.
func (h *history[T]) afterCrash(keep Keep, rng *rand.Rand) T {
	switch {
	case len(h.older) == 0:
		return h.now
	case !h.dirty || keep == KeepNone:
		return h.older[0]
	case keep == KeepAll:
		return h.now
	}
	switch rng.IntN(4) {
	case 0:
		return h.older[0]
	case 1:
		return h.older[rng.IntN(len(h.older))]
	}
	return h.now
}

func (h *history[T]) clone() history[T] {
	return history[T]{now: h.now, older: append([]T(nil), h.older...), dirty: h.dirty}
}
