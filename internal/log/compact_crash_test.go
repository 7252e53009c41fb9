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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

var (
	compactStates = flag.Int("compact.states", 40_000, "crash states of compacted logs to look at")
	compactReplay = flag.String("compact.replay", "", "run one workload of compacted logs alone, or one of its states: seed or seed/op/image")
)

// keyedWorld runs one workload on one compacted partition, with the model beside
// it, and takes crash images of the disk at each operation.
type keyedWorld struct {
	seed  uint64
	rng   *rand.Rand
	plant func(*log.Options)

	disk  *crashfs.FS
	store *log.Store
	log   *log.Log
	steps []string

	keys      int
	producers [2]keyedProducer
	newest    []byte // the last batch of data of producers[0], and where it is
	newestAt  record.Offset

	mu    sync.Mutex // what the disk's hook uses too
	model keyedLog
	nowMs int64
	hash  maphash.Seed
	seen  map[uint64]bool // images already taken
	taken []keyedState
	only  string

	looked  int
	renamed int // images taken at a rename: the swaps
	alarms  int
	failure error
}

// keyedProducer is a transactional producer; the first one writes without
// transactions too.
type keyedProducer struct {
	sequence int32
	open     int // index of its transaction; -1
}

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

var keyedTP = record.TopicPartition{Topic: "latest", Partition: 0}

func newKeyedWorld(seed uint64) *keyedWorld {
	w := &keyedWorld{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), disk: crashfs.New(), nowMs: 1_800_000_000_000,
		hash: maphash.MakeSeed(), seen: map[uint64]bool{},
	}
	c := log.DefaultConfig()
	c.Cleanup = pick(w.rng, log.CleanupCompact, log.CleanupCompact, log.CleanupCompactDelete)
	c.RetentionMs = -1
	c.SegmentBytes = pick(w.rng, int64(300), 600, 1500)
	c.IndexIntervalBytes = pick(w.rng, int32(1), 300, 4096)
	c.MinCleanableDirtyRatio = pick(w.rng, 0, 0.5)
	c.DeleteRetentionMs = time.Hour.Milliseconds()
	c.LogAppendTime = w.rng.IntN(6) == 0
	c.TimestampAfterMaxMs = 1 << 40
	w.model = keyedLog{cfg: c}
	w.keys = pick(w.rng, 4, 16)
	for i := range w.producers {
		w.producers[i].open = -1
	}
	w.disk.OnOp(w.capture, nil)
	return w
}

func (w *keyedWorld) options(nowMs func() int64) log.Options {
	rng := rand.New(rand.NewPCG(w.seed, 8))
	o := log.Options{
		CompactionMapBytes: pick(rng, int64(1), 1<<10, 1<<20),
		CheckpointBytes:    1 << 30,
		MaxOpenFiles:       pick(rng, 3, 1000),
		SyncParallel:       1,
		OpenParallel:       1,
		ReserveBytes:       1,
		ProducerExpiration: 1000 * time.Hour,
		ConfigOf:           func(record.TopicPartition) log.Config { return w.model.cfg },
		Now:                func() time.Time { return time.UnixMilli(nowMs()) },
	}
	if w.plant != nil {
		w.plant(&o)
	}
	return o
}

func (w *keyedWorld) clock() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nowMs
}

