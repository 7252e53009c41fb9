package log_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"hash/maphash"
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
	crashReplay = flag.String("crash.replay", "", "run one crash workload alone, or one of its states, as a failure printed it: seed or seed/op/image")
	crashStates = flag.Int("crash.states", 100_000, "crash states to look at")
	txnStates   = flag.Int("crash.txnstates", 60_000, "crash states of workloads with transactions to look at")
)

// explorer takes crash images of a world's disk at each crash point and looks at
// each of them: it is opened, read and held against the model, written to, and
// opened again.
type explorer struct {
	*world
	hash    maphash.Seed
	seen    map[uint64]bool // images already taken for the model as it is
	version int             // of the model that seen is for
	taken   []crashState
	looked  int
	alarms  int    // of those with a false alarm
	only    string // look at this state alone
	failed  *crashFailure
}

// crashState is one moment at which the machine went down, and what it left.
type crashState struct {
	name   string // op/image
	how    power
	policy crashfs.Policy
	disk   *crashfs.FS
	model  model
	nowMs  int64
	again  bool // in the recovery from a crash
}

// rng is chance that depends on the state's name alone, so that it can be replayed.
func (s crashState) rng() *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, s.name, s.again)
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

type crashFailure struct {
	state crashState
	err   error
	steps []string
	trace string // of the disk's operations, up to the crash and some more
	tree  string // of what was left
	after string // the operations since
}

func (f *crashFailure) String() string {
	return fmt.Sprintf("state %s (%v, power cut %v, in recovery %v): %v\nsteps:\n%s\noperations:\n%s\nleft on disk:\n%s\noperations since:\n%s",
		f.state.name, f.state.policy, f.state.how, f.state.again, f.err, strings.Join(tail(f.steps, 60), "\n"), f.trace, f.tree, f.after)
}

func tail(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }

func newExplorer(w *world) *explorer {
	e := &explorer{world: w, hash: maphash.MakeSeed(), seen: map[uint64]bool{}, version: -1}
	w.disk.OnOp(e.capture, nil)
	return e
}

// capture takes the images of one crash point. The model comes first: what is
// acknowledged while the images are taken may be missing in it, not the reverse.
func (e *explorer) capture(op crashfs.Op) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.observe()
	if e.version != e.world.version {
		e.version = e.world.version
		clear(e.seen)
	}
	var m model
	image := 0
	take := func(how power, policy crashfs.Policy, disk *crashfs.FS) {
		image++
		key := disk.Hash(e.hash)
		if how == killed {
			key++
		}
		if e.seen[key] {
			return
		}
		e.seen[key] = true
		if m == nil {
			m = e.model.snapshot()
		}
		name := fmt.Sprintf("%d/%d/%d", e.seed, op.N, image)
		if e.only == "" || e.only == name {
			e.taken = append(e.taken, crashState{name: name, how: how, policy: policy, disk: disk, model: m, nowMs: e.nowMs})
		}
	}
	take(power(e.unsettled), crashfs.Policy{}, e.disk.Clone())
	for _, policy := range crashfs.Policies() {
		for i := range seedsOf(policy) {
			take(powerCut, policy, e.disk.Crash(policy, uint64(op.N)<<8|uint64(i)))
		}
	}
}

// seedsOf is how often a policy is tried at each crash point.
func seedsOf(p crashfs.Policy) int {
	switch {
	case p.Blocks != crashfs.KeepSome:
		return 1
	case p.Torn:
		return 3
	}
	return 2
}

// look examines what was captured. It is false after a failure.
func (e *explorer) look() bool {
	e.mu.Lock()
	taken := e.taken
	e.taken = nil
	e.mu.Unlock()
	for _, s := range taken {
		if e.failed != nil {
			return false
		}
		e.lookAt(s)
	}
	return e.failed == nil
}

// lookAt examines one state, and sometimes a second crash during its recovery.
func (e *explorer) lookAt(s crashState) {
	var second *crashState
	rng := s.rng()
	if !s.again && rng.IntN(8) == 0 {
		second = e.crashAgain(s, rng)
	}
	e.looked++
	tree := s.disk.Tree()
	x := examination{world: e.world, state: s, rng: rng}
	if err := x.run(); err != nil {
		e.failed = &crashFailure{state: s, err: err, steps: e.steps, trace: e.disk.Trace(), tree: tree, after: s.disk.Trace()}
		return
	}
	if x.alarms > 0 {
		e.alarms++
	}
	if second != nil && second.disk != nil {
		e.lookAt(*second)
	}
}

// crashAgain cuts the power at some operation while the state is being recovered.
func (e *explorer) crashAgain(s crashState, rng *rand.Rand) *crashState {
	again := s
	again.again, again.disk = true, nil
	again.how, again.policy = powerCut, crashfs.Policies()[rng.IntN(len(crashfs.Policies()))]
	at, seed := 1+rng.IntN(12), rng.Uint64()
	disk := s.disk
	disk.OnOp(func(op crashfs.Op) {
		if op.N == at {
			again.disk = disk.Crash(again.policy, seed)
		}
	}, nil)
	return &again
}

