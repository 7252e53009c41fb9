package topology

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"millrace/record"
)

// Span is what a result reflects of one partition of the job's input: every
// event below All, and none from None on. Where both are equal the result is that
// of the input up to there, exactly.
type Span struct{ All, None record.Offset }

// NoBound as None says that events from anywhere on may be in the result: records
// of a version are in it that did not tell.
const NoBound record.Offset = math.MaxInt64 / 2

// Coverage is what a result reflects, per partition of the job's input. Of a
// partition that is not in it nothing is claimed.
type Coverage map[record.TopicPartition]Span

// covers is a [Coverage] in the order of topics and partitions. It is never
// changed once it is made.
type covers []covered

type covered struct {
	record.TopicPartition
	Span
}

func (c covers) equal(o covers) bool { return slices.Equal(c, o) }

func (c covers) public() Coverage {
	all := make(Coverage, len(c))
	for _, one := range c {
		all[one.TopicPartition] = one.Span
	}
	return all
}

// union puts together what several carriers of events say. Of a partition that
// several may bring events of, the result is between the least and the greatest.
type union struct {
	spans map[record.TopicPartition]Span
	said  map[record.TopicPartition]int // by how many
}

func newUnion() *union {
	return &union{spans: make(map[record.TopicPartition]Span), said: make(map[record.TopicPartition]int)}
}

func (u *union) add(tp record.TopicPartition, s Span) {
	if u.said[tp]++; u.said[tp] > 1 {
		have := u.spans[tp]
		s = Span{min(s.All, have.All), max(s.None, have.None)}
	}
	u.spans[tp] = s
}

func (u *union) covers() covers {
	c := make(covers, 0, len(u.spans))
	for tp, s := range u.spans {
		c = append(c, covered{tp, s})
	}
	slices.SortFunc(c, func(a, b covered) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return c
}

// roots are the topics of the user's that n's records come from: near those that
// are read in n's sub-topology, of which a task brings the events of its own
// partition; far those behind a repartition topic, of which a task may bring any.
func (n *Node) roots() (near, far map[record.Topic]bool) {
	near, far = make(map[record.Topic]bool), make(map[record.Topic]bool)
	for _, s := range n.sources() {
		if s.from == nil {
			near[s.source.Topic] = true
			continue
		}
		a, b := s.from.roots()
		maps.Copy(far, a)
		maps.Copy(far, b)
	}
	return near, far
}

// coverage is what the records of an operator reflect, if direct tells how far
// the task has read a topic of the user's, -1 when that is not known, and far what
// a source of a repartition topic brings.
func (t *task) coverage(n *Node, direct func(source int) record.Offset, far func(crossing) covers) covers {
	u := newUnion()
	for _, s := range n.sources() {
		at := t.sourceAt(s)
		if c, ok := t.feeders[at].(crossing); ok {
			for _, one := range far(c) {
				u.add(one.TopicPartition, one.Span)
			}
			continue
		}
		own := record.TopicPartition{Topic: s.source.Topic, Partition: t.cfg.Partition}
		if next := direct(at); next >= 0 {
			u.add(own, Span{next, next})
		} else {
			u.add(own, Span{0, NoBound})
		}
	}
	return u.covers()
}

func (t *task) sourceAt(n *Node) int {
	return slices.IndexFunc(t.sub.Sources, func(s Source) bool { return s.Topic == n.source.Topic })
}

// openCoverage is what an operator's records reflect in the open transaction.
func (t *task) openCoverage(n *Node) covers {
	return t.coverage(n, func(source int) record.Offset { return t.places[source].open }, func(c crossing) covers { return c.covers(true) })
}

// place is how far a task has read a topic of the user's: in the open
// transaction, and as of the last commit; -1 is not known.
type place struct{ open, kept record.Offset }

// took notes how far a batch goes. One without records may tell no place.
func (p *place) took(b *Batch) {
	next := b.Next
	if n := b.Len(); n > 0 {
		next = max(next, b.Offsets[n-1]+1)
	}
	if next > 0 {
		p.open = max(p.open, next)
	}
}

// Encoded covers, all numbers uvarints:
//
//	entries | per entry: bytes of the topic's name, the name, partition, All, None-All
//
// A topic without a name is that of the entry before.

// coversEncoder leaves out names that were told already, also in earlier covers.
type coversEncoder struct{ last record.Topic }

func (e *coversEncoder) append(b []byte, c covers) []byte {
	b = binary.AppendUvarint(b, uint64(len(c)))
	for _, one := range c {
		name := one.Topic
		if name == e.last {
			name = ""
		}
		e.last = one.Topic
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.AppendUvarint(b, uint64(one.Partition))
		b = binary.AppendUvarint(b, uint64(one.All))
		b = binary.AppendUvarint(b, uint64(one.None-one.All))
	}
	return b
}

// coversDecoder reads what a coversEncoder has written. After a fault it is bad,
// and everything that it reads is empty.
type coversDecoder struct {
	b    []byte
	last record.Topic
	bad  bool
}

func (d *coversDecoder) fail() {
	d.b, d.bad = nil, true
}

// number reads one that is at most most.
func (d *coversDecoder) number(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *coversDecoder) offset() record.Offset { return record.Offset(d.number(uint64(NoBound))) }

func (d *coversDecoder) covers() (c covers) {
	for range d.number(uint64(len(d.b))) { // each entry has several bytes
		if name := d.number(uint64(len(d.b))); name > 0 {
			d.last = record.Topic(d.b[:name])
			d.b = d.b[name:]
		}
		var one covered
		one.Topic, one.Partition = d.last, record.Partition(d.number(math.MaxInt32))
		one.All = d.offset()
		one.None = one.All + d.offset()
		if d.bad {
			return nil
		}
		c = append(c, one)
	}
	return c
}
