package topology

import (
	"fmt"
	"reflect"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
	"millrace/window"
)

// Grouped is the records of a stream, each with the key that it counts for.
type Grouped[K comparable, V any] struct {
	g   *Graph
	hub *hub[K, V]
	key codec.Codec[K]

	// direct: the records of a key are all in one partition, so state can be kept
	// where they are read.
	direct bool
}

// Graph is the graph that g is part of.
func (g Grouped[K, V]) Graph() *Graph { return g.g }

// GroupBy gives each record the key that f reads from its value. sameKey is the
// user's word that it is the record's own key.
func GroupBy[K, V any, G comparable](s Stream[K, V], at At, p Policy, sameKey bool, key codec.Codec[G], f func(V) G) Grouped[G, V] {
	n := derive(s, "GroupBy", at, p)
	n.cutsKey = true
	g := Grouped[G, V]{g: s.g, hub: &hub[G, V]{node: n}, key: key, direct: sameKey && s.home}
	s.hub.reads(func(w *wiring) port[K, V] {
		return &groupNode[K, V, G]{stage: w.stage(n), f: f, next: g.hub.wire(w)}
	})
	return g
}

type groupNode[K, V, G any] struct {
	*stage
	f    func(V) G
	next fan[G, V]
	in   *vec[K, V]
	some picked[K, V]
	keys []G
	out  vec[G, V]
}

func (n *groupNode[K, V, G]) take(v *vec[K, V]) error {
	n.in, n.keys = v, n.keys[:0]
	n.some.begin()
	if err := n.drive(n, &v.rows, len(v.values)); err != nil {
		return err
	}
	left := v
	if len(n.some.sel) < len(v.values) {
		n.some.vec.keys = nil
		unkeyed := vec[K, V]{rows: v.rows, values: v.values}
		left = n.some.of(&unkeyed)
	}
	n.out.rows, n.out.values, n.out.keys = left.rows, left.values, n.keys
	return n.next.take(&n.out)
}

func (n *groupNode[K, V, G]) run(from, to int) (i int, err error) {
	defer caught(&err)
	values := n.in.values
	for i = from; i < to; i++ {
		n.keys = append(n.keys, n.f(values[i]))
		n.some.sel = append(n.some.sel, int32(i))
	}
	return i, nil
}

// StoreOptions is what an aggregate may be told.
type StoreOptions[V any] struct {
	Policy    Policy
	Value     codec.Codec[V] // of records that cross a repartition topic; nil: codec.For
	Emit      Emit
	WallClock bool // the watermark moves on while all inputs are idle
}

// Emit says which results of a window are sent.
type Emit int8

const (
	EmitChanges Emit = iota // the changed ones, at each commit
	EmitFinal               // one, when the window is final
	EmitBoth                // both, the final one marked
)

// Table is the newest result of each key.
type Table[K comparable, R any] struct {
	g    *Graph
	hub  *hub[K, R]
	key  codec.Codec[K]
	View *View[K, R]
}

// Graph is the graph that t is part of.
func (t Table[K, R]) Graph() *Graph { return t.g }

// Aggregate keeps an accumulator per key.
func Aggregate[K comparable, V, A, R any](g Grouped[K, V], at At, name string, a agg.Agg[V, A, R], o StoreOptions[V]) Table[K, R] {
	a = checkAgg(g.g, at, a)
	t := Table[K, R]{g: g.g, key: g.key, View: newView(name, g.key, a.Result)}
	if g.direct {
		n := g.g.addStore("Aggregate", at, name, g.key, kept(a), window.Spec{}, o.Policy, g.hub.node)
		n.direct = true
		t.hub = &hub[K, R]{node: n}
		g.hub.reads(func(w *wiring) port[K, V] { return wireTable(w, n, g.key, a, a.Add, t) })
		return t
	}
	topic := g.g.repartition(name)
	if a.Merge == nil {
		c := valueCodec(o.Value)
		sent := forward(g, at, topic, c, o.Policy)
		source := reread(g.g, at, sent, topic)
		n := g.g.addStore("Aggregate", at, name, g.key, kept(a), window.Spec{}, o.Policy, source)
		t.hub = &hub[K, R]{node: n}
		source.start = func(w *wiring) feeder {
			return newRepartitionNode(w, source, g.key, c, false, wireTable(w, n, g.key, a, a.Add, t))
		}
		return t
	}
	sent := preAggregate(g, at, topic, a, o.Policy)
	source := reread(g.g, at, sent, topic)
	n := g.g.addStore("Aggregate", at, name, g.key, kept(a), window.Spec{}, o.Policy, source)
	t.hub = &hub[K, R]{node: n}
	source.start = func(w *wiring) feeder {
		return newRepartitionNode(w, source, g.key, a.Codec, false, wireTable(w, n, g.key, a, a.Merge, t))
	}
	return t
}

