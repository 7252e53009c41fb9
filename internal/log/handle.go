package log

import (
	"errors"
	"sync"
	"sync/atomic"

	"millrace/internal/vfs"
)

// handle is a file that may be open or not. Whoever uses it holds a reference,
// so that it is neither evicted nor closed under them, and gives it back with
// release. Taking a reference on an open file is one atomic operation.
type handle struct {
	refs atomic.Int32 // 0: not open; else 1 for the cache and 1 per user
	used atomic.Bool  // since the clock hand last passed
	file vfs.File     // valid while the caller holds a reference

	slot    int  // place in handleCache.open
	retired bool // removed from the cache for good; guarded by handleCache.mu
}

// handleCache bounds the open files of a store. The bound is soft: files that
// are in use, or pinned because they hold unsynced bytes, stay open beyond it.
type handleCache struct {
	max     int
	pressed func() // asks for a sync, which takes pins away; must not block

	mu     sync.Mutex
	open   []*handle // those on which the cache holds a reference
	hand   int       // of the clock (second chance) that picks a victim
	closed bool
}

var errRetired = errors.New("log: file was removed")

func (h *handle) tryAcquire() bool {
	for {
		refs := h.refs.Load()
		if refs == 0 {
			return false
		}
		if h.refs.CompareAndSwap(refs, refs+1) {
			if !h.used.Load() {
				h.used.Store(true)
			}
			return true
		}
	}
}

func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		_ = h.file.Close() // all bytes that matter were synced: a dirty file is pinned
	}
}

// acquire opens the file by its name unless it is open. errRetired when the file
// was removed by us, fs.ErrNotExist when it is missing.
func (c *handleCache) acquire(h *handle, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if h.tryAcquire() {
		return h.file, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.tryAcquire() { // somebody else was faster
		return h.file, nil
	}
	if h.retired || c.closed {
		return nil, errRetired
	}
	if c.evictLocked(); len(c.open) >= c.max {
		c.pressed() // too many files hold unsynced bytes
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	h.file = file
	h.slot = len(c.open)
	c.open = append(c.open, h)
	h.refs.Store(2)
	return file, nil
}

// evictProbes bounds how many files one open looks at to make room: more than
// one is closed if the cache had to grow beyond its bound before.
const evictProbes = 64

// evictLocked closes files that nobody uses until there is room for one.
func (c *handleCache) evictLocked() {
	for range evictProbes {
		if len(c.open) < c.max {
			return
		}
		c.hand = (c.hand + 1) % len(c.open)
		h := c.open[c.hand]
		if h.used.Swap(false) {
			continue
		}
		if h.refs.CompareAndSwap(1, 0) {
			c.dropLocked(h)
			_ = h.file.Close()
		}
	}
}

func (c *handleCache) dropLocked(h *handle) {
	last := len(c.open) - 1
	c.open[h.slot] = c.open[last]
	c.open[h.slot].slot = h.slot
	c.open[last] = nil
	c.open = c.open[:last]
}

// retire keeps the file from being opened again. It is closed when its last
// user is done, which may be now.
func (c *handleCache) retire(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.retired {
		return
	}
	h.retired = true
	if h.refs.Load() > 0 {
		c.dropLocked(h)
		h.release()
	}
}

// close retires all files, those that nobody has opened yet included.
func (c *handleCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, h := range c.open {
		h.retired = true
		h.release()
	}
	c.open = nil
}

func (c *handleCache) openFiles() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
