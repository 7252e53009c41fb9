package wire

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Budget bounds the bytes that requests in flight hold in memory, over all
// connections. Bytes are acquired before they are read. At the bound a caller
// waits; waiters are served in order of arrival, so that a large frame is not
// starved by small ones. There are at most as many waiters as connections.
type Budget struct {
	limit int64

	mu struct {
		sync.Mutex
		used    int64
		waiters []*budgetWaiter // in order of arrival
	}
}

type budgetWaiter struct {
	bytes   int64
	granted chan struct{} // closed when the bytes are the waiter's
}

// NewBudget makes a budget of that many bytes.
func NewBudget(limitBytes int64) *Budget {
	return &Budget{limit: limitBytes}
}

// Acquire takes n bytes, waiting for them until ctx ends. More than the whole
// budget is refused at once with [ErrTooLarge]. Each Acquire needs one Release
// of the same n.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if n > b.limit {
		return fmt.Errorf("%d bytes do not fit into the memory budget of %d bytes: %w", n, b.limit, ErrTooLarge)
	}
	w := b.acquireOrWait(n)
	if w == nil {
		return nil
	}
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		b.giveUp(w)
		return ctx.Err()
	}
}

// TryAcquire takes n bytes if that needs no waiting.
func (b *Budget) TryAcquire(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeLocked(n)
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= n
	if b.mu.used < 0 {
		panic("wire: more bytes were released than acquired")
	}
	b.grantLocked()
}

// UsedBytes is how much is taken now; for a metric.
func (b *Budget) UsedBytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// LimitBytes is the size of the budget.
func (b *Budget) LimitBytes() int64 { return b.limit }

func (b *Budget) takeLocked(n int64) bool {
	if len(b.mu.waiters) > 0 || b.mu.used+n > b.limit {
		return false
	}
	b.mu.used += n
	return true
}

func (b *Budget) acquireOrWait(n int64) *budgetWaiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.takeLocked(n) {
		return nil
	}
	w := &budgetWaiter{bytes: n, granted: make(chan struct{})}
	b.mu.waiters = append(b.mu.waiters, w)
	return w
}

// grantLocked serves waiters from the front while their bytes fit.
func (b *Budget) grantLocked() {
	for len(b.mu.waiters) > 0 {
		w := b.mu.waiters[0]
		if b.mu.used+w.bytes > b.limit {
			return
		}
		b.mu.used += w.bytes
		b.mu.waiters = slices.Delete(b.mu.waiters, 0, 1)
		close(w.granted)
	}
}

// giveUp withdraws a waiter. It may have been granted at the same instant; then
// its bytes go back. Either way those behind it may fit now.
func (b *Budget) giveUp(w *budgetWaiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.mu.waiters, w); i >= 0 {
		b.mu.waiters = slices.Delete(b.mu.waiters, i, i+1)
	} else {
		b.mu.used -= w.bytes
	}
	b.grantLocked()
}
