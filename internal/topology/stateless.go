package topology

import "millrace/record"

// derive adds an operator that reads s.
func derive[K, V any](s Stream[K, V], op string, at At, p Policy) *Node {
	n := s.g.add(op, at, s.hub.node)
	n.setPolicy(p)
	return n
}

func (n *Node) setPolicy(p Policy) {
	n.policy = p
	if p.Topic != "" {
		n.writes = append(n.writes, Sink{Topic: p.Topic, Kind: SinkDeadLetter})
	}
}

// out is the stream of what n gives out.
func out[K, V any](g *Graph, n *Node, home bool) Stream[K, V] {
	return Stream[K, V]{g: g, hub: &hub[K, V]{node: n}, home: home}
}

// TryMap makes each value another one, or fails.
func TryMap[K, V, W any](s Stream[K, V], op string, at At, p Policy, f func(V) (W, error)) Stream[K, W] {
	n := derive(s, op, at, p)
	mapped := out[K, W](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		return &mapNode[K, V, W]{stage: w.stage(n), f: f, next: mapped.hub.wire(w)}
	})
	return mapped
}

// MapValues makes each value another one.
func MapValues[K, V, W any](s Stream[K, V], op string, at At, p Policy, f func(V) W) Stream[K, W] {
	return TryMap(s, op, at, p, func(v V) (W, error) { return f(v), nil })
}

type mapNode[K, V, W any] struct {
	*stage
	f      func(V) (W, error)
	next   fan[K, W]
	in     *vec[K, V]
	sel    []int32
	picked picker[K]
	out    vec[K, W]
}

func (n *mapNode[K, V, W]) take(v *vec[K, V]) error { return n.pass(n, v) }

// pass gives on what r, which is n or has it inside, makes of v.
func (n *mapNode[K, V, W]) pass(r runner, v *vec[K, V]) error {
	n.in, n.sel, n.out.values = v, n.sel[:0], n.out.values[:0]
	if err := n.drive(r, &v.rows, len(v.values)); err != nil {
		return err
	}
	n.out.rows, n.out.keys = n.picked.pick(&v.rows, v.keys, n.sel)
	return n.next.take(&n.out)
}

func (n *mapNode[K, V, W]) run(from, to int) (i int, err error) {
	defer caught(&err)
	values := n.in.values
	for i = from; i < to; i++ {
		w, err := n.f(values[i])
		if err != nil {
			return i, err
		}
		n.out.values = append(n.out.values, w)
		n.sel = append(n.sel, int32(i))
	}
	return i, nil
}

// Map makes each record another one, key and value.
func Map[K, V, L, W any](s Stream[K, V], at At, p Policy, f func(K, V) (L, W)) Stream[L, W] {
	n := derive(s, "Map", at, p)
	n.usesKey, n.cutsKey = true, true
	mapped := out[L, W](s.g, n, false)
	s.hub.reads(func(w *wiring) port[K, V] {
		return &rekeyNode[K, V, L, W]{stage: w.stage(n), f: f, next: mapped.hub.wire(w)}
	})
	return mapped
}

type rekeyNode[K, V, L, W any] struct {
	*stage
	f      func(K, V) (L, W)
	next   fan[L, W]
	in     *vec[K, V]
	sel    []int32
	picked picker[L]
	out    vec[L, W]
}

func (n *rekeyNode[K, V, L, W]) take(v *vec[K, V]) error {
	n.in, n.sel, n.out.keys, n.out.values = v, n.sel[:0], n.out.keys[:0], n.out.values[:0]
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	n.out.rows, _ = n.picked.pick(&v.rows, nil, n.sel)
	return n.next.take(&n.out)
}

func (n *rekeyNode[K, V, L, W]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		l, w := n.f(n.in.keys[i], n.in.values[i])
		n.out.keys = append(n.out.keys, l)
		n.out.values = append(n.out.values, w)
		n.sel = append(n.sel, int32(i))
	}
	return i, nil
}

// Filter keeps the records whose value f likes.
func Filter[K, V any](s Stream[K, V], at At, p Policy, f func(V) bool) Stream[K, V] {
	n := derive(s, "Filter", at, p)
	liked := out[K, V](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		return &filterNode[K, V]{stage: w.stage(n), f: f, next: liked.hub.wire(w)}
	})
	return liked
}

type filterNode[K, V any] struct {
	*stage
	f    func(V) bool
	next fan[K, V]
	in   *vec[K, V]
	some picked[K, V]
}

func (n *filterNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	n.some.begin()
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	return n.next.take(n.some.of(v))
}

func (n *filterNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		if n.f(n.in.values[i]) {
			n.some.sel = append(n.some.sel, int32(i))
		}
	}
	return i, nil
}

// Peek shows each value to f and passes it on.
func Peek[K, V any](s Stream[K, V], at At, p Policy, f func(K, V)) Stream[K, V] {
	n := derive(s, "Peek", at, p)
	n.usesKey = true
	seen := out[K, V](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		return &peekNode[K, V]{stage: w.stage(n), f: f, next: seen.hub.wire(w)}
	})
	return seen
}

type peekNode[K, V any] struct {
	*stage
	f    func(K, V)
	next fan[K, V]
	in   *vec[K, V]
	some picked[K, V]
}

func (n *peekNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	n.some.begin()
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	return n.next.take(n.some.of(v))
}

func (n *peekNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		n.f(n.in.keys[i], n.in.values[i])
		n.some.sel = append(n.some.sel, int32(i))
	}
	return i, nil
}

