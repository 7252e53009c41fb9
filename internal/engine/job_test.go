//go:build synctests

package engine

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"millrace/internal/state"
	"millrace/internal/topology"
	"millrace/record"
)

// The jobs of these tests are written against the seam alone, as simply as can
// be, so that what they prove is the engine's.
//
// keyedPlan folds each key's records in order: the result names how many there
// were and a hash over all of them, so a result that is not the fold of a
// prefix shows itself.
func keyedPlan(app string) topology.Plan {
	store := topology.StoreSpec{Name: "folds", Changelog: record.Topic(app + "-folds-changelog"), Key: "string", Value: "fold"}
	sub := topology.Sub{
		Sources: []topology.Source{{Topic: "in", Upstream: -1, Keyed: true}},
		Sinks: []topology.Sink{
			{Topic: "out", Kind: topology.SinkTable},
			{Topic: "in-dlq", Kind: topology.SinkDeadLetter},
		},
		Stores: []topology.StoreSpec{store},
	}
	sub.NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		return &foldTask{table: newTestTable(store.Name, cfg, 0), out: 0, dead: 1}, nil
	}
	return topology.Plan{App: app, Subs: []topology.Sub{sub}}
}

// rekeyPlan counts values: the first sub-topology adds them up per commit and
// sends one record per value to the partition of that value, the second merges.
func rekeyPlan(app string) topology.Plan {
	through := record.Topic(app + "-counts-repartition")
	store := topology.StoreSpec{Name: "counts", Changelog: record.Topic(app + "-counts-changelog"), Key: "string", Value: "int64"}
	first := topology.Sub{
		ID:      0,
		Sources: []topology.Source{{Topic: "in", Upstream: -1}},
		Sinks:   []topology.Sink{{Topic: through, Kind: topology.SinkRepartition}, {Topic: "in-dlq", Kind: topology.SinkDeadLetter}},
		NewTask: func(topology.TaskConfig) (topology.Task, error) {
			return &addUpTask{open: make(map[string]uint64)}, nil
		},
	}
	second := topology.Sub{
		ID:            1,
		Sources:       []topology.Source{{Topic: through, Upstream: 0}},
		Sinks:         []topology.Sink{{Topic: "out", Kind: topology.SinkTable}},
		Stores:        []topology.StoreSpec{store},
		CoPartitioned: true,
	}
	second.NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		return &foldTask{table: newTestTable(store.Name, cfg, 0), merge: true}, nil
	}
	return topology.Plan{App: app, Subs: []topology.Sub{first, second}}
}

// fold is a result: how many records, and what they were.
type fold struct{ n, chain uint64 }

func (f fold) add(value []byte) fold {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, f.chain))
	_, _ = h.Write(value)
	return fold{f.n + 1, h.Sum64()}
}

func (f fold) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, f.n), f.chain)
}

func decodeFold(b []byte) fold {
	return fold{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// poison is a value that no stage takes: it goes to the dead letters.
const poison = "bad"

// foldTask keeps a fold per key, or, with merge, a sum of counts.
type foldTask struct {
	table     *testTable
	out, dead int
	merge     bool
	records   int64 // open
	committed int64
	timer     string // key that each tick adds to, although no input came
	slow      func() // called before each batch
	progress  int64
}

func (t *foldTask) Process(b *topology.Batch, out topology.Output) error {
	if t.slow != nil {
		t.slow()
	}
	for i := range b.Offsets {
		t.records++
		if strings.HasPrefix(string(b.Values[i]), poison) {
			source := fmt.Sprintf("in/%d/%d", b.Partition, b.Offsets[i])
			out.Send(t.dead, topology.ByKey, b.Keys[i], b.Values[i], b.Timestamps[i], []record.Header{{Key: "millrace.source", Value: []byte(source)}})
			continue
		}
		at, err := t.table.get(b.Keys[i])
		if err != nil {
			return err
		}
		if t.merge {
			at.n += binary.BigEndian.Uint64(b.Values[i])
		} else {
			at = at.add(b.Values[i])
		}
		t.table.set(b.Keys[i], at)
	}
	return nil
}

func (t *foldTask) Tick(time.Time) bool {
	if t.timer == "" {
		return false
	}
	at, err := t.table.get([]byte(t.timer))
	if err != nil {
		return false
	}
	t.table.set([]byte(t.timer), at.add([]byte("tick")))
	return true
}

func (t *foldTask) Prepare(out topology.Output) error {
	for _, key := range slices.Sorted(maps.Keys(t.table.open)) {
		out.Send(t.out, topology.ByKey, []byte(key), t.table.open[key].encode(), record.NoTimestamp, nil)
	}
	return nil
}

func (t *foldTask) Commit() {
	t.table.Commit()
	t.committed = t.records
}

func (t *foldTask) Abort() {
	t.table.Abort()
	t.records = t.committed
}

func (t *foldTask) Tables() []state.Table { return []state.Table{t.table} }

func (t *foldTask) AppendProgress(b []byte) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.progress+t.records))
}

