package topology

import (
	"fmt"

	"millrace/record"
)

// Origin names the input record that a value comes from, and which of the values
// that were made of it: the same one each time that it is processed, also after
// an abort or a crash. What a user's function does outside of Kafka is repeated
// then; an idempotency key makes the repetitions one.
type Origin struct {
	record.TopicPartition
	Offset record.Offset // -1: a table made the record, and no key can be given
	Seq    int           // counts, from 0, what came of the input record so far
}

// String is topic/partition/offset/seq, for use as an idempotency key.
func (o Origin) String() string {
	return fmt.Sprintf("%s/%d/%d/%d", o.Topic, o.Partition, o.Offset, o.Seq)
}

// TryMapFrom is TryMap for a function that wants to know where a value comes from.
func TryMapFrom[K, V, W any](s Stream[K, V], at At, p Policy, f func(Origin, V) (W, error)) Stream[K, W] {
	n := derive(s, "TryMapFrom", at, p)
	mapped := out[K, W](s.g, n, s.home)
	s.hub.reads(func(w *wiring) port[K, V] {
		return &originNode[K, V, W]{mapNode: mapNode[K, V, W]{stage: w.stage(n), next: mapped.hub.wire(w)}, from: f}
	})
	return mapped
}

type originNode[K, V, W any] struct {
	mapNode[K, V, W]
	from func(Origin, V) (W, error)
	row  int // of the last call
	seq  int // its number among those of the same input record
}

func (n *originNode[K, V, W]) take(v *vec[K, V]) error {
	n.row = -1
	return n.pass(n, v)
}

func (n *originNode[K, V, W]) run(from, to int) (i int, err error) {
	defer caught(&err)
	values := n.in.values
	for i = from; i < to; i++ {
		w, err := n.from(n.origin(i), values[i])
		if err != nil {
			return i, err
		}
		n.out.values = append(n.out.values, w)
		n.sel = append(n.sel, int32(i))
	}
	return i, nil
}

// origin is that of row i, which is the last one again or the one behind it.
func (n *originNode[K, V, W]) origin(i int) Origin {
	at := n.in.at
	switch {
	case i == n.row: // tried again
	case i > 0 && at != nil && at[i] == at[i-1]:
		n.seq++
	default:
		n.seq = 0
	}
	n.row = i
	r := n.letterOf(&n.in.rows, i)
	return Origin{TopicPartition: r.TopicPartition, Offset: r.Offset, Seq: n.seq}
}
