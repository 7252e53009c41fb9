package log

import (
	"sync"
	"sync/atomic"

	"millrace/record"
)

// Waiter is woken when a watched log has something new. One Waiter may watch
// many logs, so that one Fetch over many partitions waits on one channel.
type Waiter struct {
	C chan struct{} // capacity 1: a wake-up that finds it full is already known
}

// NewWaiter is a Waiter that watches nothing yet.
func NewWaiter() *Waiter { return &Waiter{C: make(chan struct{}, 1)} }

func (w *Waiter) wake() {
	select {
	case w.C <- struct{}{}:
	default:
	}
}

// waiterSet is the waiters of one log. Its size is bounded by the callers: each
// connection has at most one waiting fetch.
type waiterSet struct {
	count atomic.Int32 // lets wake skip the lock when nobody waits
	mu    sync.Mutex
	set   map[*Waiter]struct{} // nil until the first one
}

func (s *waiterSet) add(w *Waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = make(map[*Waiter]struct{})
	}
	s.set[w] = struct{}{}
	s.count.Store(int32(len(s.set)))
}

func (s *waiterSet) remove(w *Waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, w)
	s.count.Store(int32(len(s.set)))
}

func (s *waiterSet) wake() {
	if s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.set {
		w.wake()
	}
}

// Watch has w woken, from now until Unwatch, each time the high watermark moves,
// and when the log is deleted, fails or is closed. It returns false, and does
// not watch, when there is something to see already: the high watermark is above
// seen, or the log has stopped.
func (l *Log) Watch(w *Waiter, seen record.Offset) bool {
	l.waiters.add(w) // before the look: what moves the watermark after it wakes w
	if l.HighWatermark() > seen || l.stopped() != nil {
		l.waiters.remove(w)
		return false
	}
	return true
}

// Unwatch ends a Watch or WatchStable. A wake-up may already be in w.C.
func (l *Log) Unwatch(w *Waiter) {
	l.waiters.remove(w)
	l.stableWaiters.remove(w)
}

// wakeReaders wakes those for whom there is something new.
func (l *Log) wakeReaders(stableMoved bool) {
	l.waiters.wake()
	if stableMoved {
		l.stableWaiters.wake()
	}
}

func (l *Log) wakeAll() { l.wakeReaders(true) }
