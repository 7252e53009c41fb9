package topology

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace/internal/state"
	"millrace/record"
)

// world runs a plan in memory: topics, tasks, disks. What runs when, where
// commits fall, what is aborted, crashes, is flushed and evicted, a seed decides.
type world struct {
	t          *testing.T
	rng        *rand.Rand
	plan       *Plan
	partitions int32
	now        time.Time
	topics     map[record.Topic][][]entry // by partition
	tasks      []*worker
	draining   bool

	// deliver, when set, gets what a commit has sent instead of the topics.
	deliver func(*worker, []send)
}

type entry struct {
	key, value []byte
	at         record.Timestamp
	headers    []record.Header
}

// worker is a task with what an engine keeps of it.
type worker struct {
	w         *world
	sub       *Sub
	partition record.Partition
	task      Task
	open      int // records processed in the open transaction

	// read is the next offset per source: of the open transaction, and committed.
	read, committed []int
	progress        []byte
	changelogs      [][]entry // per store
	disks           []*disk   // per store
	sends           []send    // of the open transaction
}

type send struct {
	topic record.Topic
	to    record.Partition
	entry
}

func newWorld(t *testing.T, seed uint64, plan *Plan, partitions int32) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), plan: plan, partitions: partitions,
		now: time.UnixMilli(1_000_000_000), topics: make(map[record.Topic][][]entry),
	}
	for i := range plan.Subs {
		for p := range partitions {
			sub := &plan.Subs[i]
			k := &worker{w: w, sub: sub, partition: record.Partition(p)}
			k.read, k.committed = make([]int, len(sub.Sources)), make([]int, len(sub.Sources))
			k.changelogs = make([][]entry, len(sub.Stores))
			for range sub.Stores {
				k.disks = append(k.disks, &disk{entries: make(map[string]string)})
			}
			k.start()
			w.tasks = append(w.tasks, k)
		}
	}
	return w
}

func (w *world) topic(name record.Topic) [][]entry {
	if w.topics[name] == nil {
		w.topics[name] = make([][]entry, w.partitions)
	}
	return w.topics[name]
}

func (w *world) add(name record.Topic, p record.Partition, e entry) {
	t := w.topic(name)
	t[p] = append(t[p], e)
}

// all are the records of a topic, partition by partition.
func (w *world) all(name record.Topic) []entry { return slices.Concat(w.topic(name)...) }

// start makes the task from disk, changelog and progress.
func (k *worker) start() {
	cfg := TaskConfig{Partition: k.partition, Now: k.w.now, IdleAfter: 5 * time.Second}
	for range k.sub.Sources {
		cfg.Partitions = append(cfg.Partitions, k.w.partitions)
		cfg.Upstream = append(cfg.Upstream, k.w.partitions)
	}
	for _, d := range k.disks {
		d.empty = len(d.entries) == 0
		cfg.Backings = append(cfg.Backings, d)
	}
	task, err := k.sub.NewTask(cfg)
	if err != nil {
		k.w.t.Fatal(err)
	}
	for i, table := range task.Tables() {
		for _, e := range k.changelogs[i][k.disks[i].position:] {
			if err := table.Restore(e.key, e.value); err != nil {
				k.w.t.Fatal(err)
			}
		}
	}
	if k.progress != nil {
		if err := task.LoadProgress(k.progress); err != nil {
			k.w.t.Fatal(err)
		}
	}
	k.task = task
	copy(k.read, k.committed)
	k.sends, k.open = nil, 0
}

// Send implements [Output].
func (k *worker) Send(sink int, to record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header) {
	topic := k.sub.Sinks[sink].Topic
	switch to {
	case AllPartitions:
		for p := range k.w.partitions {
			k.sends = append(k.sends, send{topic, record.Partition(p), entry{key, value, ts, headers}})
		}
		return
	case ByKey:
		to = 0
		if key != nil {
			to = record.PartitionFor(key, k.w.partitions)
		}
	}
	k.sends = append(k.sends, send{topic, to, entry{key, value, ts, headers}})
}

// process gives the task up to n records of one source.
func (k *worker) process(n int) (did bool) {
	first := k.w.rng.IntN(len(k.sub.Sources))
	for i := range k.sub.Sources {
		source := (first + i) % len(k.sub.Sources)
		log := k.w.topic(k.sub.Sources[source].Topic)[k.partition]
		from := k.read[source]
		if from >= len(log) {
			continue
		}
		to := min(from+n, len(log))
		b := &Batch{Source: source, Partition: k.partition, AtEnd: to == len(log)}
		for o := from; o < to; o++ {
			b.Offsets = append(b.Offsets, record.Offset(o))
			b.Timestamps = append(b.Timestamps, log[o].at)
			b.Keys = append(b.Keys, log[o].key)
			b.Values = append(b.Values, log[o].value)
		}
		if err := k.task.Process(b, k); err != nil {
			k.w.t.Fatal(err)
		}
		k.read[source] = to
		k.open += to - from
		return true
	}
	return false
}

