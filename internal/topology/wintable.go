package topology

import (
	"fmt"
	"math"
	"slices"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
	"millrace/window"
)

// Win is a key in a window.
type Win[K comparable] struct {
	Key    K
	Window window.Window
}

// Update is a result of one window.
type Update[R any] struct {
	Window window.Window
	Result R
	Final  bool // no later one will follow
}

// WindowTable is the newest result of each key and window.
type WindowTable[K comparable, R any] struct {
	g    *Graph
	hub  *hub[K, Update[R]]
	View *WindowView[K, R]
}

// Graph is the graph that t is part of.
func (t WindowTable[K, R]) Graph() *Graph { return t.g }

// AggregateWindows keeps an accumulator per key and slice of time.
func AggregateWindows[K comparable, V, A, R any](w Windowed[K, V], at At, name string, a agg.Agg[V, A, R], o StoreOptions[V]) WindowTable[K, R] {
	g := w.grouped
	a = checkAgg(g.g, at, a)
	if a.Merge == nil && w.spec.Slide != w.spec.Size {
		g.g.Fault(at.Where, "the aggregate of %q has no Merge, which hopping windows need", name, "give it a Merge, or use tumbling windows")
	}
	t := WindowTable[K, R]{g: g.g, View: &WindowView[K, R]{name, g.key}}
	add := func(in *Node) *Node {
		n := g.g.addStore("Aggregate", at, name, g.key, kept(a), w.spec, o.Policy, in)
		n.windows = true
		t.hub = &hub[K, Update[R]]{node: n}
		return n
	}
	if g.direct {
		n := add(g.hub.node)
		n.direct = true
		g.hub.reads(func(wi *wiring) port[K, V] { return wireWindows(wi, n, w, a, a.Add, o, t.hub) })
		return t
	}
	topic := g.g.repartition(name)
	if a.Merge == nil {
		c := valueCodec(o.Value)
		source := reread(g.g, at, forward(g, at, topic, c, o.Policy), topic)
		n := add(source)
		source.start = func(wi *wiring) feeder {
			return newRepartitionNode(wi, source, g.key, c, true, wireWindows(wi, n, w, a, a.Add, o, t.hub))
		}
		return t
	}
	source := reread(g.g, at, preAggregateWindows(g, at, topic, a, o.Policy), topic)
	n := add(source)
	source.start = func(wi *wiring) feeder {
		return newRepartitionNode(wi, source, g.key, a.Codec, true, wireWindows(wi, n, w, a, a.Merge, o, t.hub))
	}
	return t
}

// winTableNode keeps the slices of a windowed table, and tells which windows have
// changed and which are final.
type winTableNode[K comparable, X, A, R any] struct {
	*stage
	fold[K, X, A]
	node    *Node
	windows *state.Windows[K, A]
	spec    window.Spec
	key     codec.Codec[K]
	acc     codec.Codec[A]
	merge   func(a, b A) A
	clone   func(A) (A, error)
	result  func(A) R
	emit    Emit
	gauge   *gauge
	next    fan[K, Update[R]]
	in      vec[K, X]

	sums *state.Keyed[K, A] // scratch: one window's accumulators
	page []result[K, A]
	some picked[K, Update[R]]
	out  vec[K, Update[R]]
}

// result is what is to be told of one key in a window.
type result[K comparable, A any] struct {
	key    K
	acc    A
	time   record.Timestamp
	window window.Window
	final  bool
}

func wireWindows[K comparable, V, X, A, R any](w *wiring, n *Node, of Windowed[K, V], a agg.Agg[V, A, R], op func(A, X) A, o StoreOptions[V], h *hub[K, Update[R]]) port[K, X] {
	at := w.storeAt(n.store.Name)
	s := spec(n.store.Name, of.grouped.key, a, w.task.backing(at))
	table, err := state.NewWindows(s)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("store %q: %w", n.store.Name, err)
	}
	w.task.tables[at], w.task.keepers[at] = table, n
	node := &winTableNode[K, X, A, R]{
		stage:   w.stage(n),
		fold:    fold[K, X, A]{op: op},
		node:    n,
		windows: table,
		spec:    of.spec,
		key:     of.grouped.key,
		acc:     a.Codec,
		merge:   a.Merge,
		clone:   s.Clone,
		result:  a.Result,
		emit:    o.Emit,
		gauge:   w.task.newGauge(n),
		next:    h.wire(w),
		sums:    state.NewKeyed(spec("", of.grouped.key, a, nil)),
	}
	node.gauge.wallClock = o.WallClock
	w.task.offer(n.store.Name, node)
	w.task.preparers = append(w.task.preparers, node)
	return node
}

