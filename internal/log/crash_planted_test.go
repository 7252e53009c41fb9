package log_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
)

// hunters find planted bugs: each runs some of the tests of this package with the
// bug and gives what they found, or nil. Those not named here are for the crash world.
var hunters = map[string]func(t *testing.T, plant func(*log.Options)) error{
	"failed sync retried":                huntWithErrors,
	"unchecked batches served":           huntWithRot,
	"rot cut off":                        huntWithRot,
	"append time without a new checksum": huntWithAppendTime,
	"marker seen before it is durable":   huntWithTxns,
	"aborted index lost":                 huntWithTxns,
	"open transactions forgotten":        huntWithTxns,
	"last stable offset ahead":           huntWithTxns,
	"markers not fenced":                 huntWithTxns,
}

const huntedWorkloads = 60

// TestPlantedBugsAreCaught proves that the tests above can fail: each bug that
// the log can be made to have is found by one of them.
func TestPlantedBugsAreCaught(t *testing.T) {
	t.Parallel()
	for name, plant := range log.PlantedBugs {
		t.Run(name, func(t *testing.T) {
			hunt := hunters[name]
			if hunt == nil {
				hunt = huntWithCrashes
			}
			found := hunt(t, plant)
			if found == nil {
				t.Fatal("nobody noticed")
			}
			first, _, _ := strings.Cut(found.Error(), "\n")
			t.Log(first)
		})
	}
	if len(log.PlantedBugs) < 15 {
		t.Errorf("%d planted bugs: some are gone", len(log.PlantedBugs))
	}
}

func huntWithCrashes(t *testing.T, plant func(*log.Options)) error {
	return hunt(t, 0, func(e *explorer) { e.plant = plant })
}

func huntWithTxns(t *testing.T, plant func(*log.Options)) error {
	return hunt(t, txnSeeds, func(e *explorer) { e.plant = plant })
}

func huntWithAppendTime(t *testing.T, plant func(*log.Options)) error {
	return hunt(t, 0, func(e *explorer) {
		e.plant = plant
		e.tune = func(c *log.Config) { c.LogAppendTime = true }
	})
}

// hunt looks for the bug in workloads from the first one on.
func hunt(t *testing.T, first uint64, prepare func(*explorer)) error {
	looked := 0
	for seed := range uint64(huntedWorkloads) {
		e := explore(t, first+seed, crashSteps, prepare)
		looked += e.looked
		if e.failed != nil {
			return fmt.Errorf("workload %d, crash state %d: %w", seed, looked, e.failed.err)
		}
	}
	return nil
}

func huntWithErrors(t *testing.T, plant func(*log.Options)) error {
	for seed := range uint64(errorWorkloads) {
		for nth, fired := 1, true; fired; nth++ {
			fault := crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData, crashfs.SyncAll}, Nth: nth, Err: syscall.EIO}
			var err error
			fired, err = faultyRun(t, seed, fault, func(w *world) { w.plant = plant })
			if err != nil {
				return fmt.Errorf("workload %d, sync %d: %w", seed, nth, err)
			}
		}
	}
	return nil
}

func huntWithRot(t *testing.T, plant func(*log.Options)) error {
	killed := rotFixtures(t)[1] // after a clean stop nothing is ever cut
	name, _, err := killed.newest(".log")
	must(t, err)
	return killed.damageAll(".log", name, rotCounts{}, plant)
}
