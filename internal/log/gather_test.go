package log

import (
	"slices"
	"testing"
	"time"
)

// roundsOf lets callers that come back after each round go through some, and gives
// how many waits each round ended. back is how many of those whose wait has ended
// are back when the hold ends.
func roundsOf(g *gathering, began []int, back func(ended int) int) (sizes []int) {
	now := time.Unix(0, 0)
	const took = 200 * time.Microsecond
	for _, beside := range began {
		g.roundBegins()
		sizes = append(sizes, g.ended)
		now = now.Add(took)
		g.waiting += beside // came while the round was under way
		g.roundEnded(now, took)
		for range back(g.ended) {
			if g.held(now) {
				g.waiting++
			}
		}
	}
	return sizes
}

// Two halves that take turns become one whole, and stay so.
func TestHalvesBecomeOne(t *testing.T) {
	g := &gathering{waiting: 32}
	sizes := roundsOf(g, []int{32, 0, 0, 0}, func(ended int) int { return ended })
	if want := []int{32, 64, 64, 64}; !slices.Equal(sizes, want) {
		t.Errorf("rounds of %v, want %v", sizes, want)
	}
}

func TestWhoIsAloneIsNeverHeld(t *testing.T) {
	g := &gathering{waiting: 1}
	for range 10 {
		g.roundBegins()
		g.roundEnded(time.Unix(0, 0), time.Millisecond)
		if g.waiting++; g.held(time.Unix(0, 0)) || !g.complete() {
			t.Fatal("held")
		}
	}
}

// A few are not worth holding many.
func TestManyAreNotHeldForAFew(t *testing.T) {
	g := &gathering{waiting: 1}
	g.roundBegins()
	g.waiting = 63
	g.roundEnded(time.Unix(0, 0), time.Millisecond)
	if g.held(time.Unix(0, 0)) {
		t.Error("63 are held for one")
	}
}

// Callers that do not come back are waited for ever more rarely.
func TestHoldsInVainGetRare(t *testing.T) {
	g := &gathering{}
	now, holds := time.Unix(0, 0), 0
	for range 1000 {
		g.waiting = 8 // others each time
		g.roundBegins()
		now = now.Add(time.Millisecond)
		g.waiting = 1
		g.roundEnded(now, time.Millisecond)
		if g.held(now) {
			holds++
		}
		if now = now.Add(longestHold); g.held(now) {
			t.Fatal("held for too long")
		}
		g.waiting = 7
	}
	if holds > 25 {
		t.Errorf("%d of 1000 rounds were held", holds)
	}
}
