//go:build synctests

package engine

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
)

// tally counts what a run of worlds has been through: a run in which too little
// happened proves nothing.
type tally struct {
	mu     sync.Mutex
	worlds int
	counts map[string]int // of what happened
	struck map[string]int // faults by name
}

func newTally() *tally { return &tally{counts: make(map[string]int), struck: make(map[string]int)} }

func (c *tally) add(what string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what] += n
}

func (c *tally) hit(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.struck[what]++
	c.counts["faults"]++
}

// settle takes in what a world has seen.
func (c *tally) settle(w *world) {
	committed, aborted := w.ledger.transactions()
	c.add("transactions committed", committed)
	c.add("transactions aborted", aborted)
	c.add("transactions", committed+aborted)
	c.add("rebalances", w.ledger.rebalances())
	c.add("kills", w.kills)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worlds++
}

// mustReach holds the counts against floors per world.
func (c *tally) mustReach(t *testing.T, floors map[string]float64) {
	t.Helper()
	for _, what := range slices.Sorted(maps.Keys(floors)) {
		if floor := floors[what] * float64(c.worlds); float64(c.counts[what]) < floor {
			t.Errorf("the run is invalid: %d %s in %d worlds, the floor is %.0f", c.counts[what], what, c.worlds, floor)
		}
	}
}

// mustStrike requires of some faults that nearly all have struck. That each does
// is what the failpoints prove; a storm leaves it to chance, and must not fail by it.
func (c *tally) mustStrike(t *testing.T, names []string) {
	t.Helper()
	var missed []string
	for _, name := range names {
		if c.struck[name] == 0 {
			missed = append(missed, name)
		}
	}
	t.Logf("%d of %d kinds of faults have struck; not %q", len(names)-len(missed), len(names), missed)
	if 10*len(missed) > len(names) {
		t.Errorf("the run is invalid: of %d kinds of faults, %d have not struck", len(names), len(missed))
	}
}

func (c *tally) String() string {
	text := fmt.Sprintf("%d worlds", c.worlds)
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		text += fmt.Sprintf(", %d %s", c.counts[what], what)
	}
	return text
}
