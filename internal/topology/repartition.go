package topology

import (
	"encoding/binary"
	"errors"
	"fmt"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
)

// The value of a record in a repartition topic begins with its kind:
//
//	0 | uvarint upstream task | varint watermark | 1 when idle     a marker, without key
//	1 | accumulator or value                                      of the record's key
//	2 | 8 bytes slice, big endian | accumulator or value          the same within a slice of time
const (
	kindMarker byte = iota
	kindPlain
	kindSliced
)

const sliceBytes = 8

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
		k, v, err := partial(&n.cut, n.key, key, n.acc, open.Value, nil)
		if err != nil {
			return fmt.Errorf("stage %q: encode what crosses to %s: %w", n.name, n.topic, err)
		}
		n.task.out.Send(n.sink, ByKey, k, v, open.Time, nil)
	}
	n.table.Reset()
	n.send()
	return nil
}

// partial cuts a record of a repartition topic. head is the kind and what
// follows it; nil is plain.
func partial[K, A any](cut *state.Cutter, kc codec.Codec[K], k K, ac codec.Codec[A], a A, head []byte) (key, value []byte, err error) {
	b, err := kc.Append(cut.Begin(), k)
	if err != nil {
		return nil, nil, err
	}
	end := len(b)
	if head == nil {
		b = append(b, kindPlain)
	} else {
		b = append(b, head...)
	}
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
	head  []byte
	cut   state.Cutter
}

func (n *forwardNode[K, V]) take(v *vec[K, V]) error {
	n.in = v
	return n.drive(n, &v.rows, len(v.values))
}

func (n *forwardNode[K, V]) run(from, to int) (i int, err error) {
	defer caught(&err)
	for i = from; i < to; i++ {
		if n.in.slices != nil {
			n.head = slicedHead(n.head[:0], n.in.slices[i])
		}
		key, value, err := partial(&n.cut, n.key, n.in.keys[i], n.value, n.in.values[i], n.head)
		if err != nil {
			return i, &reasonError{ReasonEncode, err}
		}
		n.task.out.Send(n.sink, ByKey, key, value, n.in.times[i], nil)
	}
	return i, nil
}

func slicedHead(b []byte, slice record.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(append(b, kindSliced), uint64(slice))
}

func (n *forwardNode[K, V]) prepare() error {
	n.send()
	return nil
}

func (n *forwardNode[K, V]) memory() Memory { return Memory{} }

// marker tells the tasks downstream the watermark of this one: at most once per
// commit, and only when it has changed.
type marker struct {
	node       *Node
	of         *task
	topic      record.Topic
	sink       int
	gauge      *gauge // nil where no operator downstream needs a watermark
	sent, kept reading
}

var nothingSent = reading{mark: noMark}

func newMarker(w *wiring, n *Node, topic record.Topic) *marker {
	m := &marker{node: n, of: w.task, topic: topic, sink: w.sink(topic), sent: nothingSent, kept: nothingSent}
	if w.task.needs.times[n.id] {
		m.gauge = w.task.newGauge(n)
	}
	return m
}

func (m *marker) place() *Node { return m.node }

func (m *marker) due() bool { return m.gauge != nil && m.gauge.reading() != m.sent }

func (m *marker) send() {
	if !m.due() {
		return
	}
	m.sent = m.gauge.reading()
	m.of.out.Send(m.sink, AllPartitions, nil, appendMarker(nil, m.of.cfg.Partition, m.sent), m.of.now, nil)
}

func (m *marker) commit() { m.kept = m.sent }
func (m *marker) abort()  { m.sent = m.kept }

func appendMarker(b []byte, task record.Partition, r reading) []byte {
	b = append(b, kindMarker)
	b = binary.AppendUvarint(b, uint64(task))
	b = binary.AppendVarint(b, int64(r.mark))
	if r.idle {
		return append(b, 1)
	}
	return append(b, 0)
}

var errMarker = errors.New("a watermark marker that is none")

// decodeMarker reads what follows the kind.
func decodeMarker(b []byte) (task uint64, r reading, err error) {
	task, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, r, errMarker
	}
	mark, m := binary.Varint(b[n:])
	if m <= 0 || len(b) != n+m+1 {
		return 0, r, errMarker
	}
	return task, reading{mark: record.Timestamp(mark), idle: b[n+m] == 1}, nil
}

