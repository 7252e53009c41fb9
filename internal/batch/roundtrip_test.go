package batch

import (
	"bytes"
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
		want := rapid.SliceOfN(drawRecord(), 1, 40).Draw(rt, "records")
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

func drawRecord() *rapid.Generator[record.Record] {
	nullable := rapid.OneOf(rapid.Just([]byte(nil)), rapid.SliceOfN(rapid.Byte(), 0, 200))
	header := rapid.Custom(func(t *rapid.T) record.Header {
		return record.Header{Key: rapid.StringN(0, 70, 140).Draw(t, "name"), Value: nullable.Draw(t, "header value")}
	})
	return rapid.Custom(func(t *rapid.T) record.Record {
		return record.Record{
			Timestamp: record.Timestamp(rapid.Int64().Draw(t, "timestamp")),
			Key:       nullable.Draw(t, "key"),
			Value:     nullable.Draw(t, "value"),
			Headers:   rapid.SliceOfN(header, 0, 3).Draw(t, "headers"),
		}
	})
}
