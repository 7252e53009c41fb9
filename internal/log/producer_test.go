package log

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"millrace/internal/batch"
	"millrace/record"

	"pgregory.net/rapid"
)

// sequenced is a batch header of producer 1.
func sequenced(epoch int16, first, count int32, base record.Offset) batch.Header {
	return batch.Header{ProducerID: 1, ProducerEpoch: epoch, BaseSequence: first, LastOffsetDelta: count - 1, Count: count, BaseOffset: base}
}

func TestProducerDecisions(t *testing.T) {
	const last = math.MaxInt32
	type step struct {
		epoch        int16
		first, count int32
		want         error         // nil: append
		repeats      record.Offset // the last offset of the batch that it repeats; 0: none
	}
	for name, steps := range map[string][]step{
		"in order":                        {{0, 0, 3, nil, 0}, {0, 3, 2, nil, 0}, {0, 5, 1, nil, 0}},
		"any first sequence":              {{0, 700, 3, nil, 0}, {0, 703, 1, nil, 0}},
		"a gap":                           {{0, 0, 3, nil, 0}, {0, 4, 1, ErrOutOfOrderSequence, 0}, {0, 3, 1, nil, 0}},
		"the last batch again":            {{0, 0, 3, nil, 0}, {0, 0, 3, nil, 2}},
		"the fifth last batch again":      {{0, 0, 1, nil, 0}, {0, 1, 1, nil, 0}, {0, 2, 1, nil, 0}, {0, 3, 1, nil, 0}, {0, 4, 1, nil, 0}, {0, 5, 1, nil, 0}, {0, 1, 1, nil, 1}},
		"the sixth last batch again":      {{0, 0, 1, nil, 0}, {0, 1, 1, nil, 0}, {0, 2, 1, nil, 0}, {0, 3, 1, nil, 0}, {0, 4, 1, nil, 0}, {0, 5, 1, nil, 0}, {0, 0, 1, ErrDuplicateSequence, 0}},
		"a repetition of other size":      {{0, 0, 3, nil, 0}, {0, 0, 2, ErrDuplicateSequence, 0}},
		"a repetition and more":           {{0, 0, 3, nil, 0}, {0, 0, 4, ErrOutOfOrderSequence, 0}},
		"an old epoch":                    {{5, 0, 1, nil, 0}, {4, 1, 1, ErrStaleEpoch, 0}},
		"a new epoch":                     {{5, 0, 1, nil, 0}, {6, 0, 1, nil, 0}, {6, 1, 1, nil, 0}, {5, 1, 1, ErrStaleEpoch, 0}},
		"a new epoch starts at 0":         {{5, 0, 1, nil, 0}, {6, 1, 1, ErrOutOfOrderSequence, 0}},
		"a new epoch forgets the old one": {{5, 0, 1, nil, 0}, {6, 0, 1, nil, 0}, {6, 0, 1, nil, 1}},
		"sequences wrap":                  {{0, last - 1, 1, nil, 0}, {0, last, 1, nil, 0}, {0, 0, 1, nil, 0}, {0, 1, 1, nil, 0}},
		"a batch wraps":                   {{0, last - 1, 4, nil, 0}, {0, 2, 1, nil, 0}, {0, last - 1, 4, nil, 3}},
		"old before the wrap":             {{0, last, 1, nil, 0}, {0, 0, 1, nil, 0}, {0, last - 5, 1, ErrDuplicateSequence, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var s producers
			next := record.Offset(0)
			for i, step := range steps {
				h := sequenced(step.epoch, step.first, step.count, next)
				repeated, duplicate, err := s.decide(h, AppendOptions{})
				if !errors.Is(err, step.want) || err != nil && step.want == nil {
					t.Fatalf("step %d: %v, want %v", i, err, step.want)
				}
				if duplicate != (step.repeats > 0) || duplicate && repeated.lastOffset != step.repeats {
					t.Fatalf("step %d: duplicate %v of %d, want %d", i, duplicate, repeated.lastOffset, step.repeats)
				}
				if err == nil && !duplicate {
					s.appended(h, 0)
					next = h.LastOffset() + 1
				}
			}
		})
	}
}

// Against a slow model that remembers every batch: a batch is appended exactly
// once, whatever is retried and in which order.
func TestProducersAppendEachBatchOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s producers
		start := rapid.SampledFrom([]int32{0, 17, math.MaxInt32 - 3}).Draw(t, "start")
		type sent struct {
			first, count int32
			last         record.Offset
		}
		var log []sent
		next, offset := start, record.Offset(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(log) > 0 && rapid.Bool().Draw(t, "retry") {
				i := rapid.IntRange(0, len(log)-1).Draw(t, "which")
				old := log[i]
				repeated, duplicate, err := s.decide(sequenced(0, old.first, old.count, offset), AppendOptions{})
				kept := len(log)-i <= keptBatches
				switch {
				case kept && (!duplicate || err != nil || repeated.lastOffset != old.last):
					t.Fatalf("retry of a kept batch: %v %v at %d, want %d", duplicate, err, repeated.lastOffset, old.last)
				case !kept && !errors.Is(err, ErrDuplicateSequence):
					t.Fatalf("retry of an old batch: %v %v", duplicate, err)
				}
				continue
			}
			count := rapid.Int32Range(1, 5).Draw(t, "count")
			h := sequenced(0, next, count, offset)
			if _, duplicate, err := s.decide(h, AppendOptions{}); duplicate || err != nil {
				t.Fatalf("batch at %d: duplicate %v, %v", next, duplicate, err)
			}
			s.appended(h, 0)
			log = append(log, sent{next, count, h.LastOffset()})
			next, offset = sequenceAfter(next, count), h.LastOffset()+1
			if rapid.Bool().Draw(t, "snapshot") {
				restored, err := decodeSnapshot(s.encode())
				if err != nil {
					t.Fatal(err)
				}
				s = *restored
			}
		}
	})
}

func TestSnapshotRoundTrip(t *testing.T) {
	var s producers
	for i := range int32(8) {
		s.appended(batch.Header{ProducerID: 1 << 40, ProducerEpoch: 3, BaseSequence: 10 * i, LastOffsetDelta: 9, BaseOffset: record.Offset(10 * i)}, int64(i))
	}
	s.appended(batch.Header{ProducerID: 0, BaseSequence: 5, BaseOffset: 80}, 100)
	b := s.encode()
	restored, err := decodeSnapshot(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(restored.byID) != 2 || *restored.byID[1<<40] != *s.byID[1<<40] || *restored.byID[0] != *s.byID[0] {
		t.Errorf("restored %+v", restored.byID)
	}
	if !bytes.Equal(restored.encode(), b) {
		t.Error("the restored state is written otherwise")
	}
	if want := snapshotHeader + 6*snapshotEntrySize; len(b) != want {
		t.Errorf("%d bytes, want %d", len(b), want)
	}
}

func TestIdleProducersExpire(t *testing.T) {
	var s producers
	s.appended(batch.Header{ProducerID: 1, BaseOffset: 0}, 1000)
	s.appended(batch.Header{ProducerID: 2, BaseOffset: 1}, 2000)
	s.expire(2000)
	if s.byID[1] != nil || s.byID[2] == nil {
		t.Errorf("left are %v", s.byID)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	var s producers
	s.appended(batch.Header{ProducerID: 1, BaseOffset: 0}, 1000)
	f.Add(s.encode())
	f.Add((&producers{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := decodeSnapshot(s.encode())
		if err != nil || len(again.byID) != len(s.byID) {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
