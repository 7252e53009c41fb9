package batch

import (
	"math/rand/v2"
	"testing"

	"millrace/record"
)

// TestRewriteKeepsWhatIsKept: any choice of records, with and without a delete
// horizon, leaves those with the offsets, times and bytes that they had.
func TestRewriteKeepsWhatIsKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var w Rewriter
	for i := range 400 {
		codec := codecs[i%len(codecs)]
		original := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: 7, ProducerEpoch: 2, BaseSequence: 9, Transactional: i%3 == 0}, 1+rng.IntN(30))
		SetBaseOffset(original, 1000)
		SetLeaderEpoch(original, 5)
		if i%4 == 0 {
			SetLogAppendTime(original, 77_000)
		}
		horizon := int64(NoDeleteHorizon)
		if i%2 == 0 {
			horizon = rng.Int64()
		}
		got, want := rewriteSome(t, &w, rng, original, horizon)
		if len(want) == 0 {
			continue
		}
		requireRecords(t, got, want)
		requireSameHeader(t, got, original, horizon)
	}
}

func rewriteSome(t *testing.T, w *Rewriter, rng *rand.Rand, original []byte, horizon int64) (got []byte, want []record.Record) {
	t.Helper()
	all := readAll(t, original)
	if err := w.Reset(original); err != nil {
		t.Fatal(err)
	}
	for i := 0; w.Next(); i++ {
		if rng.IntN(3) > 0 {
			w.Keep()
			want = append(want, all[i])
		}
	}
	if w.Err() != nil || w.Kept() != len(want) || w.Changed() != (len(want) < len(all)) {
		t.Fatalf("kept %d of %d, changed %v, error %v", w.Kept(), len(all), w.Changed(), w.Err())
	}
	got, err := w.Build(horizon)
	if len(want) == 0 {
		requireError(t, "Build without a record", err, ErrInvalid)
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return got, want
}

func requireSameHeader(t *testing.T, got, original []byte, horizon int64) {
	t.Helper()
	h, err := CheckCRC(got)
	if err != nil {
		t.Fatal(err)
	}
	want, err := CheckCRC(original)
	if err != nil {
		t.Fatal(err)
	}
	if ms, set := h.DeleteHorizon(); set != (horizon != NoDeleteHorizon) || set && ms != horizon {
		t.Fatalf("delete horizon %d (%v), want %d", ms, set, horizon)
	}
	if h.LogAppendTime() && h.MaxTimestamp != want.MaxTimestamp {
		t.Fatalf("append time %d, want %d", h.MaxTimestamp, want.MaxTimestamp)
	}
	want.Length, want.CRC, want.Count = h.Length, h.CRC, h.Count
	want.Attributes |= h.Attributes & attrDeleteHorizon
	want.BaseTimestamp, want.MaxTimestamp = h.BaseTimestamp, h.MaxTimestamp
	if h != want {
		t.Fatalf("header %+v, want %+v", h, want)
	}
}

// TestEmptyBatches take their offsets and hold nothing; readers go on behind them.
func TestEmptyBatches(t *testing.T) {
	original := buildBatch(t, BuilderOptions{Codec: Zstd, ProducerID: 7, ProducerEpoch: 2, BaseSequence: 9, Transactional: true}, 5)
	SetBaseOffset(original, 40)
	of, err := CheckCRC(original)
	if err != nil {
		t.Fatal(err)
	}
	empty := AppendEmpty(nil, of)
	h, err := CheckCRC(empty)
	if err != nil || len(empty) != HeaderSize || len(readAll(t, empty)) != 0 {
		t.Fatalf("%d bytes, %v", len(empty), err)
	}
	if h.LastOffset() != 44 || h.ProducerID != 7 || h.ProducerEpoch != 2 || h.BaseSequence != 9 || !h.Transactional() || h.Codec() != None || h.MaxTimestamp != of.MaxTimestamp {
		t.Errorf("header %+v", h)
	}
	gap := AppendGap(nil, 45, 99, 3)
	h, err = CheckCRC(gap)
	if err != nil || h.BaseOffset != 45 || h.LastOffset() != 99 || h.Count != 0 || h.ProducerID != NoProducerID || h.LeaderEpoch != 3 || h.MaxTimestamp != -1 {
		t.Errorf("header %+v, %v", h, err)
	}
	SetLastOffset(gap, 200)
	if h, err = CheckCRC(gap); err != nil || h.LastOffset() != 200 {
		t.Errorf("header %+v, %v", h, err)
	}
}

// TestRewriteAfterError: a batch that cannot be read does not disturb the next one.
func TestRewriteAfterError(t *testing.T) {
	var w Rewriter
	requireError(t, "Reset", w.Reset(rawBatch(Gzip, 1, 0, []byte("no gzip"))), ErrInvalid)
	original := plainBatch(t)
	if err := w.Reset(original); err != nil {
		t.Fatal(err)
	}
	for w.Next() {
		w.Keep()
	}
	got, err := w.Build(NoDeleteHorizon)
	if err != nil || w.Changed() || string(got) != string(original) {
		t.Errorf("not the same bytes; changed %v, %v", w.Changed(), err)
	}
}