// FlatMap makes each value any number of values.
func FlatMap[K, V, W any](s Stream[K, V], op string, at At, p Policy, f func(V, func(W))) Stream[K, W] {
	n := derive(s, op, at, p)
	flat := out[K, W](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		fm := &flatMapNode[K, V, W]{stage: w.stage(n), f: f, next: flat.hub.wire(w)}
		fm.emit = fm.add
		return fm
	})
	return flat
}

type flatMapNode[K, V, W any] struct {
	*stage
	f      func(V, func(W))
	emit   func(W)
	next   fan[K, W]
	in     *vec[K, V]
	row    int32
	sel    []int32
	picked picker[K]
	out    vec[K, W]
}

func (n *flatMapNode[K, V, W]) add(w W) {
	n.out.values = append(n.out.values, w)
	n.sel = append(n.sel, n.row)
}

func (n *flatMapNode[K, V, W]) take(v *vec[K, V]) error {
	n.in, n.sel, n.out.values = v, n.sel[:0], n.out.values[:0]
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	n.out.rows, n.out.keys = n.picked.pick(&v.rows, v.keys, n.sel)
	return n.next.take(&n.out)
}

func (n *flatMapNode[K, V, W]) run(from, to int) (i int, err error) {
	done := len(n.sel)
	defer func() {
		// What a failed call has emitted is taken back: a record counts wholly or
		// goes to the dead letters.
		if err != nil {
			n.sel, n.out.values = n.sel[:done], n.out.values[:done]
		}
	}()
	defer caught(&err)
	for i = from; i < to; i++ {
		done, n.row = len(n.sel), int32(i)
		n.f(n.in.values[i], n.emit)
	}
	return i, nil
}

// Branch sends each record to the first stream whose function likes its value,
// and the rest to the last one, which has no function.
func Branch[K, V any](s Stream[K, V], at At, p Policy, likes []func(V) bool) []Stream[K, V] {
	n := derive(s, "Branch", at, p)
	branches := make([]Stream[K, V], len(likes)+1)
	for i := range branches {
		branches[i] = out[K, V](s.g, n, s.home)
	}
	s.hub.reads(func(w *wiring) port[K, V] {
		b := &branchNode[K, V]{stage: w.stage(n), likes: likes, ways: make([]picked[K, V], len(branches)), next: make([]fan[K, V], len(branches))}
		for i := range branches {
			b.next[i] = branches[i].hub.wire(w)
		}
		return b
	})
	return branches
}

type branchNode[K, V any] struct {
	*stage
	likes []func(V) bool
	next  []fan[K, V]
	in    *vec[K, V]
	ways  []picked[K, V]
}

func (n *branchNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	for i := range n.ways {
		n.ways[i].begin()
	}
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	for i := range n.ways {
		if err := n.next[i].take(n.ways[i].of(v)); err != nil {
			return err
		}
	}
	return nil
}

func (n *branchNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		way := 0
		for way < len(n.likes) && !n.likes[way](n.in.values[i]) {
			way++
		}
		n.ways[way].sel = append(n.ways[way].sel, int32(i))
	}
	return i, nil
}

// Merge is the records of all streams, in no particular order between them.
func Merge[K, V any](at At, first Stream[K, V], more ...Stream[K, V]) Stream[K, V] {
	n := first.g.add("Merge", at, first.hub.node)
	merged := out[K, V](first.g, n, first.home)
	reader := func(w *wiring) port[K, V] {
		if made, ok := w.memo[n]; ok {
			return made.(port[K, V])
		}
		next := merged.hub.wire(w)
		w.memo[n] = next
		return next
	}
	first.hub.reads(reader)
	for _, s := range more {
		if s.g != first.g {
			first.g.Fault(at.Where, "Merge of a stream of another App%s", "", "merge streams of one App")
			continue
		}
		n.in = append(n.in, s.hub.node)
		merged.home = merged.home && s.home
		s.hub.reads(reader)
	}
	return merged
}

// EventTime gives each record the time that f reads from its value, and the
// stream a watermark made of these times, disorder behind the greatest.
func EventTime[K, V any](s Stream[K, V], at At, p Policy, disorder record.Timestamp, f func(V) record.Timestamp) Stream[K, V] {
	n := derive(s, "EventTime", at, p)
	n.clock = true
	timed := out[K, V](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		e := &timeNode[K, V]{stage: w.stage(n), f: f, next: timed.hub.wire(w)}
		if w.task.needs.times[n.id] {
			e.clock = w.task.newClock(n, disorder, 1)
		}
		return e
	})
	return timed
}

type timeNode[K, V any] struct {
	*stage
	f     func(V) record.Timestamp
	clock *clock // nil where nothing needs a watermark
	next  fan[K, V]
	in    *vec[K, V]
	some  picked[K, V]
	times []record.Timestamp
	marks []record.Timestamp
	out   vec[K, V]
}

func (n *timeNode[K, V]) take(v *vec[K, V]) error {
	n.in, n.times = v, n.times[:0]
	n.some.begin()
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	n.out = *n.some.of(v)
	n.out.times, n.out.marks = n.times, nil
	if n.clock != nil {
		n.marks = n.clock.advance(n.marks[:0], n.times)
		n.out.marks = n.marks
	}
	return n.next.take(&n.out)
}

func (n *timeNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		n.times = append(n.times, n.f(n.in.values[i]))
		n.some.sel = append(n.some.sel, int32(i))
	}
	return i, nil
}