func (t *foldTask) LoadProgress(b []byte) error {
	t.progress = int64(binary.BigEndian.Uint64(b))
	return nil
}

func (t *foldTask) Memory() topology.Memory {
	return topology.Memory{OpenKeys: len(t.table.open), OpenBytes: t.table.OpenBytes(), DirtyBytes: t.table.DirtyBytes(), CacheBytes: t.table.CacheBytes()}
}

func (t *foldTask) Stats() topology.Stats {
	return topology.Stats{Records: t.committed, Watermark: record.NoTimestamp}
}

// addUpTask adds up counts of values until the commit.
type addUpTask struct {
	open map[string]uint64
}

func (t *addUpTask) Process(b *topology.Batch, out topology.Output) error {
	for i, v := range b.Values {
		if strings.HasPrefix(string(v), poison) {
			source := fmt.Sprintf("in/%d/%d", b.Partition, b.Offsets[i])
			out.Send(1, topology.ByKey, b.Keys[i], v, b.Timestamps[i], []record.Header{{Key: "millrace.source", Value: []byte(source)}})
			continue
		}
		t.open[string(v)]++
	}
	return nil
}

func (t *addUpTask) Tick(time.Time) bool { return false }

func (t *addUpTask) Prepare(out topology.Output) error {
	for _, v := range slices.Sorted(maps.Keys(t.open)) {
		out.Send(0, topology.ByKey, []byte(v), binary.BigEndian.AppendUint64(nil, t.open[v]), record.NoTimestamp, nil)
	}
	return nil
}

func (t *addUpTask) Commit()                        { clear(t.open) }
func (t *addUpTask) Abort()                         { clear(t.open) }
func (t *addUpTask) Tables() []state.Table          { return nil }
func (t *addUpTask) AppendProgress(b []byte) []byte { return append(b, "noted"...) }
func (t *addUpTask) LoadProgress(b []byte) error {
	if string(b) != "noted" {
		return fmt.Errorf("the progress came back as %q", b)
	}
	return nil
}
func (t *addUpTask) Memory() topology.Memory { return topology.Memory{OpenKeys: len(t.open)} }
func (t *addUpTask) Stats() topology.Stats   { return topology.Stats{Watermark: record.NoTimestamp} }

// testTable is the plainest table that keeps the contract of state.Table.
type testTable struct {
	name      string
	backing   state.Backing
	open      map[string]fold
	committed map[string]fold
	dirty     map[string]bool
	flushing  []string
}

func newTestTable(name string, cfg topology.TaskConfig, store int) *testTable {
	return &testTable{name: name, backing: cfg.Backings[store], open: make(map[string]fold), committed: make(map[string]fold), dirty: make(map[string]bool)}
}

func (t *testTable) get(key []byte) (fold, error) {
	if f, ok := t.open[string(key)]; ok {
		return f, nil
	}
	if f, ok := t.committed[string(key)]; ok {
		return f, nil
	}
	b, ok, err := t.backing.Get(key)
	if err != nil || !ok {
		return fold{}, err
	}
	return decodeFold(b), nil
}

func (t *testTable) set(key []byte, f fold) { t.open[string(key)] = f }
func (t *testTable) Name() string           { return t.name }

func (t *testTable) Changes(yield func(key, value []byte)) error {
	for _, key := range slices.Sorted(maps.Keys(t.open)) {
		yield([]byte(key), t.open[key].encode())
	}
	return nil
}

func (t *testTable) Commit() {
	for key, f := range t.open {
		t.committed[key], t.dirty[key] = f, true
	}
	clear(t.open)
}

func (t *testTable) Abort() { clear(t.open) }

func (t *testTable) Flush(w state.Writer) error {
	for key := range t.dirty {
		w.Put([]byte(key), t.committed[key].encode())
		t.flushing = append(t.flushing, key)
	}
	return nil
}

func (t *testTable) Flushed() {
	for _, key := range t.flushing {
		delete(t.dirty, key)
	}
	t.flushing = nil
}

func (t *testTable) Restore(key, value []byte) error {
	t.committed[string(key)] = decodeFold(value)
	return nil
}

func (t *testTable) OpenKeys() int     { return len(t.open) }
func (t *testTable) OpenBytes() int64  { return int64(64 * len(t.open)) }
func (t *testTable) DirtyBytes() int64 { return int64(64 * len(t.dirty)) }
func (t *testTable) CacheBytes() int64 { return int64(64 * (len(t.committed) + len(t.open))) }

func (t *testTable) Evict(target int64) {
	for key := range t.committed {
		if t.CacheBytes() <= target {
			return
		}
		if !t.dirty[key] {
			delete(t.committed, key)
		}
	}
}
