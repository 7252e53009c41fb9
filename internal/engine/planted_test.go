//go:build synctests

package engine

import (
	"testing"
)

// TestPlantedBugsAreCaught switches on one bug at a time and lets storms find
// it: if they do not, a storm that finds nothing means nothing.
func TestPlantedBugsAreCaught(t *testing.T) {
	bugs := map[string]func(*faults){
		"tables move before the commit is known":   func(f *faults) { f.applyEarly = true },
		"an unknown outcome is taken for aborted":  func(f *faults) { f.guessAborted = true },
		"an unknown outcome is taken for a commit": func(f *faults) { f.guessCommitted = true },
		"open values reach the disk":               func(f *faults) { f.flushOpen = true },
		"a restore stops one record early":         func(f *faults) { f.restoreOneShort = true },
	}
	const seeds = 120
	for name, plant := range bugs {
		t.Run(name, func(t *testing.T) {
			var count tally
			for seed := range uint64(seeds) {
				if wrong := runStorm(t, seed, plant, &count, onFake); len(wrong) > 0 {
					t.Logf("caught by seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Errorf("%d storms have not noticed the bug", seeds)
		})
	}
}
