package log_test

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"

	"millrace/internal/vfs/crashfs"
)

// errorKinds are the ways in which one operation of the disk fails.
var errorKinds = []struct {
	name  string
	fault crashfs.Fault
}{
	{"EIO on a change", crashfs.Fault{Err: syscall.EIO, Kinds: []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Truncate, crashfs.Rename, crashfs.Remove, crashfs.Mkdir}}},
	{"EIO on a sync", crashfs.Fault{Err: syscall.EIO, Kinds: []crashfs.Kind{crashfs.SyncData, crashfs.SyncDir, crashfs.SyncAll}}},
	{"EIO on a read", crashfs.Fault{Err: syscall.EIO, Kinds: []crashfs.Kind{crashfs.Read, crashfs.Open, crashfs.List, crashfs.Stat}}},
	{"ENOSPC", crashfs.Fault{Err: syscall.ENOSPC, Kinds: []crashfs.Kind{crashfs.Create, crashfs.Write, crashfs.Rename, crashfs.Mkdir}}},
	{"short write, then ENOSPC", crashfs.Fault{Err: syscall.ENOSPC, Kinds: []crashfs.Kind{crashfs.Write}, Written: 70}},
}

const (
	errorWorkloads    = 20
	txnErrorWorkloads = 8
	errorSteps        = 20
	minErrorPoints    = 8000
)

// TestErrorPoints lets each operation of 28 workloads on the disk fail once, and
// goes on. No append may be acknowledged that is not durable, a failed sync is
// final (R10), a full disk heals (R18), and nothing that was promised is gone
// after a restart, a kill, or a power cut.
func TestErrorPoints(t *testing.T) {
	t.Parallel()
	points := 0
	for _, kind := range errorKinds {
		n := 0
		for seed := range uint64(errorWorkloads) {
			n += pointsOf(t, seed, kind.name, kind.fault)
		}
		for seed := range uint64(txnErrorWorkloads) {
			n += pointsOf(t, txnSeeds+seed, kind.name, kind.fault)
		}
		t.Logf("%s: %d points", kind.name, n)
		points += n
	}
	if points < minErrorPoints {
		t.Errorf("%d error points: fewer than %d prove nothing", points, minErrorPoints)
	}
}

// pointsOf lets each operation of one workload fail, one after the other, and
// gives how many there are.
func pointsOf(t *testing.T, seed uint64, kind string, fault crashfs.Fault) int {
	t.Helper()
	for nth := 1; ; nth++ {
		fault.Nth = nth
		fired, err := faultyRun(t, seed, fault, nil)
		if err != nil {
			t.Fatalf("workload %d, %s, operation %d: %v", seed, kind, nth, err)
		}
		if !fired {
			return nth - 1
		}
	}
}

// faultyRun runs a workload with one fault. fired is false when the workload has
// fewer operations than that.
func faultyRun(t *testing.T, seed uint64, fault crashfs.Fault, prepare func(*world)) (fired bool, err error) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(seed)
		w.faulty = true
		if prepare != nil {
			prepare(w)
		}
		hits := w.disk.Inject(fault)
		w.disk.OnOp(nil, nil)
		err = w.runWithFaults(hits)
		fired = hits() > 0
	})
	return fired, err
}

func (w *world) runWithFaults(hits func() int) error {
	err := w.open()
	if err != nil && hits() > 0 {
		err = w.open()
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	err = w.create()
	for range errorSteps {
		if err == nil {
			err = w.step()
		}
	}
	if err == nil && w.refused > hits() {
		err = fmt.Errorf("%d appends were refused after %d errors of the disk", w.refused, hits())
	}
	if err == nil {
		err = w.survives()
	}
	w.disk.Heal()
	closeErr := w.store.Close()
	if err == nil && hits() == 0 {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("%w\nsteps:\n%v\noperations:\n%s", err, w.steps, w.disk.Trace())
	}
	return nil
}

// survives looks at what a kill and power cuts would leave now.
func (w *world) survives() error {
	w.mu.Lock()
	w.observe()
	m := w.model.snapshot()
	w.mu.Unlock()
	states := []crashState{{name: "kill", how: killed, disk: w.disk.Clone()}}
	for i, policy := range crashfs.Policies()[:4] {
		states = append(states, crashState{name: policy.String(), how: powerCut, policy: policy, disk: w.disk.Crash(policy, uint64(i))})
	}
	for _, s := range states {
		s.model, s.nowMs = m, w.nowMs
		x := examination{world: w, state: s, rng: s.rng()}
		if err := x.run(); err != nil {
			return fmt.Errorf("after %s: %w", s.name, err)
		}
	}
	return nil
}
