package log

import (
	"fmt"
	"math"

	"millrace/internal/batch"
	"millrace/record"
)

// keptBatches are remembered per producer, so that any of a producer's five
// requests in flight may be retried (Kafka's NUM_BATCHES_TO_RETAIN).
const keptBatches = 5

// producerBatch is one batch that an idempotent producer has appended.
type producerBatch struct {
	lastSequence int32
	delta        int32 // last sequence - first, and last offset - first
	lastOffset   record.Offset
}

func (b producerBatch) firstSequence() int32 { return sequenceBefore(b.lastSequence, b.delta) }

const (
	noTxn              = record.Offset(-1)
	noCoordinatorEpoch = int32(-1)
	noSequence         = int32(-1)
)

// producer is what a log knows of one idempotent producer.
type producer struct {
	epoch            int16
	count            int8                       // 0 when its newest epoch has only a marker here
	coordinatorEpoch int32                      // of its newest marker; noCoordinatorEpoch without one
	txnFirst         record.Offset              // where its open transaction begins; noTxn without one
	lastMs           int64                      // when it appended last, by our clock
	batches          [keptBatches]producerBatch // oldest first
}

func newProducer(epoch int16) *producer {
	return &producer{epoch: epoch, coordinatorEpoch: noCoordinatorEpoch, txnFirst: noTxn}
}

// lastSequence is noSequence when the epoch has no batch yet: then 0 comes next.
func (p *producer) lastSequence() int32 {
	if p.count == 0 {
		return noSequence
	}
	return p.batches[p.count-1].lastSequence
}

func (p *producer) add(b producerBatch) {
	if p.count == keptBatches {
		copy(p.batches[:], p.batches[1:])
		p.count--
	}
	p.batches[p.count] = b
	p.count++
}

// begin makes epoch the producer's newest. Sequences start anew with it; an open
// transaction goes on until its marker comes.
func (p *producer) begin(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.count = epoch, 0
	}
}

// producers is the state of all idempotent producers of one log. It decides and
// remembers; it does no I/O and has no lock: the log's appender owns it.
type producers struct {
	byID    map[int64]*producer // nil until the first one
	changed bool                // since the newest snapshot

	aborted abortedMark // as of the snapshot that the state was read from, or written to
}