func (w *keyedWorld) open() error {
	store, err := log.Open(w.disk, w.options(w.clock))
	if err != nil {
		return err
	}
	w.store = store
	if _, there := store.Log(keyedTP); !there {
		if err := store.Create([]log.CreateSpec{{TP: keyedTP, TopicID: [16]byte{1}, Config: w.model.cfg}}); err != nil {
			return err
		}
	}
	w.log, _ = store.Log(keyedTP)
	synctest.Wait()
	return nil
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

// do runs an append beside the model: while it is under way it may be there or not.
func (w *keyedWorld) do(a *keyedAppend, run func() (log.Appended, error)) (log.Appended, error) {
	w.mu.Lock()
	w.model.pending = a
	clear(w.seen)
	w.mu.Unlock()
	appended, err := run()
	if err == nil {
		err = appended.Wait(context.Background())
	}
	if err != nil {
		return appended, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range a.records {
		if w.model.cfg.LogAppendTime {
			a.records[i].ts = record.Timestamp(appended.AppendTimeMs)
		}
	}
	w.model.apply(a)
	clear(w.seen)
	if w.model.next != appended.Last+1 {
		return appended, fmt.Errorf("appended up to %d, expected %d", appended.Last, w.model.next-1)
	}
	return appended, nil
}

// append sends a batch of a few records, some of them tombstones, of a plain
// producer, an idempotent one, or one in a transaction.
func (w *keyedWorld) append(kind int) error {
	o := batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.Codec(max(0, w.rng.IntN(8)-3))}
	a := &keyedAppend{ends: -1, atMs: w.nowMs, next: w.model.next}
	txn := -1
	p := &w.producers[kind%2]
	if kind > 0 {
		o.ProducerID, o.BaseSequence = int64(100+kind%2), p.sequence
	}
	if kind > 0 && p.open >= 0 || kind == 3 {
		o.Transactional, txn = true, p.open
		if txn < 0 {
			txn = len(w.model.txns)
			a.begins = &keyedTxn{producer: o.ProducerID, marker: -1}
		}
	}
	b := batch.NewBuilder(o)
	for range 1 + w.rng.IntN(4) {
		r := keyedRecord{offset: a.next, ts: record.Timestamp(w.nowMs - w.rng.Int64N(1000)), key: fmt.Sprint("k", w.rng.IntN(w.keys)), txn: txn, putAtMs: w.nowMs}
		if w.rng.IntN(4) > 0 {
			r.value = fmt.Appendf(nil, "%d %s", w.rng.IntN(1000), strings.Repeat("v", pick(w.rng, 0, 5, 40, 200)))
		}
		b.Append(r.ts, []byte(r.key), r.value, nil)
		if w.model.cfg.LogAppendTime {
			r.ts = record.Timestamp(w.nowMs)
		}
		a.records = append(a.records, r)
		a.next++
	}
	built, err := b.Build()
	if err != nil {
		return err
	}
	sent := slices.Clone(built)
	w.say("append at %d: %d records, producer %d, transaction %d", w.model.next, len(a.records), o.ProducerID, txn)
	appended, err := w.do(a, func() (log.Appended, error) {
		return w.log.Append(built, log.AppendOptions{Sync: true, Txn: o.Transactional})
	})
	if err != nil {
		return err
	}
	if kind > 0 {
		p.sequence += int32(len(a.records))
		p.open = txn
	}
	if kind > 0 && kind%2 == 0 {
		w.newest, w.newestAt = sent, appended.Base
	}
	return nil
}

// end commits or aborts one of the open transactions.
func (w *keyedWorld) end() error {
	for i := range w.producers {
		p := &w.producers[i]
		if p.open < 0 || w.rng.IntN(2) == 0 {
			continue
		}
		a := &keyedAppend{ends: p.open, aborted: w.rng.IntN(2) == 0, atMs: w.nowMs, next: w.model.next + 1}
		w.say("marker at %d: transaction %d, aborted %v", w.model.next, p.open, a.aborted)
		p.open = -1
		_, err := w.do(a, func() (log.Appended, error) {
			return w.log.AppendMarker(log.Marker{ProducerID: int64(100 + i), Commit: !a.aborted, TransactionVersion: 1})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compact waits for a checkpoint, after which the cleaner looks for work.
func (w *keyedWorld) compact() error {
	w.say("checkpoint and compaction")
	time.Sleep(6 * time.Second)
	synctest.Wait()
	f, err := readKeyed(w.log)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.model.snapshot().check(w.log, w.nowMs); err != nil {
		return err
	}
	w.model.observe(f)
	clear(w.seen)
	return nil
}

func (w *keyedWorld) deleteRecords() error {
	if !w.model.cfg.Deletes() || w.rng.IntN(3) > 0 {
		return nil
	}
	before := w.log.StartOffset() + record.Offset(w.rng.Int64N(int64(w.log.LastStableOffset()-w.log.StartOffset())+1))
	w.say("delete records before %d", before)
	w.mu.Lock()
	w.model.startMax = max(w.model.startMax, before)
	w.mu.Unlock()
	start, err := w.log.DeleteRecords(before)
	w.mu.Lock()
	w.model.start = max(w.model.start, start)
	w.mu.Unlock()
	return err
}

func (w *keyedWorld) restart() error {
	w.say("clean restart")
	if err := w.store.Close(); err != nil {
		return err
	}
	return w.open()
}

func (w *keyedWorld) say(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *keyedWorld) step() error {
	switch n := w.rng.IntN(30); {
	case n < 8:
		return w.append(0)
	case n < 12:
		return w.append(2)
	case n < 17:
		return w.append(1 + 2*w.rng.IntN(2))
	case n < 22:
		return w.end()
	case n < 26:
		return w.compact()
	case n < 28:
		w.mu.Lock()
		w.nowMs += pick(w.rng, time.Minute, 40*time.Minute, 2*time.Hour).Milliseconds()
		w.mu.Unlock()
		return nil
	case n < 29:
		return w.deleteRecords()
	}
	return w.restart()
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
