package topology

import (
	"errors"
	"slices"

	"millrace/codec"
	"millrace/record"
)

// errNull is the fault of a record whose key or value is Kafka's null, where an
// operator needs one and the codec has none.
var (
	errNullKey   = errors.New("the key is null")
	errNullValue = errors.New("the value is null")
)

// From adds the records of a topic of the user's.
func From[K, V any](g *Graph, at At, p Policy, disorder record.Timestamp, t Topic[K, V]) Stream[K, V] {
	n := g.add("From", At{at.Where, string(t.Name)})
	n.setPolicy(p)
	n.source = &Source{Topic: t.Name, Upstream: -1, Keyed: t.Keyed}
	s := out[K, V](g, n, t.Keyed)
	n.start = func(w *wiring) feeder {
		in := &inputNode[K, V]{stage: w.stage(n), topic: t, next: s.hub.wire(w), needsKey: w.task.needs.keys[n.id]}
		if w.task.needs.times[n.id] {
			in.clock = w.task.newClock(n, disorder, 1)
		}
		return in
	}
	return s
}

// inputNode decodes a topic of the user's.
type inputNode[K, V any] struct {
	*stage
	topic    Topic[K, V]
	needsKey bool
	clock    *clock // nil where nothing needs a watermark
	next     fan[K, V]

	raw    *Batch
	first  int
	vec    vec[K, V]
	some   picked[K, V]
	number []int32
	marks  []record.Timestamp
}

func (n *inputNode[K, V]) feed(b *Batch, from, to int) error {
	n.task.open.Records += int64(to - from)
	n.raw, n.first = b, from
	n.some.begin()
	n.prepare(b, from, to)
	if err := n.drive(n, &n.vec.rows, to-from); err != nil {
		return err
	}
	return n.next.take(n.some.of(&n.vec))
}

// prepare sets the columns that need no decoding, and makes room for the others.
func (n *inputNode[K, V]) prepare(b *Batch, from, to int) {
	n.vec.times = b.Timestamps[from:to]
	n.vec.at = n.numbers(from, to)
	if n.clock != nil {
		n.marks = n.clock.advance(n.marks[:0], n.vec.times)
		n.vec.marks = n.marks
	}
	size := to - from
	n.vec.values = grown(n.vec.values, size)
	if n.needsKey {
		n.vec.keys = grown(n.vec.keys, size)
	}
}

// numbers is from, from+1, … to-1.
func (n *inputNode[K, V]) numbers(from, to int) []int32 {
	n.number = n.number[:0]
	for i := from; i < to; i++ {
		n.number = append(n.number, int32(i))
	}
	return n.number
}

func (n *inputNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	i = from
	first := n.first
	good := to
	if n.needsKey {
		good, err = decodeColumn(n.topic.Key, n.raw.Keys[first+from:first+to], n.vec.keys[from:to], errNullKey)
		good += from
	}
	decoded, valueErr := decodeColumn(n.topic.Value, n.raw.Values[first+from:first+good], n.vec.values[from:good], errNullValue)
	if valueErr != nil {
		err = valueErr
	}
	return n.some.decoded(from, from+decoded, err)
}

// decodeColumn decodes up to the first fault, a null among them, and returns how
// many it decoded.
func decodeColumn[T any](c codec.Codec[T], src [][]byte, dst []T, null error) (int, error) {
	if _, ok := c.(codec.Nullable[T]); ok {
		return codec.DecodeAll(c, src, dst)
	}
	nulls := slices.IndexFunc(src, func(b []byte) bool { return b == nil })
	if nulls < 0 {
		return codec.DecodeAll(c, src, dst)
	}
	n, err := codec.DecodeAll(c, src[:nulls], dst)
	if err != nil {
		return n, err
	}
	return nulls, null
}
