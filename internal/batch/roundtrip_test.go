package batch

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"millrace/record"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// TestRoundTrip builds batches of drawn records, validates them and reads back
// what was appended, with every codec, through one Builder, Decoder and Iterator.
func TestRoundTrip(t *testing.T) {
	var (
		builder Builder
		decoder Decoder
		it      Iterator
	)
	rapid.Check(t, func(rt *rapid.T) {
		codec := rapid.SampledFrom(codecs).Draw(rt, "codec")
		want := drawRecords(rt)
		builder.Reset(BuilderOptions{Codec: codec, ProducerID: NoProducerID})
		for _, r := range want {
			builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
		}
		b, err := builder.Build()
		if err != nil {
			rt.Fatal(err)
		}
		base := record.Offset(rapid.Int64Range(0, 1<<40).Draw(rt, "base"))
		SetBaseOffset(b, base)
		h, err := Validate(b)
		if err != nil {
			rt.Fatal(err)
		}
		if h.BaseOffset != base || h.LastOffset() != base+record.Offset(len(want)-1) || int(h.Count) != len(want) || h.Codec() != codec {
			rt.Fatalf("header %+v for %d records at %d", h, len(want), base)
		}
		if err := it.Reset(b, &decoder); err != nil {
			rt.Fatal(err)
		}
		for i, w := range want {
			if !it.Next() {
				rt.Fatalf("no record %d: %v", i, it.Err())
			}
			w.Offset = base + record.Offset(i)
			requireRecord(rt, it.Record(), w)
		}
		if it.Next() || it.Err() != nil {
			rt.Fatalf("after the last record: error %v", it.Err())
		}
	})
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// requireRecord compares bytes and nullness.
func requireRecord(t failer, got View, want record.Record) {
	t.Helper()
	same := got.Offset == want.Offset && got.Timestamp == want.Timestamp &&
		sameBytes(got.Key, want.Key) && sameBytes(got.Value, want.Value) && got.HeaderCount() == len(want.Headers)
	i := 0
	for key, value := range got.Headers() {
		same = same && string(key) == want.Headers[i].Key && sameBytes(value, want.Headers[i].Value)
		i++
	}
	if !same || i != len(want.Headers) {
		t.Fatalf("got record %+v, want %+v", got, want)
	}
}

func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// drawRecords draws a few records and repeats them up to a drawn number. Sizes
// and numbers lie where varints get longer as often as anywhere else.
func drawRecords(t *rapid.T) []record.Record {
	some := rapid.SliceOfN(drawRecord(), 1, 10).Draw(t, "records")
	number := rapid.OneOf(rapid.IntRange(1, 20), rapid.SampledFrom([]int{63, 64, 65, 8191, 8192, 8193})).Draw(t, "number")
	if number > 1000 {
		some = []record.Record{{Timestamp: some[0].Timestamp, Value: []byte("v")}, {Timestamp: some[len(some)-1].Timestamp}}
	}
	records := make([]record.Record, number)
	for i := range records {
		records[i] = some[i%len(some)]
	}
	return records
}

func drawRecord() *rapid.Generator[record.Record] {
	header := rapid.Custom(func(t *rapid.T) record.Header {
		return record.Header{Key: rapid.StringN(0, 70, 140).Draw(t, "name"), Value: drawBytes().Draw(t, "header value")}
	})
	return rapid.Custom(func(t *rapid.T) record.Record {
		return record.Record{
			Timestamp: record.Timestamp(rapid.OneOf(rapid.Int64Range(1700000000000, 1700000020000), rapid.Int64()).Draw(t, "timestamp")),
			Key:       drawBytes().Draw(t, "key"),
			Value:     drawBytes().Draw(t, "value"),
			Headers:   rapid.SliceOfN(header, 0, 3).Draw(t, "headers"),
		}
	})
}

// drawBytes draws null, and noise of any length up to 20 and around the lengths
// at which a varint gets longer.
func drawBytes() *rapid.Generator[[]byte] {
	size := rapid.OneOf(rapid.IntRange(-1, 20), rapid.SampledFrom([]int{62, 63, 64, 65, 8191, 8192, 70000}))
	return rapid.Custom(func(t *rapid.T) []byte {
		n := size.Draw(t, "size")
		if n < 0 {
			return nil
		}
		b := make([]byte, n)
		rand.NewChaCha8([32]byte{rapid.Byte().Draw(t, "seed")}).Read(b)
		return b
	})
}
