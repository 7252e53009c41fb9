package log_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

var (
	compactStates = flag.Int("compact.states", 40_000, "crash states of compacted logs to look at")
	compactReplay = flag.String("compact.replay", "", "run one workload of compacted logs alone, or one of its states: seed or seed/op/image")
)

// keyedState is one moment at which the machine went down.
type keyedState struct {
	name     string
	policy   crashfs.Policy
	disk     *crashfs.FS
	model    *keyedLog
	nowMs    int64
	newest   []byte
	newestAt record.Offset
}

// capture takes the images of one crash point.
func (w *keyedWorld) capture(op crashfs.Op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log == nil {
		return // the partition is being made: the other crash world looks at that
	}
	image := 0
	var m *keyedLog
	take := func(policy crashfs.Policy, disk *crashfs.FS) {
		image++
		key := disk.Hash(w.hash)
		if w.seen[key] {
			return
		}
		w.seen[key] = true
		name := fmt.Sprintf("%d/%d/%d", w.seed, op.N, image)
		if w.only != "" && w.only != name {
			return
		}
		if m == nil {
			m = w.model.snapshot()
		}
		if op.Kind == crashfs.Rename {
			w.renamed++
		}
		w.taken = append(w.taken, keyedState{name: name, policy: policy, disk: disk, model: m, nowMs: w.nowMs, newest: w.newest, newestAt: w.newestAt})
	}
	if sample := rand.New(rand.NewPCG(w.seed, uint64(op.N))); !swaps(op) && sample.IntN(4) > 0 {
		return
	}
	take(crashfs.Policy{}, w.disk.Clone())
	for _, policy := range crashfs.Policies() {
		for i := range seedsOf(policy) {
			take(policy, w.disk.Crash(policy, uint64(op.N)<<8|uint64(i)))
		}
	}
}

// swaps says that the operation may belong to a swap. Of the others, which the
// crash world of all logs looks at, some are enough.
func swaps(op crashfs.Op) bool {
	return op.Kind == crashfs.Rename || op.Kind == crashfs.SyncDir || op.Kind == crashfs.Remove || strings.HasSuffix(op.Name, ".cleaned")
}

// look examines the images that were taken.
func (w *keyedWorld) look() bool {
	w.mu.Lock()
	taken := w.taken
	w.taken = nil
	w.mu.Unlock()
	for _, s := range taken {
		w.looked++
		tree := s.disk.Tree()
		if err := w.examine(s); err != nil {
			w.failure = fmt.Errorf("state %s (%v): %w\nsteps:\n%s\noperations:\n%s\nleft on disk:\n%s", s.name, s.policy, err, strings.Join(tail(w.steps, 60), "\n"), w.disk.Trace(), tree)
			return false
		}
	}
	return true
}

// examine starts the store on an image, twice, and holds what it finds against
// the model. In some images the producers' snapshots are lost too, so that their
// state comes from the compacted batches.
func (w *keyedWorld) examine(s keyedState) error {
	h := fnv.New64a()
	fmt.Fprint(h, s.name)
	rng := rand.New(rand.NewPCG(h.Sum64(), 0))
	lost := rng.IntN(4) == 0
	if lost {
		if err := loseSnapshots(s.disk); err != nil {
			return err
		}
	}
	m := s.model.snapshot()
	for life := range 2 {
		store, err := log.Open(s.disk, w.options(func() int64 { return s.nowMs }))
		if err != nil {
			return fmt.Errorf("start %d: %w", life+1, err)
		}
		err = w.examineLog(store, m, s, life)
		if closeErr := store.Close(); err == nil {
			err = closeErr
		}
		if err == errFalseAlarm {
			w.alarms++
			return nil
		}
		if err != nil {
			return fmt.Errorf("start %d (snapshots lost %v): %w", life+1, lost, err)
		}
	}
	return nil
}

func (w *keyedWorld) examineLog(store *log.Store, m *keyedLog, s keyedState, life int) error {
	synctest.Wait() // the cleaner has a look at the start
	l, there := store.Log(keyedTP)
	if !there {
		return errors.New("the partition is gone")
	}
	if err := l.Failed(); err != nil {
		return err
	}
	if err := m.check(l, s.nowMs); err != nil {
		return err
	}
	if life > 0 {
		return nil
	}
	if s.newest != nil && s.newestAt >= l.StartOffset() && m.pending == nil {
		if err := repeated(l, s); err != nil {
			return err
		}
	}
	return appendKeyed(l, m, s.nowMs)
}

