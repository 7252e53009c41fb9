package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"

	"millrace/codec"
	"millrace/record"
)

// repartitionNode reads a repartition topic: values or accumulators X by key, and
// the markers of the tasks upstream.
//
// What a task upstream has sent in one commit is taken as a whole, when its marker
// is read: commits of several instances lie between each other in the topic, and a
// read may end anywhere. So what this task has committed is of whole commits
// upstream, and covers the input exactly up to what their markers say. Until then
// records are held back, and a commit of this task claims only the topic's records
// before the first of them: a start reads them again, and passes over what was
// taken already of the other tasks'.
type repartitionNode[K comparable, X any] struct {
	*stage
	source int
	key    codec.Codec[K]
	value  codec.Codec[X]
	clock  *clock // nil where nothing needs a watermark
	next   port[K, X]

	near, far map[record.Topic]bool // whose events the records may be of, see [Node.roots]
	ups       []upstream            // by task
	read      place                 // behind the last old record that was taken; 0: none was
	old       *Batch                // old records of the run in hand
	spare     *Batch

	sliced bool // records have a slice of time
	keys   [][]byte
	values [][]byte
	vec    vec[K, X]
	some   picked[K, X]
}

// upstream is what was read of one task upstream.
type upstream struct {
	held       *Batch // since its last marker; nil: nothing
	heldBytes  int64
	open, kept taken
}

// taken is what was taken of one task upstream.
type taken struct {
	next   record.Offset // behind its last marker: all before it is taken
	covers covers        // nil: not told
}

// crossing is what a task asks a source of a repartition topic.
type crossing interface {
	feeder
	covers(open bool) covers
	held() (first record.Offset, some bool)
	heldBytes() int64
	commit()
	abort()
	appendTo(e *coversEncoder, b []byte) []byte
	load(d *coversDecoder)
	loadOld()
}

func newRepartitionNode[K comparable, X any](w *wiring, n *Node, key codec.Codec[K], value codec.Codec[X], sliced bool, next port[K, X]) feeder {
	r := &repartitionNode[K, X]{stage: w.stage(n), source: w.task.sourceAt(n), key: key, value: value, sliced: sliced, next: next}
	r.near, r.far = n.from.roots()
	r.ups = make([]upstream, w.task.cfg.Upstream[r.source])
	r.old = &Batch{Source: r.source, Partition: w.task.cfg.Partition}
	if w.task.needs.times[n.id] {
		r.clock = w.task.newClock(n, 0, len(r.ups))
	}
	return r
}

// covers puts together what the tasks upstream have told. Of one that has told
// nothing, nothing is taken but old records.
func (n *repartitionNode[K, X]) covers(open bool) covers {
	u, old := newUnion(), n.read.kept
	if open {
		old = n.read.open
	}
	for i := range n.ups {
		told := n.ups[i].kept.covers
		if open {
			told = n.ups[i].open.covers
		}
		for _, one := range told {
			u.add(one.TopicPartition, one.Span)
		}
	}
	untold := Span{}
	if old > 0 {
		untold.None = NoBound
	}
	for tp, said := range maps.Clone(u.said) {
		if n.far[tp.Topic] && said < len(n.ups) {
			u.add(tp, untold)
		}
	}
	for topic := range n.near {
		for p := range n.ups {
			if tp := (record.TopicPartition{Topic: topic, Partition: record.Partition(p)}); u.said[tp] == 0 {
				u.add(tp, untold)
			}
		}
	}
	return u.covers()
}

func (n *repartitionNode[K, X]) held() (first record.Offset, some bool) {
	first = math.MaxInt64
	for i := range n.ups {
		if h := n.ups[i].held; h != nil {
			first, some = min(first, h.Offsets[0]), true
		}
	}
	return first, some
}

func (n *repartitionNode[K, X]) heldBytes() (size int64) {
	for i := range n.ups {
		size += n.ups[i].heldBytes
	}
	return size
}

func (n *repartitionNode[K, X]) commit() {
	n.read.kept = n.read.open
	for i := range n.ups {
		n.ups[i].kept = n.ups[i].open
	}
}

func (n *repartitionNode[K, X]) abort() {
	n.read.open = n.read.kept
	for i := range n.ups {
		n.ups[i].open, n.ups[i].held, n.ups[i].heldBytes = n.ups[i].kept, nil, 0
	}
}

func (n *repartitionNode[K, X]) feed(b *Batch, from, to int) error {
	for i := from; i < to; i++ {
		if err := n.arrive(b, i); err != nil {
			return err
		}
	}
	return n.takeOld()
}

// arrive holds a record back, or takes what its marker completes.
func (n *repartitionNode[K, X]) arrive(b *Batch, i int) error {
	value := b.Values[i]
	task, ok := writer(value)
	if !ok || task >= uint64(len(n.ups)) {
		n.pass(b, i)
		return nil
	}
	up := &n.ups[task]
	switch {
	case b.Offsets[i] < up.open.next: // taken before an abort or a start
		return nil
	case value[0] == kindMarker:
		return n.complete(up, b, i)
	}
	if up.held == nil {
		up.held = n.batch()
	}
	up.held.appendRow(b, i)
	const ofColumns = 64
	up.heldBytes += int64(len(b.Keys[i]) + len(value) + ofColumns)
	return nil
}

