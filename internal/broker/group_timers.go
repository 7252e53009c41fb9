package broker

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// groupTimers wakes groups when time changes something for them. One goroutine
// takes the earliest from a heap with at most one entry per group.
type groupTimers struct {
	earlier chan struct{} // the earliest entry has changed
	mu      struct {
		sync.Mutex
		heap timerHeap
	}
}

// groupTimer is a group's place in the heap; groupTimers.mu guards it.
type groupTimer struct {
	lg    *liveGroup
	at    time.Time
	index int // notPlanned, or where in the heap it is
}

const notPlanned = -1

func (t *groupTimer) init(lg *liveGroup) { t.lg, t.index = lg, notPlanned }

func newGroupTimers() *groupTimers { return &groupTimers{earlier: make(chan struct{}, 1)} }

// set lets the group be woken at the time. A later time than before changes
// nothing: most deadlines move on with every heartbeat, and a group that is woken
// too early says when it wants to be woken next.
func (t *groupTimers) set(lg *liveGroup, at time.Time) {
	if at.IsZero() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	timer := &lg.timer
	switch {
	case timer.index == notPlanned:
		timer.at = at
		heap.Push(&t.mu.heap, timer)
	case at.Before(timer.at):
		timer.at = at
		heap.Fix(&t.mu.heap, timer.index)
	default:
		return
	}
	if timer.index == 0 {
		select {
		case t.earlier <- struct{}{}:
		default:
		}
	}
}

// cancel forgets a group that is gone.
func (t *groupTimers) cancel(lg *liveGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lg.timer.index != notPlanned {
		heap.Remove(&t.mu.heap, lg.timer.index)
	}
}

// take removes an entry that is due; nil when none is, with the time until the
// next one, at most a tick while there are any.
func (t *groupTimers) take(now time.Time) (due *liveGroup, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.heap) == 0 {
		return nil, forever
	}
	first := t.mu.heap[0]
	if first.at.After(now) {
		return nil, min(first.at.Sub(now), timerTick)
	}
	heap.Pop(&t.mu.heap)
	return first.lg, 0
}

const (
	// timerTick is how often the goroutine looks up while groups have members, so
	// that it notices when the process was stopped.
	timerTick = time.Second
	forever   = time.Hour
)

// run wakes groups until ctx ends. When it comes back much later than it wanted
// (the process was stopped, the machine asleep), all sessions start anew first:
// no member could have been heard.
func (t *groupTimers) run(ctx context.Context, g *groups) {
	timer := time.NewTimer(forever)
	defer timer.Stop()
	var planned time.Time
	for ctx.Err() == nil {
		now := time.Now()
		if late := now.Sub(planned); !planned.IsZero() && late > heldUpAfter {
			g.resumeAll(ctx, late)
		}
		due, wait := t.take(now)
		planned = now.Add(wait)
		if due != nil {
			due.wake()
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-t.earlier:
		case <-ctx.Done():
		}
	}
}

// wake lets the group do what is due, and plans the next time.
func (lg *liveGroup) wake() {
	if lg.lock() {
		lg.expire(time.Now())
		lg.unlock()
	}
}

func (g *groups) resumeAll(ctx context.Context, late time.Duration) {
	g.b.logger.Warn("the broker was held up: sessions of group members start anew", "for", late)
	g.each(ctx, func(lg *liveGroup) { lg.mu.group.Resume(time.Now()) })
}

// timerHeap is a heap of entries by time.
type timerHeap []*groupTimer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t := x.(*groupTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = notPlanned
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
