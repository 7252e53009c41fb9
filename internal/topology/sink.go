package topology

import (
	"millrace/codec"
	"millrace/internal/state"
	"millrace/window"
)

// To writes a stream to a topic.
func To[K, V any](s Stream[K, V], at At, p Policy, t Topic[K, V]) {
	addSink(s.g, s.hub, at, p, t, SinkOutput)
}

// TableTo writes a table to a topic: each commit the newest result of every key
// that has changed.
func TableTo[K comparable, R any](t Table[K, R], at At, p Policy, to Topic[K, R]) {
	addSink(t.g, t.hub, at, p, to, SinkTable)
}

func addSink[K, V any](g *Graph, h *hub[K, V], at At, p Policy, t Topic[K, V], kind SinkKind) *Node {
	n := g.add("To", At{at.Where, string(t.Name)}, h.node)
	n.setPolicy(p)
	n.usesKey = true
	if t.Compacted {
		kind = SinkTable
	}
	sink := Sink{Topic: t.Name, Kind: kind}
	if kind == SinkTable {
		sink.Window = n.windowAbove()
	}
	n.writes = append(n.writes, sink)
	h.reads(func(w *wiring) port[K, V] {
		return &sinkNode[K, V]{stage: w.stage(n), key: t.Key, value: t.Value, sink: w.sink(t.Name)}
	})
	return n
}

// windowAbove is the window of the table whose changes come to n, which a topic
// of such changes needs to know; zero when there is none.
func (n *Node) windowAbove() (w window.Spec) {
	n.above(func(up *Node) bool {
		if up.store != nil {
			w = up.store.Window
		}
		return up.store == nil
	})
	return w
}

// Through writes a stream to a topic of the user's and reads it from there.
func Through[K, V any](s Stream[K, V], at At, p Policy, t Topic[K, V]) Stream[K, V] {
	addSink(s.g, s.hub, at, p, t, SinkOutput)
	return From(s.g, at, p, 0, t)
}

type sinkNode[K, V any] struct {
	*stage
	key   codec.Codec[K]
	value codec.Codec[V]
	sink  int
	in    *vec[K, V]
	cut   state.Cutter
}

func (n *sinkNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	return n.drive(n, &v.rows, len(v.values))
}

func (n *sinkNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		key, value, err := encode(&n.cut, n.key, n.in.keys[i], n.value, n.in.values[i])
		if err != nil {
			return i, &reasonError{ReasonEncode, err}
		}
		n.task.out.Send(n.sink, ByKey, key, value, n.in.times[i], nil)
	}
	return i, nil
}

// encode cuts the bytes of a key and a value, which are given away.
func encode[K, V any](cut *state.Cutter, kc codec.Codec[K], k K, vc codec.Codec[V], v V) (key, value []byte, err error) {
	b, err := kc.Append(cut.Begin(), k)
	if err != nil {
		return nil, nil, err
	}
	end := len(b)
	if b, err = vc.Append(b, v); err != nil {
		return nil, nil, err
	}
	b = cut.End(b)
	key, value = b[:end:end], b[end:]
	if c, ok := kc.(codec.Nullable[K]); ok && c.IsNull(k) {
		key = nil
	}
	if c, ok := vc.(codec.Nullable[V]); ok && c.IsNull(v) {
		value = nil
	}
	return key, value, nil
}
