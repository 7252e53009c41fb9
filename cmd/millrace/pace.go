package main

import (
	"context"
	"time"
)

// maxRate bounds --rate; above it the pace is not what limits.
const maxRate = 10_000_000

// pace spaces events so that the given number passes per second. It catches up
// after a stall, but never by more than a second's worth. The zero pace does
// not wait.
type pace struct {
	perSecond float64
	began     time.Time
	passed    float64
}

// pauseAtLeast is the shortest sleep: faster events pass in bursts.
const pauseAtLeast = 5 * time.Millisecond

// next waits until one more event may pass, or returns false when ctx ends.
func (p *pace) next(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	if p.perSecond <= 0 {
		return true
	}
	now := time.Now()
	if p.began.IsZero() {
		p.began = now
	}
	due := p.began.Add(time.Duration(p.passed / p.perSecond * float64(time.Second)))
	if now.Sub(due) > time.Second {
		p.began, p.passed, due = now, 0, now
	}
	p.passed++
	if wait := due.Sub(now); wait >= pauseAtLeast {
		return sleep(ctx, wait)
	}
	return true
}

// sleep waits for d, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
