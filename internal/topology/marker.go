package topology

import (
	"encoding/binary"
	"errors"

	"millrace/record"
)

// The value of a record in a repartition topic begins with its kind:
//
//	3 | uvarint upstream task | varint watermark | 1 when idle | covers     a marker, without key
//	4 | uvarint upstream task | accumulator or value                       of the record's key
//	5 | uvarint upstream task | 8 bytes slice, big endian | the same       within a slice of time
//
// Covers say which input the task's records up to the marker are of: see
// [Coverage]. The marker is the last record of a commit, so what a task has
// written since its marker before is whole when the next one is read.
//
// Earlier versions wrote these, which are read on. Their records are taken at
// once; what they cover is not known.
//
//	0 | uvarint upstream task | varint watermark | 1 when idle
//	1 | accumulator or value
//	2 | 8 bytes slice, big endian | accumulator or value
const (
	kindOldMarker byte = iota
	kindOldPlain
	kindOldSliced
	kindMarker
	kindPlain
	kindSliced
)

const sliceBytes = 8

// marker is what an operator that writes a repartition topic tells the tasks
// downstream: the watermark of this task, and which input its records cover. It
// ends each commit in which the operator has sent records or one of these has
// changed.
type marker struct {
	node  *Node
	of    *task
	topic record.Topic
	sink  int
	gauge *gauge // nil where no operator downstream needs a watermark

	head, slicedHead []byte // of the records
	wrote            bool   // a record, in the open transaction

	sent, kept told
}

// told is what a marker says.
type told struct {
	reading
	covers covers
}

func (t told) equal(o told) bool { return t.reading == o.reading && t.covers.equal(o.covers) }

func newMarker(w *wiring, n *Node, topic record.Topic) *marker {
	m := &marker{node: n, of: w.task, topic: topic, sink: w.sink(topic)}
	m.head = binary.AppendUvarint([]byte{kindPlain}, uint64(m.of.cfg.Partition))
	m.slicedHead = binary.AppendUvarint([]byte{kindSliced}, uint64(m.of.cfg.Partition))
	if w.task.needs.times[n.id] {
		m.gauge = w.task.newGauge(n)
		m.sent.mark = noMark
	}
	return m
}

func (m *marker) place() *Node { return m.node }

// sliced is the head of records of a slice, until the next call.
func (m *marker) sliced(slice record.Timestamp) []byte {
	m.slicedHead = binary.BigEndian.AppendUint64(m.slicedHead[:len(m.head)], uint64(slice))
	return m.slicedHead
}

// post sends a record to the partition of its key.
func (m *marker) post(key, value []byte, at record.Timestamp) {
	m.wrote = true
	m.of.out.Send(m.sink, ByKey, key, value, at, nil)
}

func (m *marker) now() told {
	now := told{covers: m.of.openCoverage(m.node)}
	if m.gauge != nil {
		now.reading = m.gauge.reading()
	}
	return now
}

// settle is for a task that has just been made or loaded: what it covers is what
// was told, for each commit ends with what there is to tell.
func (m *marker) settle() {
	m.sent.covers = m.of.openCoverage(m.node)
	m.kept = m.sent
}

func (m *marker) due() bool { return !m.now().equal(m.sent) }

// send sends the marker, if there is one to be sent. It comes last in a commit.
func (m *marker) send() {
	now := m.now()
	if !m.wrote && now.equal(m.sent) {
		return
	}
	m.sent = now
	m.of.out.Send(m.sink, AllPartitions, nil, appendMarker(nil, m.of.cfg.Partition, now), m.of.now, nil)
}

func (m *marker) commit() { m.kept, m.wrote = m.sent, false }
func (m *marker) abort()  { m.sent, m.wrote = m.kept, false }

func appendMarker(b []byte, task record.Partition, t told) []byte {
	b = append(b, kindMarker)
	b = binary.AppendUvarint(b, uint64(task))
	b = appendReading(b, t.reading)
	return new(coversEncoder).append(b, t.covers)
}

var errMarker = errors.New("a marker that is none")

// decodeMarker reads a marker of any version; an old one has no covers.
func decodeMarker(b []byte) (task uint64, t told, err error) {
	old, b := b[0] == kindOldMarker, b[1:]
	task, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, t, errMarker
	}
	mark, m := binary.Varint(b[n:])
	if m <= 0 || len(b) <= n+m {
		return 0, t, errMarker
	}
	t.reading = reading{mark: record.Timestamp(mark), idle: b[n+m] == 1}
	d := coversDecoder{b: b[n+m+1:]}
	if !old {
		t.covers = d.covers()
	}
	if d.bad || len(d.b) > 0 {
		return 0, told{}, errMarker
	}
	return task, t, nil
}
