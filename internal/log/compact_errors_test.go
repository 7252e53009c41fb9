package log_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/vfs/crashfs"
)

const (
	compactErrorWorkloads = 2
	minCompactErrorPoints = 1000
)

// TestCompactionErrorPoints lets each operation of passes fail once. Readers go on
// to see what they must, also when the log has failed, and after a restart, a
// kill or a power cut all is as the model has it.
func TestCompactionErrorPoints(t *testing.T) {
	t.Parallel()
	points := 0
	for _, kind := range errorKinds {
		n := 0
		for seed := range uint64(compactErrorWorkloads) {
			fault := kind.fault
			for fault.Nth = 1; ; fault.Nth++ {
				fired, err := faultyCompaction(t, seed, fault)
				if err != nil {
					t.Fatalf("workload %d, %s, operation %d: %v", seed, kind.name, fault.Nth, err)
				}
				if !fired {
					break
				}
				n++
			}
		}
		t.Logf("%s: %d points", kind.name, n)
		points += n
	}
	if points < minCompactErrorPoints {
		t.Errorf("%d error points: fewer than %d prove nothing", points, minCompactErrorPoints)
	}
}

func faultyCompaction(t *testing.T, seed uint64, fault crashfs.Fault) (fired bool, err error) {
	var w *keyedWorld
	synctest.Test(t, func(*testing.T) {
		w = newKeyedWorld(seed)
		w.disk.OnOp(nil, nil)
		if err = w.fill(30); err != nil {
			return
		}
		hits := w.disk.Inject(fault)
		time.Sleep(40 * time.Second) // a checkpoint, passes, and those that are tried again
		synctest.Wait()
		w.disk.Heal()
		fired = hits() > 0
		err = w.afterErrors(fault.Nth)
		if closeErr := w.store.Close(); err == nil && closeErr != nil && w.log.Failed() == nil {
			err = closeErr
		}
	})
	if err != nil {
		err = fmt.Errorf("%w\nsteps:\n%s\noperations:\n%s", err, strings.Join(w.steps, "\n"), w.disk.Trace())
	}
	return fired, err
}

// fill appends and ends transactions, without a checkpoint between.
func (w *keyedWorld) fill(steps int) error {
	err := w.open()
	for range steps {
		if err == nil {
			err = w.append(w.rng.IntN(4))
		}
		if err == nil && w.rng.IntN(3) == 0 {
			err = w.end()
		}
	}
	return err
}

// afterErrors holds the log as it is, and what a kill and one way of a power cut
// leave, against the model.
func (w *keyedWorld) afterErrors(nth int) error {
	if err := w.model.snapshot().check(w.log, w.nowMs); err != nil {
		return fmt.Errorf("readers after the error (log failed: %v): %w", w.log.Failed(), err)
	}
	images := map[string]*crashfs.FS{"kill": w.disk.Clone()}
	policy := crashfs.Policies()[nth%len(crashfs.Policies())]
	images["power cut, "+policy.String()] = w.disk.Crash(policy, uint64(nth))
	for name, image := range images {
		s := keyedState{name: name, disk: image, model: w.model.snapshot(), nowMs: w.nowMs, newest: w.newest, newestAt: w.newestAt}
		if err := w.examine(s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
