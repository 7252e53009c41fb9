package topology

import (
	"fmt"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
)

// preAggregate adds the operator that adds up what crosses to other partitions:
// one record per key and commit.
func preAggregate[K comparable, V, A, R any](g Grouped[K, V], at At, topic record.Topic, a agg.Agg[V, A, R], p Policy) *Node {
	n := g.g.addCrossing("Pre-aggregate", at, topic, p, g.hub.node)
	g.hub.reads(func(w *wiring) port[K, V] {
		node := &preNode[K, V, A]{
			stage:  w.stage(n),
			fold:   fold[K, V, A]{table: state.NewKeyed(spec("", g.key, a, nil)), op: a.Add},
			key:    g.key,
			acc:    a.Codec,
			marker: newMarker(w, n, topic),
		}
		w.task.preparers = append(w.task.preparers, node)
		return node
	})
	return n
}

func (g *Graph) addCrossing(op string, at At, topic record.Topic, p Policy, in *Node) *Node {
	n := g.add(op, At{at.Where, string(topic)}, in)
	n.setPolicy(p)
	n.usesKey = true
	n.writes = append(n.writes, Sink{Topic: topic, Kind: SinkRepartition})
	return n
}

type preNode[K comparable, V, A any] struct {
	*stage
	fold[K, V, A]
	*marker
	key codec.Codec[K]
	acc codec.Codec[A]
	in  *vec[K, V]
	cut state.Cutter
}

func (n *preNode[K, V, A]) take(v *vec[K, V]) error {
	n.in = v
	if err := n.rows(v.keys); err != nil {
		return err
	}
	return n.drive(n, &v.rows, len(v.values))
}

func (n *preNode[K, V, A]) run(from, to int) (int, error) {
	return n.add(n.in.values, n.in.times, from, to)
}

func (n *preNode[K, V, A]) prepare() error {
	for i := range n.table.OpenKeys() {
		key, open := n.table.Opened(i)
		k, v, err := partial(&n.cut, n.key, key, n.acc, open.Value, n.head)
		if err != nil {
			return fmt.Errorf("stage %q: encode what crosses to %s: %w", n.name, n.topic, err)
		}
		n.post(k, v, open.Time)
	}
	n.table.Reset()
	n.send()
	return nil
}

// partial cuts a record of a repartition topic. head is the kind and what
// follows it.
func partial[K, A any](cut *state.Cutter, kc codec.Codec[K], k K, ac codec.Codec[A], a A, head []byte) (key, value []byte, err error) {
	b, err := kc.Append(cut.Begin(), k)
	if err != nil {
		return nil, nil, err
	}
	end := len(b)
	b = append(b, head...)
	if b, err = ac.Append(b, a); err != nil {
		return nil, nil, err
	}
	b = cut.End(b)
	return b[:end:end], b[end:], nil
}

func (n *preNode[K, V, A]) memory() Memory {
	m := tableMemory(n.table)
	m.OpenBytes = openShare(m, n.table.Len())
	return m
}

// openShare is the memory of the open keys of a pre-aggregate. It also knows keys
// of earlier transactions; those must not make the next one look large.
func openShare(m Memory, keys int) int64 {
	return m.CacheBytes * int64(m.OpenKeys) / int64(max(keys, 1))
}

func (n *preNode[K, V, A]) abort() {
	n.table.Reset()
	n.marker.abort()
}

// forward adds the operator that sends every record to the partition of its key:
// what there is no way to add up first.
func forward[K comparable, V any](g Grouped[K, V], at At, topic record.Topic, c codec.Codec[V], p Policy) *Node {
	n := g.g.addCrossing("Repartition", at, topic, p, g.hub.node)
	g.hub.reads(func(w *wiring) port[K, V] {
		node := &forwardNode[K, V]{stage: w.stage(n), marker: newMarker(w, n, topic), key: g.key, value: c}
		w.task.preparers = append(w.task.preparers, node)
		return node
	})
	return n
}

type forwardNode[K comparable, V any] struct {
	*stage
	*marker
	key   codec.Codec[K]
	value codec.Codec[V]
	in    *vec[K, V]
	cut   state.Cutter
}

func (n *forwardNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	return n.drive(n, &v.rows, len(v.values))
}

func (n *forwardNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		head := n.head
		if n.in.slices != nil {
			head = n.sliced(n.in.slices[i])
		}
		key, value, err := partial(&n.cut, n.key, n.in.keys[i], n.value, n.in.values[i], head)
		if err != nil {
			return i, &reasonError{ReasonEncode, err}
		}
		n.post(key, value, n.in.times[i])
	}
	return i, nil
}

func (n *forwardNode[K, V]) prepare() error {
	n.send()
	return nil
}

func (n *forwardNode[K, V]) memory() Memory { return Memory{} }
