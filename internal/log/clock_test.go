package log

import (
	"testing"
	"time"
)

func TestClockGuard(t *testing.T) {
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	type look struct {
		wall    time.Duration // since start
		elapsed time.Duration // since the look before
		want    bool
	}
	const year = 365 * 24 * time.Hour
	for name, looks := range map[string][]look{
		"steady":                 {{0, 0, true}, {30 * time.Second, 30 * time.Second, true}},
		"a night's sleep":        {{0, 0, true}, {10 * time.Hour, 30 * time.Second, true}},
		"back an hour":           {{0, 0, true}, {-time.Hour, 30 * time.Second, true}},
		"ten years ahead":        {{0, 0, true}, {10 * year, time.Minute, false}, {10*year + time.Minute, time.Minute, false}},
		"ahead, then set right":  {{0, 0, true}, {10 * year, time.Minute, false}, {2 * time.Minute, time.Minute, true}},
		"ahead and stays there":  {{0, 0, true}, {10 * year, time.Minute, false}, {10*year + time.Hour, time.Hour, true}},
		"a long time in between": {{0, 0, true}, {10 * year, 10 * year, true}},
	} {
		t.Run(name, func(t *testing.T) {
			var g clockGuard
			for i, l := range looks {
				if got := g.trusts(start.Add(l.wall), l.elapsed); got != l.want {
					t.Errorf("look %d: trusts %v, want %v", i, got, l.want)
				}
			}
		})
	}
}
