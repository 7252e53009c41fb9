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
	timeMs       int64 // when it was appended, by our clock
}

func (b producerBatch) firstSequence() int32 { return sequenceBefore(b.lastSequence, b.delta) }

// producer is what a log knows of one idempotent producer.
type producer struct {
	epoch   int16
	count   int8
	batches [keptBatches]producerBatch // oldest first
}

func (p *producer) last() producerBatch { return p.batches[p.count-1] }

func (p *producer) add(b producerBatch) {
	if p.count == keptBatches {
		copy(p.batches[:], p.batches[1:])
		p.count--
	}
	p.batches[p.count] = b
	p.count++
}

// producers is the state of all idempotent producers of one log. It decides and
// remembers; it does no I/O and has no lock: the log's appender owns it.
type producers struct {
	byID    map[int64]*producer // nil until the first one
	changed bool                // since the newest snapshot
}

// decide says what to do with a batch of an idempotent producer: append it (nil
// and false), answer with the batch that it repeats (true), or refuse it.
// The first sequence of a producer that is not known here is free (rule P3): its
// state may have expired, or its older records may have been deleted.
func (s *producers) decide(h batch.Header) (repeated producerBatch, duplicate bool, err error) {
	p := s.byID[h.ProducerID]
	switch {
	case p == nil:
		return producerBatch{}, false, nil
	case h.ProducerEpoch < p.epoch:
		return producerBatch{}, false, fmt.Errorf("%w: producer %d has epoch %d, the batch has %d", ErrStaleEpoch, h.ProducerID, p.epoch, h.ProducerEpoch)
	case h.ProducerEpoch > p.epoch && h.BaseSequence != 0:
		return producerBatch{}, false, fmt.Errorf("%w: producer %d starts epoch %d with sequence %d instead of 0", ErrOutOfOrderSequence, h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	case h.ProducerEpoch > p.epoch:
		return producerBatch{}, false, nil
	}
	return p.decide(h)
}

func (p *producer) decide(h batch.Header) (repeated producerBatch, duplicate bool, err error) {
	first, last := h.BaseSequence, sequenceAfter(h.BaseSequence, h.LastOffsetDelta)
	for _, b := range p.batches[:p.count] {
		if b.firstSequence() == first && b.lastSequence == last {
			return b, true, nil
		}
	}
	expected := sequenceAfter(p.last().lastSequence, 1)
	switch {
	case first == expected:
		return producerBatch{}, false, nil
	case precedes(last, expected) && precedes(first, expected):
		return producerBatch{}, false, fmt.Errorf("%w: producer %d, sequences %d to %d; the next is %d", ErrDuplicateSequence, h.ProducerID, first, last, expected)
	}
	return producerBatch{}, false, fmt.Errorf("%w: producer %d, sequence %d instead of %d", ErrOutOfOrderSequence, h.ProducerID, first, expected)
}

// appended remembers a batch that decide let through, or that recovery found.
func (s *producers) appended(h batch.Header, nowMs int64) {
	if s.byID == nil {
		s.byID = make(map[int64]*producer)
	}
	p := s.byID[h.ProducerID]
	if p == nil || p.epoch != h.ProducerEpoch {
		p = &producer{epoch: h.ProducerEpoch}
		s.byID[h.ProducerID] = p
	}
	p.add(producerBatch{
		lastSequence: sequenceAfter(h.BaseSequence, h.LastOffsetDelta),
		delta:        h.LastOffsetDelta,
		lastOffset:   h.LastOffset(),
		timeMs:       nowMs,
	})
	s.changed = true
}

// expire forgets producers that appended nothing since before. Kafka goes by
// the records' timestamps; we go by our clock, because history that is imported
// with old timestamps must stay idempotent too.
func (s *producers) expire(beforeMs int64) {
	for id, p := range s.byID {
		if p.last().timeMs < beforeMs {
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
