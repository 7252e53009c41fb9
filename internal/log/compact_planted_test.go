package log_test

import (
	"strings"
	"testing"

	"millrace/internal/log"
)

const huntedKeyedWorkloads = 20

// TestPlantedCompactionBugsAreCaught proves that the crash world of compacted logs
// would notice: each bug that the compaction can be made to have is found.
func TestPlantedCompactionBugsAreCaught(t *testing.T) {
	t.Parallel()
	for name, plant := range log.PlantedCompactionBugs {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(huntedKeyedWorkloads) {
				w := exploreKeyed(t, seed, func(w *keyedWorld) { w.plant = plant })
				if w.failure != nil {
					first, _, _ := strings.Cut(w.failure.Error(), "\n")
					t.Logf("workload %d, crash state %d: %s", seed, w.looked, first)
					return
				}
			}
			t.Fatal("nobody noticed")
		})
	}
}