// decide says what to do with a batch of an idempotent producer: append it (nil
// and false), answer with the batch that it repeats (true), or refuse it.
// The first sequence of a producer that is not known here is free (rule P3),
// unless FromZero: its state may have expired, or its older records may have been
// deleted. The broker's own batches have no sequences.
func (s *producers) decide(h batch.Header, o AppendOptions) (repeated producerBatch, duplicate bool, err error) {
	p := s.byID[h.ProducerID]
	if p != nil && h.ProducerEpoch < p.epoch {
		return producerBatch{}, false, staleEpoch(h.ProducerID, p.epoch, h.ProducerEpoch)
	}
	if p != nil && !o.Internal {
		if b, found := p.repeatedBy(h); found {
			return b, true, nil
		}
	}
	if err := p.admit(h, o.Txn); err != nil || o.Internal {
		return producerBatch{}, false, err
	}
	if p == nil {
		if o.FromZero && h.BaseSequence != 0 {
			err = fmt.Errorf("%w: producer %d, epoch %d, starts with sequence %d instead of 0", ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
		}
		return producerBatch{}, false, err
	}
	return producerBatch{}, false, p.inSequence(h)
}

func staleEpoch(id int64, has, came int16) error {
	return fmt.Errorf("%w: producer %d has epoch %d, the batch has %d", ErrStaleEpoch, id, has, came)
}

// repeatedBy is the batch that h repeats.
func (p *producer) repeatedBy(h batch.Header) (producerBatch, bool) {
	if p.epoch != h.ProducerEpoch {
		return producerBatch{}, false
	}
	last := sequenceAfter(h.BaseSequence, h.LastOffsetDelta)
	for _, b := range p.batches[:p.count] {
		if b.firstSequence() == h.BaseSequence && b.lastSequence == last {
			return b, true
		}
	}
	return producerBatch{}, false
}

// admit holds the batch against the producer's transaction. vouched says that the
// coordinator knows of it; the transaction's later batches need no word.
func (p *producer) admit(h batch.Header, vouched bool) error {
	open := p != nil && p.txnFirst != noTxn
	switch {
	case open && !h.Transactional():
		return fmt.Errorf("%w: producer %d has a transaction open since offset %d and sends a batch outside of it", ErrTxnState, h.ProducerID, p.txnFirst)
	case h.Transactional() && !vouched && !(open && p.epoch == h.ProducerEpoch):
		return fmt.Errorf("%w: producer %d, epoch %d", ErrTxnNotVerified, h.ProducerID, h.ProducerEpoch)
	}
	return nil
}

// inSequence refuses a batch that is not the next one.
func (p *producer) inSequence(h batch.Header) error {
	if h.ProducerEpoch > p.epoch {
		if h.BaseSequence != 0 {
			return fmt.Errorf("%w: producer %d starts epoch %d with sequence %d instead of 0", ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
		}
		return nil
	}
	first, last := h.BaseSequence, sequenceAfter(h.BaseSequence, h.LastOffsetDelta)
	expected := sequenceAfter(p.lastSequence(), 1)
	switch {
	case first == expected:
		return nil
	case p.count > 0 && precedes(last, expected) && precedes(first, expected):
		return fmt.Errorf("%w: producer %d, sequences %d to %d; the next is %d", ErrDuplicateSequence, h.ProducerID, first, last, expected)
	}
	return fmt.Errorf("%w: producer %d, sequence %d instead of %d", ErrOutOfOrderSequence, h.ProducerID, first, expected)
}

// decideMarker says whether a transaction marker may be appended. The rules are
// Kafka's: epochs do not fall, and under transaction.version 2 the marker's is
// above that of the transaction it ends, so that a late one cannot end the next
// (KIP-890, KIP-1228). A marker that comes again finds no open transaction; it
// is let through and changes nothing.
func (s *producers) decideMarker(m Marker) error {
	p := s.byID[m.ProducerID]
	if p == nil {
		return nil
	}
	late := m.TransactionVersion >= 2 && m.ProducerEpoch == p.epoch && p.txnFirst != noTxn && m.ProducerEpoch != math.MaxInt16
	switch {
	case m.ProducerEpoch < p.epoch || late:
		return staleEpoch(m.ProducerID, p.epoch, m.ProducerEpoch)
	case m.CoordinatorEpoch < p.coordinatorEpoch:
		return fmt.Errorf("%w: producer %d has a marker of coordinator epoch %d, this one has %d", ErrCoordinatorFenced, m.ProducerID, p.coordinatorEpoch, m.CoordinatorEpoch)
	}
	return nil
}

// of is the producer with that id, a new one if need be.
func (s *producers) of(id int64, epoch int16) *producer {
	if s.byID == nil {
		s.byID = make(map[int64]*producer)
	}
	p := s.byID[id]
	if p == nil {
		p = newProducer(epoch)
		s.byID[id] = p
	}
	s.changed = true
	return p
}

// appended remembers a batch that decide let through, or that recovery found. It
// says whether a transaction begins with it.
func (s *producers) appended(h batch.Header, nowMs int64) (begins bool) {
	p := s.of(h.ProducerID, h.ProducerEpoch)
	p.begin(h.ProducerEpoch)
	p.lastMs = nowMs
	p.add(producerBatch{
		lastSequence: sequenceAfter(h.BaseSequence, h.LastOffsetDelta),
		delta:        h.LastOffsetDelta,
		lastOffset:   h.LastOffset(),
	})
	if h.Transactional() && p.txnFirst == noTxn {
		p.txnFirst, begins = h.BaseOffset, true
	}
	return begins
}

// ended remembers a marker that decideMarker let through, or that recovery found.
// It gives where the transaction began that it ends, noTxn when there was none.
func (s *producers) ended(m Marker, nowMs int64) (first record.Offset) {
	p := s.of(m.ProducerID, m.ProducerEpoch)
	p.begin(m.ProducerEpoch)
	p.lastMs, p.coordinatorEpoch = nowMs, m.CoordinatorEpoch
	first, p.txnFirst = p.txnFirst, noTxn
	return first
}

// expire forgets producers that appended nothing since before, but for those
// with an open transaction. Kafka goes by the records' timestamps; we go by our
// clock, because history that is imported with old timestamps must stay
// idempotent too.
func (s *producers) expire(beforeMs int64) {
	for id, p := range s.byID {
		if p.lastMs < beforeMs && p.txnFirst == noTxn {
			delete(s.byID, id)
		}
	}
}

// Sequences count 0 … 2^31-1 and start again.

func sequenceAfter(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}

func sequenceBefore(sequence, n int32) int32 {
	return int32((int64(sequence) - int64(n)) & math.MaxInt32)
}

// precedes says that a comes before b on the circle of sequences, going the
// shorter way round.
func precedes(a, b int32) bool { return a != b && uint32(sequenceBefore(b, a)) < 1<<30 }