// repartitionNode reads a repartition topic: values or accumulators X by key, and
// the markers of the tasks upstream.
type repartitionNode[K comparable, X any] struct {
	*stage
	key   codec.Codec[K]
	value codec.Codec[X]
	clock *clock // nil where nothing needs a watermark
	next  port[K, X]

	sliced bool // records have a slice of time
	raw    *Batch
	keys   [][]byte // of the records that are not markers, as values
	values [][]byte
	vec    vec[K, X]
	some   picked[K, X]
}

func newRepartitionNode[K comparable, X any](w *wiring, n *Node, key codec.Codec[K], value codec.Codec[X], sliced bool, next port[K, X]) feeder {
	r := &repartitionNode[K, X]{stage: w.stage(n), key: key, value: value, sliced: sliced, next: next}
	if w.task.needs.times[n.id] {
		r.clock = w.task.newClock(n, 0, w.task.upstreamOf(n))
	}
	return r
}

// upstreamOf is how many tasks write the topic of n.
func (t *task) upstreamOf(n *Node) int {
	for i, s := range t.sub.Sources {
		if s.Topic == n.source.Topic {
			return int(t.cfg.Upstream[i])
		}
	}
	return 0
}

func (n *repartitionNode[K, X]) feed(b *Batch, from, to int) error {
	n.raw = b
	n.begin(to - from)
	for i := from; i < to; i++ {
		if err := n.sort(b, i); err != nil {
			return err
		}
	}
	n.task.open.Records += int64(len(n.values))
	n.vec.keys = grown(n.vec.keys, len(n.values))
	n.vec.values = grown(n.vec.values, len(n.values))
	n.some.begin()
	if err := n.drive(n, &n.vec.rows, len(n.values)); err != nil {
		return err
	}
	if v := n.some.of(&n.vec); len(v.values) > 0 {
		return n.next.take(v)
	}
	return nil
}

func grown[T any](column []T, n int) []T {
	if cap(column) < n {
		return make([]T, n, max(n, chunkRows))
	}
	return column[:n]
}

func (n *repartitionNode[K, X]) begin(size int) {
	v := &n.vec
	n.keys, n.values = n.keys[:0], n.values[:0]
	v.times, v.at, v.marks = v.times[:0], v.at[:0], nil
	v.slices = v.slices[:0]
	if v.at == nil {
		v.at = make([]int32, 0, size) // never nil: these records are of a batch
	}
}

// sort puts a marker to the clock and anything else into the columns.
func (n *repartitionNode[K, X]) sort(b *Batch, i int) error {
	value := b.Values[i]
	v := &n.vec
	switch {
	case len(value) == 0:
		return n.refuseRow(i, errForeign)
	case value[0] == kindMarker:
		return n.heard(i, value[1:])
	case value[0] == kindPlain && !n.sliced:
		value = value[1:]
	case value[0] == kindSliced && n.sliced && len(value) > sliceBytes:
		slice := record.Timestamp(binary.BigEndian.Uint64(value[1:]))
		if slice < 0 || slice > lastTime {
			return n.refuseRow(i, errForeign)
		}
		v.slices = append(v.slices, slice)
		value = value[1+sliceBytes:]
	default:
		return n.refuseRow(i, errForeign)
	}
	n.keys, n.values = append(n.keys, b.Keys[i]), append(n.values, value)
	v.times, v.at = append(v.times, b.Timestamps[i]), append(v.at, int32(i))
	return nil
}

// errForeign is the fault of a record that no task of this job has written.
var errForeign = errors.New("not a record of this job: has another program written to its topic?")

func (n *repartitionNode[K, X]) refuseRow(i int, why error) error {
	return n.refuse(&rows{at: []int32{int32(i)}}, 0, ReasonDecode, why)
}

func (n *repartitionNode[K, X]) heard(i int, b []byte) error {
	task, r, err := decodeMarker(b)
	if err != nil {
		return n.refuseRow(i, err)
	}
	if n.clock == nil {
		return nil
	}
	if task >= uint64(len(n.clock.inputs)) {
		return n.refuseRow(i, fmt.Errorf("a marker of task %d, of %d tasks upstream", task, len(n.clock.inputs)))
	}
	n.clock.hear(int(task), r)
	return nil
}

func (n *repartitionNode[K, X]) run(from, to int) (i int, err error) {
	defer caught(&err)
	i = from
	good, err := decodeColumn(n.key, n.keys[from:to], n.vec.keys[from:to], errNullKey)
	decoded, valueErr := decodeColumn(n.value, n.values[from:from+good], n.vec.values[from:from+good], errNullValue)
	if valueErr != nil {
		err = valueErr
	}
	return n.some.decoded(from, from+decoded, err)
}