// examination is the life of one image.
type examination struct {
	*world
	state crashState
	rng   *rand.Rand

	alarms int // damage reported in what was never promised
}

func (x *examination) run() error {
	if err := x.live(2); err != nil {
		return err
	}
	if x.rng.IntN(4) > 0 {
		return nil
	}
	x.state.disk = x.state.disk.Crash(crashfs.Policy{}, 0)
	x.state.how = powerCut
	if err := x.live(1); err != nil {
		return fmt.Errorf("a power cut after the clean stop: %w", err)
	}
	return nil
}

// live starts and stops the store. The first time it writes too.
func (x *examination) live(times int) error {
	for life := range times {
		store, err := log.Open(x.state.disk, x.options(x.state.model, x.state.nowMs))
		if err != nil {
			return fmt.Errorf("start %d after the crash: %w", life+1, err)
		}
		x.state.disk.OnOp(nil, nil)
		err = x.examine(store, life == 0 && times > 1)
		if closeErr := store.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close: %w", closeErr)
		}
		if err != nil {
			return fmt.Errorf("start %d after the crash: %w", life+1, err)
		}
		x.state.how = killed // after a clean stop all of the model must be there
	}
	return nil
}

func (x *examination) examine(store *log.Store, write bool) error {
	m := x.state.model
	next := model{}
	for _, l := range store.Logs() {
		p := m[l.TP()]
		if p == nil || !p.mayBeThere || p.id != l.TopicID() {
			return fmt.Errorf("%s with id %x was deleted or never created", l.TP(), l.TopicID())
		}
		twin, err := x.examineLog(p, l, write)
		if err != nil {
			return fmt.Errorf("%s: %w", p.tp, err)
		}
		next[l.TP()] = twin
	}
	for tp, p := range m {
		if next[tp] == nil && !p.mayBeGone {
			return fmt.Errorf("%s is gone", tp)
		}
	}
	x.state.model = next
	return nil
}

// examineLog reads, repeats and appends. It gives the model of what must be there
// from now on.
func (x *examination) examineLog(p *partition, l *log.Log, write bool) (*partition, error) {
	if err := l.Failed(); err != nil {
		return nil, err
	}
	f, err := readLog(l)
	if err != nil {
		return nil, err
	}
	if p.cfg.RetentionBytes >= 0 {
		p = p.withStart(p.startMin, p.next)
	}
	if err := p.check(f, x.state.how); err != nil {
		return nil, err
	}
	x.alarms += len(f.damaged)
	if err := x.lookUp(l, f); err != nil {
		return nil, err
	}
	twin := p.withStart(f.start, f.start)
	twin.becomes(f, x.state.how)
	if err := twin.checkResumed(l); err != nil {
		return nil, err
	}
	if !write {
		return twin, nil
	}
	if err := x.repeatAll(twin, l); err != nil {
		return nil, err
	}
	if err := x.append(twin, l); err != nil {
		return nil, err
	}
	return twin, x.endTxns(twin, l)
}

func (p *partition) withStart(from, to record.Offset) *partition {
	twin := *p
	twin.startMin, twin.startMax = from, to
	return &twin
}

// lookUp reads from the middle, so that indexes are used.
func (x *examination) lookUp(l *log.Log, f found) error {
	if len(f.batches) == 0 {
		return nil
	}
	want, err := batch.ParseHeader(f.batches[x.rng.IntN(len(f.batches))])
	if err != nil {
		return err
	}
	off := max(l.StartOffset(), want.BaseOffset+record.Offset(x.rng.Int32N(want.LastOffsetDelta+1)))
	if off > want.LastOffset() {
		return nil // retention came between
	}
	data, err := l.Read(off, 1, nil)
	if errors.Is(err, log.ErrOffsetOutOfRange) && off < l.StartOffset() {
		return nil // the same
	}
	if err != nil {
		return err
	}
	if got, err := batch.CheckCRC(data); err != nil || got != want {
		return fmt.Errorf("read at %d gave the batch at %d (%v), expected the one at %d", off, got.BaseOffset, err, want.BaseOffset)
	}
	return x.lookUpTime(l, f, record.Timestamp(want.MaxTimestamp-x.rng.Int64N(3)))
}

// lookUpTime compares the time index with a search through everything.
func (x *examination) lookUpTime(l *log.Log, f found, ts record.Timestamp) error {
	off, at, ok, err := l.OffsetForTime(ts)
	if l.StartOffset() != f.start {
		return nil // the same
	}
	if err != nil {
		return err
	}
	var it batch.Iterator
	for _, b := range f.batches {
		if err := it.Reset(b, nil); err != nil {
			return err
		}
		for it.Next() {
			r := it.Record()
			if r.Timestamp < ts || r.Offset < f.start {
				continue
			}
			if !ok || off != r.Offset || at != r.Timestamp {
				return fmt.Errorf("the first record at or after time %d is %d (time %d, found %v), expected %d (time %d)", ts, off, at, ok, r.Offset, r.Timestamp)
			}
			return nil
		}
	}
	if ok {
		return fmt.Errorf("the first record at or after time %d is %d, expected none", ts, off)
	}
	return nil
}