// writer is the task upstream that a record says it is of.
func writer(value []byte) (task uint64, ok bool) {
	if len(value) == 0 || value[0] < kindMarker || value[0] > kindSliced {
		return 0, false
	}
	task, n := binary.Uvarint(value[1:])
	return task, n > 0
}

// pass lets a record through that is of no task upstream, or does not say so.
func (n *repartitionNode[K, X]) pass(b *Batch, i int) {
	if b.Offsets[i] >= n.read.open {
		n.old.appendRow(b, i)
		n.read.open = b.Offsets[i] + 1
	}
}

// batch is an empty one of this source.
func (n *repartitionNode[K, X]) batch() *Batch {
	b := n.spare
	if n.spare = nil; b == nil {
		b = &Batch{Source: n.source, Partition: n.task.cfg.Partition}
	}
	return b
}

func (b *Batch) appendRow(from *Batch, i int) {
	b.Offsets = append(b.Offsets, from.Offsets[i])
	b.Timestamps = append(b.Timestamps, from.Timestamps[i])
	b.Keys = append(b.Keys, from.Keys[i])
	b.Values = append(b.Values, from.Values[i])
}

// empty keeps the columns, and none of the bytes.
func (b *Batch) empty() {
	clear(b.Keys)
	clear(b.Values)
	b.Offsets, b.Timestamps, b.Keys, b.Values = b.Offsets[:0], b.Timestamps[:0], b.Keys[:0], b.Values[:0]
}

// complete takes what a task upstream has sent up to its marker, record i of b.
func (n *repartitionNode[K, X]) complete(up *upstream, b *Batch, i int) error {
	task, told, err := decodeMarker(b.Values[i])
	if err != nil {
		n.pass(b, i)
		return nil
	}
	if held := up.held; held != nil {
		up.held, up.heldBytes = nil, 0
		if err := n.takeAll(held); err != nil {
			return err
		}
		held.empty()
		n.spare = held
	}
	up.open = taken{b.Offsets[i] + 1, told.covers}
	if n.clock != nil {
		n.clock.hear(int(task), told.reading)
	}
	return nil
}

func (n *repartitionNode[K, X]) takeOld() error {
	if n.old.Len() == 0 {
		return nil
	}
	defer n.old.empty()
	return n.takeAll(n.old)
}

// takeAll steps through records that are whole.
func (n *repartitionNode[K, X]) takeAll(b *Batch) error {
	defer func(was *Batch) { n.task.batch = was }(n.task.batch)
	n.task.batch = b
	for from := 0; from < b.Len(); from += chunkRows {
		if err := n.take(b, from, min(from+chunkRows, b.Len())); err != nil {
			return err
		}
	}
	return nil
}

func (n *repartitionNode[K, X]) take(b *Batch, from, to int) error {
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

// sort puts a record into the columns, or an old marker to the clock.
func (n *repartitionNode[K, X]) sort(b *Batch, i int) error {
	value := b.Values[i]
	if len(value) == 0 {
		return n.refuseRow(i, errForeign)
	}
	sliced := false
	switch kind := value[0]; kind {
	case kindOldMarker, kindMarker:
		return n.heard(i, value)
	case kindOldPlain, kindOldSliced:
		value, sliced = value[1:], kind == kindOldSliced
	case kindPlain, kindSliced:
		task, width := binary.Uvarint(value[1:])
		if width <= 0 || task >= uint64(len(n.ups)) {
			return n.refuseRow(i, errForeign)
		}
		value, sliced = value[1+width:], kind == kindSliced
	default:
		return n.refuseRow(i, errForeign)
	}
	if sliced != n.sliced || sliced && len(value) < sliceBytes {
		return n.refuseRow(i, errForeign)
	}
	v := &n.vec
	if sliced {
		slice := record.Timestamp(binary.BigEndian.Uint64(value))
		if slice < 0 || slice > lastTime {
			return n.refuseRow(i, errForeign)
		}
		v.slices = append(v.slices, slice)
		value = value[sliceBytes:]
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

// heard takes an old marker, and refuses what is none.
func (n *repartitionNode[K, X]) heard(i int, b []byte) error {
	task, told, err := decodeMarker(b)
	if err != nil {
		return n.refuseRow(i, err)
	}
	if task >= uint64(len(n.ups)) {
		return n.refuseRow(i, fmt.Errorf("a marker of task %d, of %d tasks upstream", task, len(n.ups)))
	}
	if n.clock != nil {
		n.clock.hear(int(task), told.reading)
	}
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

// appendTo appends what is taken as of the open transaction.
func (n *repartitionNode[K, X]) appendTo(e *coversEncoder, b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(n.read.open))
	b = binary.AppendUvarint(b, uint64(len(n.ups)))
	for i := range n.ups {
		b = binary.AppendUvarint(b, uint64(n.ups[i].open.next))
		b = e.append(b, n.ups[i].open.covers)
	}
	return b
}

func (n *repartitionNode[K, X]) load(d *coversDecoder) {
	n.read.open = d.offset()
	if d.number(math.MaxInt32) != uint64(len(n.ups)) {
		d.fail()
		return
	}
	for i := range n.ups {
		n.ups[i].open = taken{d.offset(), d.covers()}
	}
	n.commit()
}

// loadOld is for the progress of a version whose records do not say what they are
// of.
func (n *repartitionNode[K, X]) loadOld() { n.read = place{1, 1} }