func (k *worker) commit() {
	if err := k.task.Prepare(k); err != nil {
		k.w.t.Fatal(err)
	}
	changes := make(map[state.Table][]entry)
	for _, table := range k.task.Tables() {
		err := table.Changes(func(key, value []byte) {
			changes[table] = append(changes[table], entry{key: key, value: value})
		})
		if err != nil {
			k.w.t.Fatal(err)
		}
	}
	if k.w.rng.IntN(8) == 0 && !k.w.draining {
		k.abort() // the commit was refused
		return
	}
	for i, table := range k.task.Tables() {
		k.changelogs[i] = append(k.changelogs[i], changes[table]...)
	}
	if k.w.deliver != nil {
		k.w.deliver(k, k.sends)
	} else {
		for _, s := range k.sends {
			k.w.add(s.topic, s.to, s.entry)
		}
	}
	k.progress = k.task.AppendProgress(nil)
	k.sends, k.open = nil, 0
	for i, next := range k.read {
		if first, some := k.task.(Holder).Held(i); some {
			next = int(first)
		}
		k.committed[i] = next
	}
	k.task.Commit()
}

func (k *worker) abort() {
	k.task.Abort()
	copy(k.read, k.committed)
	k.sends, k.open = nil, 0
}

// outcome is what becomes of a flush.
type outcome int

const (
	applied outcome = iota
	unheard         // the disk has it, and nobody learns of it
	lost            // the disk does not have it
)

// flush writes what is committed to disk.
func (k *worker) flush(o outcome) {
	for i, table := range k.task.Tables() {
		d := k.disks[i]
		if o == lost {
			d = &disk{entries: make(map[string]string)}
		}
		if err := table.Flush(d); err != nil {
			k.w.t.Fatal(err)
		}
		if o == applied {
			table.Flushed()
		}
		d.position = len(k.changelogs[i])
	}
}

// step does one thing that an engine may do.
func (w *world) step() {
	k := w.tasks[w.rng.IntN(len(w.tasks))]
	switch dice := w.rng.IntN(100); {
	case dice < 60:
		k.process(1 + w.rng.IntN(7))
	case dice < 80:
		k.commit()
	case dice < 86:
		k.abort()
	case dice < 90:
		k.start() // a crash: the open transaction is lost
	case dice < 96:
		// A flush is of what is committed, also while a transaction is open.
		k.flush(outcome(w.rng.IntN(3)))
	default:
		for _, table := range k.task.Tables() {
			table.Evict(int64(w.rng.IntN(3)) * table.CacheBytes() / 2)
		}
	}
}

// drain runs until nothing moves any more.
func (w *world) drain() {
	w.draining = true
	for moved := true; moved; {
		moved = false
		for _, k := range w.tasks {
			for k.process(100) {
				moved = true
			}
			k.commit()
		}
	}
}

// run does some random steps and then all that is left.
func (w *world) run(steps int) {
	for range steps {
		w.step()
	}
	w.drain()
}

// stats is the sum over all tasks since their last start.
func (w *world) stats() (s Stats) {
	s.DeadLetters = make(map[Refusal]int64)
	for _, k := range w.tasks {
		one := k.task.Stats()
		s.add(&one)
	}
	return s
}

// rebuilt says that each table equals one made from its changelog alone.
func (w *world) checkRebuilt() {
	for _, k := range w.tasks {
		disks := k.disks
		for i := range disks {
			k.flush(applied)
			fresh := make(map[string]string)
			for _, e := range k.changelogs[i] {
				if e.value == nil {
					delete(fresh, string(e.key))
				} else {
					fresh[string(e.key)] = string(e.value)
				}
			}
			if !maps.Equal(fresh, disks[i].entries) {
				w.t.Errorf("store %s of %d/%d: the disk has %q, the changelog %q", k.sub.Stores[i].Name, k.sub.ID, k.partition, disks[i].entries, fresh)
			}
		}
	}
}

// disk is a [state.Backing] in memory.
type disk struct {
	entries  map[string]string
	position int // of the changelog
	empty    bool
}

var _ state.Backing = (*disk)(nil)

func (d *disk) Put(key, value []byte) { d.entries[string(key)] = string(value) }
func (d *disk) Delete(key []byte)     { delete(d.entries, string(key)) }

func (d *disk) DeleteRange(from, to []byte) {
	maps.DeleteFunc(d.entries, func(k, _ string) bool { return k >= string(from) && k < string(to) })
}

func (d *disk) Get(key []byte) ([]byte, bool, error) {
	v, ok := d.entries[string(key)]
	return []byte(v), ok, nil
}

func (d *disk) Scan(from, to []byte, yield func(key, value []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(d.entries)) {
		if k < string(from) || to != nil && k >= string(to) {
			continue
		}
		if !yield([]byte(k), []byte(d.entries[k])) {
			return nil
		}
	}
	return nil
}

func (d *disk) Empty() bool { return d.empty }

func lines(all []entry, show func(entry) string) (text []string) {
	for _, e := range all {
		text = append(text, show(e))
	}
	slices.Sort(text)
	return text
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}