func (n *winTableNode[K, X, A, R]) take(v *vec[K, X]) error {
	if n.node.direct {
		sample(n.task, n.key, v)
	}
	return sliceRuns(v.slices, func(from, to int, slice record.Timestamp) error {
		n.in = v.part(from, to)
		first, last := windowsOf(n.spec, slice)
		s := n.windows.Slice(slice)
		if s == nil || n.spec.CloseAt(n.spec.At(last)) <= n.windows.Closed() {
			return n.refuseLate()
		}
		if n.spec.CloseAt(n.spec.At(first)) <= n.windows.Closed() {
			n.task.open.Late += int64(to - from) // for some of its windows
		}
		n.table = s.Keyed
		if err := n.rows(n.in.keys); err != nil {
			return err
		}
		return n.drive(n, &n.in.rows, to-from)
	})
}

// refuseLate is for records that were in time where they were read.
func (n *winTableNode[K, X, A, R]) refuseLate() error {
	n.task.open.Late += int64(len(n.in.values))
	for i := range n.in.values {
		if err := n.refuse(&n.in.rows, i, ReasonLate, errLate); err != nil {
			return err
		}
	}
	return nil
}

func (n *winTableNode[K, X, A, R]) run(from, to int) (int, error) {
	return n.add(n.in.values, n.in.times, from, to)
}

func (n *winTableNode[K, X, A, R]) place() *Node { return n.node }

// prepare tells changed and final results, and drops what is not needed any more.
func (n *winTableNode[K, X, A, R]) prepare() error {
	n.gauge.read()
	mark := n.gauge.open
	if len(n.next) > 0 {
		if err := n.tell(mark); err != nil {
			return err
		}
	}
	n.windows.Drop(n.spec.DropBefore(mark))
	n.windows.Close(mark)
	return nil
}

func (n *winTableNode[K, X, A, R]) tell(mark record.Timestamp) error {
	if n.emit != EmitFinal {
		if err := n.tellChanges(mark); err != nil {
			return err
		}
	}
	if n.emit != EmitChanges {
		return n.tellFinals(mark)
	}
	return nil
}

// tellChanges tells the windows with a changed key. Those that become final now
// are left to tellFinals, if it comes.
func (n *winTableNode[K, X, A, R]) tellChanges(mark record.Timestamp) error {
	changed := n.starts(func(s *state.Slice[K, A]) bool { return s.OpenKeys() > 0 })
	for _, start := range changed {
		w := n.spec.At(start)
		closeAt := n.spec.CloseAt(w)
		final := closeAt <= mark
		if closeAt <= n.windows.Closed() || final && n.emit == EmitBoth {
			continue
		}
		if err := n.tellWindow(w, final, n.sumChanged); err != nil {
			return err
		}
	}
	return nil
}

// tellFinals tells all keys of the windows that have become final.
func (n *winTableNode[K, X, A, R]) tellFinals(mark record.Timestamp) error {
	for _, start := range n.starts(func(*state.Slice[K, A]) bool { return true }) {
		w := n.spec.At(start)
		if closeAt := n.spec.CloseAt(w); closeAt <= n.windows.Closed() || closeAt > mark {
			continue
		}
		if err := n.tellWindow(w, true, n.sumAll); err != nil {
			return err
		}
	}
	return nil
}