// repeatAll: the log still knows the newest batches of each idempotent producer (R7).
func (x *examination) repeatAll(p *partition, l *log.Log) error {
	asked := map[int64]bool{}
	for _, s := range slices.Backward(p.batches) {
		if s.ProducerID < 0 || asked[s.ProducerID] {
			continue
		}
		asked[s.ProducerID] = true
		kept := keptOf(p.batches, s.ProducerID, l.StartOffset())
		if len(kept) == 0 {
			continue
		}
		for _, old := range []*sent{kept[0], kept[len(kept)-1]} {
			a, err := l.Append(slices.Clone(old.bytes), log.AppendOptions{Sync: true})
			if err != nil || !a.Duplicate || a.Base != old.BaseOffset {
				return fmt.Errorf("producer %d repeats sequence %d, which has offset %d: got %d, duplicate %v, %v", old.ProducerID, old.BaseSequence, old.BaseOffset, a.Base, a.Duplicate, err)
			}
		}
	}
	return nil
}

// append: the log takes new records at its end.
func (x *examination) append(p *partition, l *log.Log) error {
	b, h, err := build(x.rng, x.builder, x.state.nowMs, batch.BuilderOptions{ProducerID: batch.NoProducerID})
	if err != nil {
		return err
	}
	h.BaseOffset = l.NextOffset()
	a, err := l.Append(slices.Clone(b), log.AppendOptions{Sync: true})
	if err != nil {
		return fmt.Errorf("append: %w", err)
	}
	if err := a.Wait(context.Background()); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	if a.Base != h.BaseOffset {
		return errors.New("the next offset is not the one that was given")
	}
	p.add(&sent{Header: h, bytes: b, appendTimeMs: a.AppendTimeMs})
	p.pending, p.mustHave = false, p.next
	if p.cfg.RetentionBytes >= 0 {
		p.startMax = p.next
	}
	return nil
}

// explore runs the workload of one seed, and looks at all its crash states.
func explore(t *testing.T, seed uint64, steps int, prepare func(*explorer)) (e *explorer) {
	synctest.Test(t, func(t *testing.T) {
		e = newExplorer(newWorld(seed))
		if prepare != nil {
			prepare(e)
		}
		err := e.open()
		for range 2 {
			if err == nil {
				err = e.create()
			}
		}
		for range steps {
			if err == nil {
				err = e.step()
			}
			if !e.look() || err != nil {
				break
			}
		}
		e.disk.OnOp(nil, nil)
		if e.store != nil {
			if closeErr := e.store.Close(); err == nil {
				err = closeErr
			}
		}
		if err != nil && e.failed == nil {
			e.failed = &crashFailure{state: crashState{name: fmt.Sprint(seed)}, err: fmt.Errorf("the run itself: %w", err), steps: e.steps, trace: e.disk.Trace(), tree: e.disk.Tree()}
		}
	})
	return e
}

const crashSteps = 40

// The crash world: at each operation of random workloads on the disk the process
// is killed and the power cut, in many ways; what a restart finds is compared with
// a slow model. Two halves, since they run in parallel.
func TestCrashWorldEven(t *testing.T) { crashWorld(t, 0, *crashStates/2) }
func TestCrashWorldOdd(t *testing.T)  { crashWorld(t, 1, *crashStates/2) }

// The same with transactions: what a reader at read_committed gets, and the last
// stable offset, must fit the model too.
func TestCrashWorldTxnEven(t *testing.T) { crashWorld(t, txnSeeds, *txnStates/2) }
func TestCrashWorldTxnOdd(t *testing.T)  { crashWorld(t, txnSeeds+1, *txnStates/2) }

// crashWorld looks at so many states of every second workload from the first on.
func crashWorld(t *testing.T, first uint64, states int) {
	t.Parallel()
	if *crashReplay != "" {
		replay(t, first)
		return
	}
	looked, workloads, alarms := 0, 0, 0
	for seed := first; looked < states; seed += 2 {
		e := explore(t, seed, crashSteps, nil)
		if e.failed != nil {
			t.Fatalf("go test ./internal/log -run TestCrashWorld -crash.replay=%s\n%v", e.failed.state.name, e.failed)
		}
		looked, workloads, alarms = looked+e.looked, workloads+1, alarms+e.alarms
	}
	t.Logf("%d crash states of %d workloads; in %d of them a record that nobody was promised was called damaged", looked, workloads, alarms)
	if alarms > looked/500 {
		t.Errorf("%d false alarms in %d crash states", alarms, looked)
	}
}

func replay(t *testing.T, first uint64) {
	var seed uint64
	if _, err := fmt.Sscanf(*crashReplay, "%d", &seed); err != nil {
		t.Fatalf("-crash.replay=%s does not start with a seed", *crashReplay)
	}
	if seed%2 != first%2 || seed >= txnSeeds != (first >= txnSeeds) {
		return
	}
	e := explore(t, seed, crashSteps, func(e *explorer) {
		if strings.Contains(*crashReplay, "/") {
			e.only = *crashReplay
		}
	})
	if e.failed != nil {
		t.Fatal(e.failed)
	}
	t.Logf("%d crash states, no failure", e.looked)
}
