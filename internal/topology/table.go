package topology

import (
	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
)

// fold folds values X of a run of records into the open accumulators of a table.
type fold[K comparable, X, A any] struct {
	table *state.Keyed[K, A]
	op    func(A, X) A
	ids   []uint32
	opens int // open values before the record in hand
}

// rows looks the keys up.
func (f *fold[K, X, A]) rows(keys []K) error {
	if cap(f.ids) < len(keys) {
		f.ids = make([]uint32, max(len(keys), chunkRows))
	}
	f.ids = f.ids[:len(keys)]
	if err := f.table.Rows(keys, f.ids); err != nil {
		return &brokenError{err}
	}
	return nil
}

// add folds the rows from to to, up to the one whose user's function fails; that
// one leaves no trace if its accumulator was not shared.
func (f *fold[K, X, A]) add(values []X, times []record.Timestamp, from, to int) (i int, err error) {
	defer func() {
		if err != nil && f.table.OpenKeys() > f.opens {
			f.table.Unchange()
		}
	}()
	defer caught(&err)
	for i = from; i < to; i++ {
		f.opens = f.table.OpenKeys()
		o, err := f.table.Change(f.ids[i], times[i])
		if err != nil {
			f.opens = f.table.OpenKeys()
			return i, &brokenError{err}
		}
		o.Value = f.op(o.Value, values[i])
		o.Time = max(o.Time, times[i])
	}
	return i, nil
}

// tableNode keeps an accumulator per key and tells what has changed.
type tableNode[K comparable, X, A, R any] struct {
	*stage
	fold[K, X, A]
	node   *Node
	key    codec.Codec[K]
	result func(A) R
	next   fan[K, R]
	watch  *watcher[K, A, R] // nil where nobody watches
	marks  *gauge            // nil where no operator below needs a watermark
	in     *vec[K, X]

	base int
	some picked[K, R]
	out  vec[K, R]
}

// wireTable makes the part of a table, whose records X are values to add or
// accumulators to merge.
func wireTable[K comparable, V, X, A, R any](w *wiring, n *Node, key codec.Codec[K], a agg.Agg[V, A, R], op func(A, X) A, t Table[K, R]) port[K, X] {
	at := w.storeAt(n.store.Name)
	table := state.NewKeyed(spec(n.store.Name, key, a, w.task.backing(at)))
	w.task.tables[at], w.task.keepers[at] = table, n
	node := &tableNode[K, X, A, R]{
		stage:  w.stage(n),
		fold:   fold[K, X, A]{table: table, op: op},
		node:   n,
		key:    key,
		result: a.Result,
		next:   t.hub.wire(w),
		watch:  newWatcher(w, t.View, table, a.Result),
	}
	if w.task.needs.times[n.id] {
		node.marks = w.task.newGauge(n)
	}
	w.task.preparers = append(w.task.preparers, node)
	return node
}

func (n *tableNode[K, X, A, R]) take(v *vec[K, X]) error {
	n.in = v
	if err := n.rows(v.keys); err != nil {
		return err
	}
	if n.node.direct {
		sample(n.task, n.key, v)
	}
	return n.drive(n, &v.rows, len(v.values))
}

func (n *tableNode[K, X, A, R]) run(from, to int) (int, error) {
	return n.add(n.in.values, n.in.times, from, to)
}

func (n *tableNode[K, X, A, R]) place() *Node { return n.node }

// prepare gives the changed results to whoever reads the table.
func (n *tableNode[K, X, A, R]) prepare() error {
	if n.marks != nil {
		n.marks.read()
	}
	n.watch.collect()
	if len(n.next) == 0 {
		return nil
	}
	total := n.table.OpenKeys()
	for n.base = 0; n.base < total; n.base += chunkRows {
		if err := n.emit(min(chunkRows, total-n.base)); err != nil {
			return err
		}
	}
	return nil
}

// emit gives out the results of the count open values from base on.
func (n *tableNode[K, X, A, R]) emit(count int) error {
	v := &n.out
	v.keys, v.values, v.times, v.marks = v.keys[:0], v.values[:0], v.times[:0], v.marks[:0]
	for i := range count {
		key, open := n.table.Opened(n.base + i)
		v.keys = append(v.keys, key)
		v.times = append(v.times, open.Time)
		if n.marks != nil {
			v.marks = append(v.marks, n.marks.open)
		}
	}
	if n.marks == nil {
		v.marks = nil
	}
	v.origin = &origin{n.node.store.Changelog, n.bytes}
	n.some.begin()
	results := resultRun[K, X, A, R]{n}
	if err := n.drive(results, &v.rows, count); err != nil {
		return err
	}
	if len(v.values) < count { // a refused result has left a gap
		v.rows, v.keys = n.some.picker.pick(&v.rows, v.keys, n.some.sel)
	}
	return n.next.take(v)
}

// resultRun computes results, which the user's function may refuse.
type resultRun[K comparable, X, A, R any] struct{ n *tableNode[K, X, A, R] }

func (r resultRun[K, X, A, R]) run(from, to int) (i int, err error) {
	n := r.n
	defer caught(&err)
	for i = from; i < to; i++ {
		_, open := n.table.Opened(n.base + i)
		n.out.values = append(n.out.values, n.result(open.Value))
		n.some.sel = append(n.some.sel, int32(i))
	}
	return i, nil
}

// bytes are the key and the accumulator of the i-th record of the vec in hand.
func (n *tableNode[K, X, A, R]) bytes(i int) (key, value []byte) {
	return n.table.OpenedBytes(n.base + i)
}

// memory is that of what the watcher will be told.
func (n *tableNode[K, X, A, R]) memory() Memory {
	return Memory{OpenBytes: n.watch.openBytes(n.table.OpenKeys())}
}

func (n *tableNode[K, X, A, R]) due() bool { return false }
func (n *tableNode[K, X, A, R]) commit()   { n.watch.commit() }
func (n *tableNode[K, X, A, R]) abort()    { n.watch.drop() }

func (t *task) newGauge(n *Node) *gauge {
	g := &gauge{task: t, node: n, open: noMark, kept: noMark}
	t.gauges = append(t.gauges, g)
	return g
}

// backing is the disk below a store.
func (t *task) backing(store int) state.Backing {
	if store >= len(t.cfg.Backings) {
		return nil
	}
	return t.cfg.Backings[store]
}

// sample checks for one record of a run that a source which is declared keyed is
// so: a false declaration spreads a key's state over tasks.
func sample[K, V any](t *task, key codec.Codec[K], v *vec[K, V]) {
	if v.at == nil || t.batch.Source >= len(t.cfg.Partitions) || t.cfg.Partitions[t.batch.Source] <= 0 {
		return
	}
	b, err := key.Append(t.scratch[:0], v.keys[0])
	t.scratch = b
	if err == nil && record.PartitionFor(b, t.cfg.Partitions[t.batch.Source]) != t.batch.Partition {
		t.open.Misplaced++
	}
}

// ToStream is the stream of a table's changes: one per changed key and commit.
func ToStream[K comparable, R any](t Table[K, R]) Stream[K, R] {
	return Stream[K, R]{g: t.g, hub: t.hub, home: true}
}
