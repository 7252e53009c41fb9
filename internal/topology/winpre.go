package topology

import (
	"fmt"
	"math"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
)

// preAggregateWindows is [preAggregate] per slice of time.
func preAggregateWindows[K comparable, V, A, R any](g Grouped[K, V], at At, topic record.Topic, a agg.Agg[V, A, R], p Policy) *Node {
	n := g.g.addCrossing("Pre-aggregate", at, topic, p, g.hub.node)
	g.hub.reads(func(w *wiring) port[K, V] {
		table, _ := state.NewWindows(spec("", g.key, a, nil)) // fails only where there is a disk
		node := &winPreNode[K, V, A]{
			stage:   w.stage(n),
			fold:    fold[K, V, A]{op: a.Add},
			marker:  newMarker(w, n, topic),
			windows: table,
			key:     g.key,
			acc:     a.Codec,
		}
		w.task.preparers = append(w.task.preparers, node)
		return node
	})
	return n
}

type winPreNode[K comparable, V, A any] struct {
	*stage
	fold[K, V, A]
	*marker
	windows *state.Windows[K, A]
	key     codec.Codec[K]
	acc     codec.Codec[A]
	in      vec[K, V]
	cut     state.Cutter
}

func (n *winPreNode[K, V, A]) take(v *vec[K, V]) error {
	return sliceRuns(v.slices, func(from, to int, slice record.Timestamp) error {
		n.in = v.part(from, to)
		n.table = n.windows.Slice(slice).Keyed
		if err := n.rows(n.in.keys); err != nil {
			return err
		}
		return n.drive(n, &n.in.rows, to-from)
	})
}

func (n *winPreNode[K, V, A]) run(from, to int) (int, error) {
	return n.add(n.in.values, n.in.times, from, to)
}

func (n *winPreNode[K, V, A]) prepare() error {
	for _, s := range n.windows.Between(noMark, math.MaxInt64) {
		head := n.sliced(s.Start)
		for i := range s.OpenKeys() {
			key, open := s.Opened(i)
			k, v, err := partial(&n.cut, n.key, key, n.acc, open.Value, head)
			if err != nil {
				return fmt.Errorf("stage %q: encode what crosses to %s: %w", n.name, n.topic, err)
			}
			n.post(k, v, open.Time)
		}
	}
	n.windows.Reset()
	n.send()
	return nil
}

func (n *winPreNode[K, V, A]) memory() Memory {
	m := tableMemory(n.windows)
	keys := 0
	for _, s := range n.windows.Between(noMark, math.MaxInt64) {
		keys += s.Len()
	}
	m.OpenBytes = openShare(m, keys)
	return m
}

func (n *winPreNode[K, V, A]) abort() {
	n.windows.Reset()
	n.marker.abort()
}