// starts are those of the windows that have a slice of interest, ascending.
func (n *winTableNode[K, X, A, R]) starts(of func(*state.Slice[K, A]) bool) (starts []record.Timestamp) {
	slide := record.Timestamp(n.spec.Slide.Milliseconds())
	// Windows that are not closed yet have no slice before the first of them.
	for _, s := range n.windows.Between(n.spec.FirstOpen(n.windows.Closed()), math.MaxInt64) {
		if !of(s) {
			continue
		}
		for first, last := windowsOf(n.spec, s.Start); first <= last; first += slide {
			starts = append(starts, first)
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts)
}

// slicesOf are the slices that count for w.
func (n *winTableNode[K, X, A, R]) slicesOf(w window.Window) (of []*state.Slice[K, A]) {
	for _, s := range n.windows.Between(w.Start, w.End) {
		if first, last := windowsOf(n.spec, s.Start); first <= w.Start && w.Start <= last {
			of = append(of, s)
		}
	}
	return of
}

// tellWindow sums up some keys of a window and gives their results out.
func (n *winTableNode[K, X, A, R]) tellWindow(w window.Window, final bool, sum func([]*state.Slice[K, A]) error) error {
	defer n.sums.Reset()
	if err := sum(n.slicesOf(w)); err != nil {
		return fmt.Errorf("stage %q: %w", n.name, err)
	}
	for i := range n.sums.OpenKeys() {
		key, open := n.sums.Opened(i)
		at := open.Time
		if at == noMark { // nothing of it has changed in this transaction
			at = w.End - 1
		}
		n.page = append(n.page, result[K, A]{key, open.Value, at, w, final})
		if len(n.page) == chunkRows {
			if err := n.give(); err != nil {
				return err
			}
		}
	}
	return n.give()
}

// sumAll puts all keys of the slices into sums.
func (n *winTableNode[K, X, A, R]) sumAll(of []*state.Slice[K, A]) error {
	for _, s := range of {
		if err := s.Each(func(k K, a A) error { return n.plus(k, a, noMark) }); err != nil {
			return err
		}
	}
	return nil
}

// sumChanged puts the keys that this transaction has changed into sums.
func (n *winTableNode[K, X, A, R]) sumChanged(of []*state.Slice[K, A]) error {
	for _, s := range of {
		for i := range s.OpenKeys() {
			key, open := s.Opened(i)
			if err := n.plus(key, open.Value, open.Time); err != nil {
				return err
			}
		}
	}
	if len(of) == 1 {
		return nil
	}
	// The rest of each changed key: its values in slices that have not changed it.
	for i := range n.sums.OpenKeys() {
		key, _ := n.sums.Opened(i)
		for _, s := range of {
			a, ok, err := s.Unchanged(key)
			if err != nil {
				return err
			}
			if ok {
				if err := n.plus(key, a, noMark); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// plus adds an accumulator of a slice to the sum of its key.
func (n *winTableNode[K, X, A, R]) plus(key K, a A, at record.Timestamp) (err error) {
	var id [1]uint32
	if err := n.sums.Rows([]K{key}, id[:]); err != nil {
		return err
	}
	before := n.sums.OpenKeys()
	sum, err := n.sums.Change(id[0], at)
	if err != nil {
		return err
	}
	if n.sums.OpenKeys() == before {
		defer caught(&err)
		sum.Value = n.merge(sum.Value, a)
		sum.Time = max(sum.Time, at)
		return nil
	}
	if n.clone != nil {
		a, err = n.clone(a)
	}
	sum.Value = a
	return err
}

// give gives the page of results out.
func (n *winTableNode[K, X, A, R]) give() error {
	if len(n.page) == 0 {
		return nil
	}
	v := &n.out
	v.keys, v.values, v.times, v.marks = v.keys[:0], v.values[:0], v.times[:0], v.marks[:0]
	for i := range n.page {
		v.keys = append(v.keys, n.page[i].key)
		v.times = append(v.times, n.page[i].time)
		v.marks = append(v.marks, n.gauge.open)
	}
	v.origin = &origin{n.node.store.Changelog, n.bytes}
	n.some.begin()
	if err := n.drive(winResultRun[K, X, A, R]{n}, &v.rows, len(n.page)); err != nil {
		return err
	}
	if len(v.values) < len(n.page) {
		v.rows, v.keys = n.some.picker.pick(&v.rows, v.keys, n.some.sel)
	}
	err := n.next.take(v)
	n.page = n.page[:0]
	return err
}

type winResultRun[K comparable, X, A, R any] struct{ n *winTableNode[K, X, A, R] }

func (r winResultRun[K, X, A, R]) run(from, to int) (i int, err error) {
	n := r.n
	defer caught(&err)
	for i = from; i < to; i++ {
		p := &n.page[i]
		n.out.values = append(n.out.values, Update[R]{p.window, n.result(p.acc), p.final})
		n.some.sel = append(n.some.sel, int32(i))
	}
	return i, nil
}

// bytes are the key and the accumulator of a result in hand, as far as the codecs
// can write them.
func (n *winTableNode[K, X, A, R]) bytes(i int) (key, value []byte) {
	key, _ = n.key.Append(nil, n.page[i].key)
	value, _ = n.acc.Append(nil, n.page[i].acc)
	return key, value
}

// due says that a window has become final, or can be dropped, by the clock.
func (n *winTableNode[K, X, A, R]) due() bool {
	all := n.windows.All()
	if len(all) == 0 {
		return false
	}
	first, _ := windowsOf(n.spec, all[0].Start)
	return max(first, n.spec.FirstOpen(n.windows.Closed())) < n.spec.FirstOpen(n.gauge.open) || all[0].Start < n.spec.DropBefore(n.gauge.open)
}

// memory is that of the sums which a commit makes of a window's changed keys: an
// open value each, and a table of its own for them.
func (n *winTableNode[K, X, A, R]) memory() Memory {
	return Memory{OpenBytes: 2 * n.windows.OpenBytes()}
}
func (n *winTableNode[K, X, A, R]) commit() {}
func (n *winTableNode[K, X, A, R]) abort()  {}

// loaded comes after the gauge has its watermark from an earlier life.
func (n *winTableNode[K, X, A, R]) loaded() {
	n.windows.LoadClosed(n.gauge.kept)
	n.windows.LoadDropped(n.spec.DropBefore(n.gauge.kept))
}