// checkAgg fills in what a may leave out, and notes what it must not.
func checkAgg[V, A, R any](g *Graph, at At, a agg.Agg[V, A, R]) agg.Agg[V, A, R] {
	if a.Add == nil || a.Result == nil {
		g.Fault(at.Where, "the aggregate of %q has no Add or no Result", at.Label, "set both")
	}
	return a.WithDefaults()
}

func valueCodec[V any](c codec.Codec[V]) codec.Codec[V] {
	if c == nil {
		return codec.For[V]()
	}
	return c
}

func (g *Graph) repartition(name string) record.Topic {
	return record.Topic(g.app + "-" + name + "-repartition")
}

func (g *Graph) changelog(name string) record.Topic {
	return record.Topic(g.app + "-" + name + "-changelog")
}

// kept says what a store's values are: the same bytes mean another thing to
// another aggregate.
func kept[V, A, R any](a agg.Agg[V, A, R]) string { return a.Name + " as " + a.Codec.Name() }

// named is what a codec says of itself.
type named interface{ Name() string }

// addStore adds an operator that keeps state.
func (g *Graph) addStore(op string, at At, name string, key named, value string, w window.Spec, p Policy, in *Node) *Node {
	g.checkName(at.Where, name)
	n := g.add(op, At{at.Where, name}, in)
	n.setPolicy(p)
	n.usesKey = true
	n.store = &StoreSpec{Name: name, Changelog: g.changelog(name), Key: key.Name(), Value: value, Window: w}
	return n
}

func (g *Graph) checkName(where, name string) {
	if !nameOK.MatchString(name) {
		g.Fault(where, "store name %q", name, "give it a name of 1 to 100 of a-z A-Z 0-9 . _ -: its changelog topic is called after it")
		return
	}
	for _, n := range g.nodes {
		if n.store != nil && n.store.Name == name {
			g.Fault(where, "a second store named %q", name, fmt.Sprintf("the first one is at %s: name them differently", n.where))
			return
		}
	}
}

// reread adds the source that reads what sent writes to topic.
func reread(g *Graph, at At, sent *Node, topic record.Topic) *Node {
	n := g.add("Repartitioned", At{at.Where, string(topic)})
	n.source = &Source{Topic: topic, Upstream: -1}
	n.from = sent
	return n
}

// spec is the table of an aggregate.
func spec[K comparable, V, A, R any](name string, key codec.Codec[K], a agg.Agg[V, A, R], b state.Backing) state.Spec[K, A] {
	s := state.Spec[K, A]{Name: name, Key: key, Value: a.Codec, Init: a.Init, Backing: b}
	switch {
	case a.Clone != nil:
		s.Clone = func(v A) (A, error) { return a.Clone(v), nil }
	case hasPointers(reflect.TypeFor[A]()):
		s.Clone = func(v A) (A, error) {
			b, err := a.Codec.Append(nil, v)
			if err != nil {
				return v, err
			}
			return a.Codec.Decode(b)
		}
	}
	return s
}

// hasPointers says that a copy by assignment shares something that can change.
// Strings cannot.
func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	}
	return false
}