// repeated: the last batch of the idempotent producer is known, though its
// records may be gone.
func repeated(l *log.Log, s keyedState) error {
	a, err := l.Append(slices.Clone(s.newest), log.AppendOptions{Sync: true, Txn: true})
	if s.model.pending == nil && (err != nil || !a.Duplicate || a.Base != s.newestAt) {
		return fmt.Errorf("the batch at %d was repeated and got %d, duplicate %v, %v", s.newestAt, a.Base, a.Duplicate, err)
	}
	return nil
}

func appendKeyed(l *log.Log, m *keyedLog, nowMs int64) error {
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
	b.Append(record.Timestamp(nowMs), []byte("after"), []byte("the crash"), nil)
	built, err := b.Build()
	if err != nil {
		return err
	}
	a, err := l.Append(built, log.AppendOptions{Sync: true})
	if err == nil {
		err = a.Wait(context.Background())
	}
	r := keyedRecord{offset: a.Base, ts: record.Timestamp(nowMs), key: "after", value: []byte("the crash"), txn: -1, putAtMs: nowMs}
	m.apply(&keyedAppend{records: []keyedRecord{r}, ends: -1, next: a.Base + 1})
	return err
}

func loseSnapshots(disk *crashfs.FS) error {
	names, err := disk.List(keyedTP.String())
	if err != nil {
		return err
	}
	var lost []string
	for _, name := range names {
		if strings.HasSuffix(name, ".snapshot") {
			lost = append(lost, keyedTP.String()+"/"+name)
		}
	}
	for _, name := range append(lost, "recovery-point-offset-checkpoint", ".kafka_cleanshutdown") {
		if err := disk.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

const keyedSteps = 60

// exploreKeyed runs the workload of one seed and looks at all its crash states.
func exploreKeyed(t *testing.T, seed uint64, prepare func(*keyedWorld)) (w *keyedWorld) {
	synctest.Test(t, func(t *testing.T) {
		w = newKeyedWorld(seed)
		if prepare != nil {
			prepare(w)
		}
		err := w.open()
		for range keyedSteps {
			if err == nil {
				err = w.step()
			}
			if !w.look() || err != nil {
				break
			}
		}
		w.disk.OnOp(nil, nil)
		if w.store != nil {
			if closeErr := w.store.Close(); err == nil {
				err = closeErr
			}
		}
		if err != nil && w.failure == nil {
			w.failure = fmt.Errorf("workload %d itself: %w\nsteps:\n%s\noperations:\n%s", seed, err, strings.Join(tail(w.steps, 60), "\n"), w.disk.Trace())
		}
	})
	return w
}

// The crash world of compacted logs: at each operation of random workloads the
// power is cut, in many ways, in the middle of swaps above all. Two halves, since
// they run in parallel.
func TestCompactionCrashesEven(t *testing.T) { compactionCrashes(t, 0) }
func TestCompactionCrashesOdd(t *testing.T)  { compactionCrashes(t, 1) }

func compactionCrashes(t *testing.T, half uint64) {
	t.Parallel()
	if *compactReplay != "" {
		replayKeyed(t, half)
		return
	}
	looked, renamed, alarms, workloads := 0, 0, 0, 0
	for seed := half; looked < *compactStates/2; seed += 2 {
		w := exploreKeyed(t, seed, nil)
		if w.failure != nil {
			t.Fatalf("go test ./internal/log -run TestCompactionCrashes -compact.replay=%d\n%v", seed, w.failure)
		}
		looked, renamed, alarms, workloads = looked+w.looked, renamed+w.renamed, alarms+w.alarms, workloads+1
	}
	t.Logf("%d crash states of %d workloads, %d of them at a rename; %d false alarms", looked, workloads, renamed, alarms)
	if alarms > looked/500 {
		t.Errorf("%d false alarms in %d crash states", alarms, looked)
	}
	if renamed < looked/50 {
		t.Errorf("%d of %d crash states at a rename: the swaps are not met", renamed, looked)
	}
}

func replayKeyed(t *testing.T, half uint64) {
	var seed uint64
	if _, err := fmt.Sscanf(*compactReplay, "%d", &seed); err != nil {
		t.Fatalf("-compact.replay=%s does not start with a seed", *compactReplay)
	}
	if seed%2 != half {
		return
	}
	w := exploreKeyed(t, seed, func(w *keyedWorld) {
		if strings.Contains(*compactReplay, "/") {
			w.only = *compactReplay
		}
	})
	if w.failure != nil {
		t.Fatal(w.failure)
	}
	t.Logf("%d crash states, no failure", w.looked)
}
