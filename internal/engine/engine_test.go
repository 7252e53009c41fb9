//go:build synctests

package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/topology"
)

var plans = map[string]func(string) topology.Plan{"keyed": keyedPlan, "rekeyed": rekeyPlan}

// events are a few records for one partition; keys stay with their partition.
func (w *world) events(partition int32, n int) []event {
	var all []event
	for range n {
		e := event{
			key:   fmt.Sprintf("k%d-%d", partition, w.rng.IntN(5)),
			value: fmt.Sprintf("v%d", w.rng.IntN(7)),
		}
		if w.rng.IntN(20) == 0 {
			e.value = fmt.Sprintf("%s-%d-%d", poison, partition, w.rng.Uint64())
		}
		all = append(all, e)
	}
	return all
}

func (w *world) mustCatchUp() {
	w.t.Helper()
	if err := w.caughtUp(time.Minute, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mustBeRight() {
	w.t.Helper()
	for _, difference := range w.check() {
		w.t.Error(difference)
	}
}

func TestOneInstanceCountsAndComesBack(t *testing.T) {
	for name, plan := range plans {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, plan("app"), 2)
				defer w.close()
				n := w.node("a").start()
				for range 3 {
					for p := range int32(2) {
						w.send(p, w.events(p, 20)...)
					}
					w.mustCatchUp()
					w.mustBeRight()
					if err := n.leave(); err != nil {
						t.Fatal(err)
					}
					for _, difference := range w.checkDisks() {
						t.Error(difference)
					}
					n.start()
				}
			})
		})
	}
}
