package batch

import (
	"bytes"
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
	wantMs, wantSet := horizon, true
	if horizon == NoDeleteHorizon {
		wantMs, wantSet = want.DeleteHorizon()
	}
	if ms, set := h.DeleteHorizon(); set != wantSet || set && ms != wantMs {
		t.Fatalf("delete horizon %d (%v), want %d (%v)", ms, set, wantMs, wantSet)
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

// FuzzRewrite rewrites the bytes with magic, length and checksum corrected. What
// can be iterated can be rewritten, and the records that were kept are the same.
func FuzzRewrite(f *testing.F) {
	for i, b := range goldenBatches(f) {
		f.Add(b, uint64(i)*0x9e3779b97f4a7c15, int64(NoDeleteHorizon))
		f.Add(b, uint64(i)*0x9e3779b97f4a7c15, int64(i)<<40)
	}
	f.Fuzz(func(t *testing.T, b []byte, keep uint64, horizon int64) {
		if len(b) < HeaderSize {
			return
		}
		b = bytes.Clone(b)
		b[posMagic] = magic
		requireCheap(t, fuzzMemoryTimes*DefaultMaxBytes+fuzzMemory, func() { checkRewrite(t, seal(b), keep, horizon) })
	})
}

func checkRewrite(t *testing.T, b []byte, keep uint64, horizon int64) {
	all, readErr := tryReadAll(b)
	var w Rewriter
	if err := w.Reset(b); err != nil {
		return
	}
	var want []record.Record
	for i := 0; w.Next(); i++ {
		if keep>>(i%64)&1 == 1 {
			w.Keep()
			want = append(want, all[i])
		}
	}
	if (w.Err() == nil) != (readErr == nil) {
		t.Fatalf("the iterator says %v, the rewriter %v", readErr, w.Err())
	}
	if w.Err() != nil || len(want) == 0 {
		return
	}
	got, err := w.Build(horizon)
	if err != nil {
		t.Fatal(err)
	}
	requireRecords(t, got, want)
	requireSameHeader(t, got, b, horizon)
}
