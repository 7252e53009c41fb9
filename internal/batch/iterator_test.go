package batch

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"millrace/record"
)

// rawBatch is a sealed batch of count hand-made records.
func rawBatch(codec Codec, count, lastDelta int32, records []byte) []byte {
	b := make([]byte, HeaderSize, HeaderSize+len(records))
	h := Header{
		LeaderEpoch: -1, Attributes: int16(codec), Count: count, LastOffsetDelta: lastDelta,
		ProducerID: NoProducerID, ProducerEpoch: -1, BaseSequence: -1,
	}
	h.encode(b)
	return seal(append(b, records...))
}

// Varints of the tables below, spelled as bytes: 0 is 0, 1 is -1, 2 is 1, 4 is 2.

// TestMalformedRecords holds one fault per row, each under a right length and
// checksum.
func TestMalformedRecords(t *testing.T) {
	var (
		overlong  = []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x00}                                     // 0 in six bytes
		huge      = []byte{0xfe, 0xff, 0xff, 0xff, 0x0f}                                           // 2^31-1
		minimum   = []byte{0xff, 0xff, 0xff, 0xff, 0x0f}                                           // -2^31
		overflow  = []byte{0xfe, 0xff, 0xff, 0xff, 0x1f}                                           // beyond 32 bits
		overlong8 = []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00}       // 0 in eleven bytes
		overflow8 = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}             // beyond 64 bits
		endless   = []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80} // no last byte
	)
	good := body{}
	tests := []struct {
		name    string
		records []byte
	}{
		{"null key and value", good.record()},
		{"length negative", []byte{1, 0, 0, 0, 1, 1, 0}},
		{"length minimum", slices.Concat(minimum, []byte{0, 0, 0, 1, 1, 0})},
		{"length zero", []byte{0, 0, 0, 0, 1, 1, 0}},
		{"length too small", []byte{10, 0, 0, 0, 1, 1, 0}},
		{"length beyond the batch", []byte{14, 0, 0, 0, 1, 1, 0}},
		{"length huge", slices.Concat(huge, []byte{0, 0, 0, 1, 1, 0})},
		{"length overlong", slices.Concat(overlong, []byte{0, 0, 0, 1, 1, 0})},
		{"length without end", endless},
		{"timestamp delta overlong", body{timestamp: overlong8}.record()},
		{"timestamp delta overflows", body{timestamp: overflow8}.record()},
		{"timestamp delta without end", body{timestamp: endless}.record()},
		{"offset delta negative", body{offset: []byte{1}}.record()},
		{"offset delta beyond the last", body{offset: []byte{2}}.record()},
		{"offset delta overflows", body{offset: overflow}.record()},
		{"key length below null", body{key: []byte{3}}.record()},
		{"key length minimum", body{key: minimum}.record()},
		{"key beyond the record", body{key: []byte{8}}.record()},
		{"key length huge", body{key: huge}.record()},
		{"key length overlong", body{key: overlong}.record()},
		{"value length below null", body{value: []byte{3}}.record()},
		{"value beyond the record", body{value: []byte{4}}.record()},
		{"value length huge", body{value: huge}.record()},
		{"header count negative", body{headers: []byte{1}}.record()},
		{"header count beyond the record", body{headers: []byte{2}}.record()},
		{"header count huge", body{headers: huge}.record()},
		{"header count below what is there", body{headers: []byte{0, 0, 0}}.record()},
		{"header count above what is there", body{headers: []byte{4, 0, 0}}.record()},
		{"header key null", body{headers: []byte{2, 1, 0}}.record()},
		{"header key beyond the record", body{headers: []byte{2, 4, 0}}.record()},
		{"header value below null", body{headers: []byte{2, 0, 3}}.record()},
		{"header value beyond the record", body{headers: []byte{2, 0, 4}}.record()},
		{"header value missing", body{headers: []byte{2, 0}}.record()},
		{"byte behind the headers", body{headers: []byte{2, 0, 0, 0}}.record()},
		{"byte behind the records", append(good.record(), 0)},
		{"no records", nil},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := ErrInvalid
			if i == 0 {
				want = nil
			}
			_, err := Validate(rawBatch(None, 1, 0, test.records))
			requireError(t, "Validate", err, want)
			_, err = tryReadAll(rawBatch(None, 1, 0, test.records))
			requireError(t, "Iterator", err, want)
		})
	}
}

// body is a record in its encoded fields; an unset one is 0 or null.
type body struct{ timestamp, offset, key, value, headers []byte }

func (f body) record() []byte {
	or := func(field []byte, standard byte) []byte {
		if field == nil {
			return []byte{standard}
		}
		return field
	}
	b := slices.Concat([]byte{0}, or(f.timestamp, 0), or(f.offset, 0), or(f.key, 1), or(f.value, 1), or(f.headers, 0))
	return append(appendVarint(nil, int64(len(b))), b...)
}

// TestOffsetDeltas: compaction may leave gaps, nothing may leave disorder.
func TestOffsetDeltas(t *testing.T) {
	tests := []struct {
		name   string
		deltas []byte // below 64
		last   int32
		ok     bool
	}{
		{"dense", []byte{0, 1, 2}, 2, true},
		{"gaps", []byte{1, 5, 9}, 12, true},
		{"none left", nil, 12, true},
		{"equal", []byte{0, 1, 1}, 2, false},
		{"falling", []byte{0, 2, 1}, 2, false},
		{"beyond the last", []byte{0, 1, 3}, 2, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var records []byte
			for _, delta := range test.deltas {
				records = append(records, body{offset: []byte{delta << 1}}.record()...)
			}
			got, err := tryReadAll(rawBatch(None, int32(len(test.deltas)), test.last, records))
			if (err == nil) != test.ok || err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			for i, r := range got {
				if r.Offset != record.Offset(test.deltas[i]) {
					t.Errorf("record %d has offset %d, want %d", i, r.Offset, test.deltas[i])
				}
			}
		})
	}
}

// TestValidateRefusesGaps: what is no disorder may still not be produced.
func TestValidateRefusesGaps(t *testing.T) {
	two := slices.Concat(body{offset: []byte{0}}.record(), body{offset: []byte{4}}.record())
	_, err := Validate(rawBatch(None, 2, 2, two))
	requireError(t, "Validate with a gap", err, ErrInvalid)
	_, err = Validate(rawBatch(None, 2, 1, two))
	requireError(t, "Validate with a gap behind a dense header", err, ErrInvalid)
}

// TestCountBeyondBytes: a count that cannot fit is refused before the first
// record, so nobody sizes anything by it.
func TestCountBeyondBytes(t *testing.T) {
	var it Iterator
	err := it.Reset(rawBatch(None, 2, 1, body{}.record()), nil)
	requireError(t, "Reset", err, ErrInvalid)
	if it.Next() || it.Header().Count != 2 {
		t.Fatalf("a record under header %+v", it.Header())
	}
}

// TestCountsRefused by Reset, before the first record.
func TestCountsRefused(t *testing.T) {
	records := slices.Concat(body{}.record(), body{offset: []byte{2}}.record())
	for _, test := range []struct{ count, lastDelta int32 }{{-1, 1}, {2, 0}, {0, -1}, {1, -1}} {
		b := rawBatch(None, test.count, test.lastDelta, records)
		err := new(Iterator).Reset(b, nil)
		requireError(t, "Reset", err, ErrInvalid)
		_, err = CheckCRC(b)
		requireError(t, "CheckCRC", err, ErrInvalid)
	}
}

// TestIteratorStopsAtTheBatch: what lies behind it is not its own.
func TestIteratorStopsAtTheBatch(t *testing.T) {
	for _, codec := range codecs {
		first := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 3)
		if got := readAll(t, slices.Concat(first, plainBatch(t))); len(got) != 3 {
			t.Errorf("%s: %d records", codec, len(got))
		}
	}
}

func TestTimestampWraps(t *testing.T) {
	b := rawBatch(None, 1, 0, body{timestamp: []byte{2}}.record())
	put[int64](posBaseTimestamp, math.MaxInt64)(b)
	seal(b)
	if got := readAll(t, b)[0].Timestamp; got != math.MinInt64 {
		t.Fatalf("timestamp %d, want that of Java, %d", got, int64(math.MinInt64))
	}
}

// TestNullAndEmpty are different, for keys, values and header values.
func TestNullAndEmpty(t *testing.T) {
	want := []record.Record{
		{Timestamp: 5},
		{Offset: 1, Timestamp: 4, Key: []byte{}, Value: []byte{}, Headers: []record.Header{{}, {Value: []byte{}}}},
	}
	builder := NewBuilder(BuilderOptions{ProducerID: NoProducerID})
	for _, r := range want {
		builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	b, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	var it Iterator
	if err := it.Reset(b, nil); err != nil {
		t.Fatal(err)
	}
	for i := 0; it.Next(); i++ {
		requireRecord(t, it.Record(), want[i])
	}
	if h := it.Header(); it.Err() != nil || h.BaseTimestamp != 5 || h.MaxTimestamp != 5 || h.Count != 2 {
		t.Fatalf("header %+v, error %v", h, it.Err())
	}
}

// TestHeadersStop: a caller may leave the loop.
func TestHeadersStop(t *testing.T) {
	var it Iterator
	if err := it.Reset(buildBatch(t, BuilderOptions{ProducerID: NoProducerID}, 3), nil); err != nil {
		t.Fatal(err)
	}
	for it.Next() {
	}
	seen := 0
	for key := range it.Record().Headers() {
		seen++
		if string(key) == "trace" {
			break
		}
	}
	if seen != 1 || it.Record().HeaderCount() != 2 {
		t.Fatalf("saw %d of %d headers", seen, it.Record().HeaderCount())
	}
}

// TestViewsCannotGrowIntoNeighbours: appending to a key must not reach the value.
func TestViewsCannotGrowIntoNeighbours(t *testing.T) {
	b := plainBatch(t)
	before := bytes.Clone(b)
	var it Iterator
	if err := it.Reset(b, nil); err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		v := it.Record()
		_, _ = append(v.Key, 'x'), append(v.Value, 'x')
		for key, value := range v.Headers() {
			_, _ = append(key, 'x'), append(value, 'x')
		}
	}
	if !bytes.Equal(b, before) {
		t.Fatal("the batch was written to")
	}
}

// TestIteratorAfterError: an iterator that failed, in Reset or in Next, says so
// until it is reset, and then works.
func TestIteratorAfterError(t *testing.T) {
	good := plainBatch(t)
	var it Iterator
	for name, bad := range map[string][]byte{
		"torn":    good[:70],
		"codec":   rawBatch(7, 1, 0, body{}.record()),
		"gzip":    rawBatch(Gzip, 1, 0, body{}.record()),
		"records": rawBatch(None, 1, 0, body{offset: []byte{2}}.record()),
	} {
		err := it.Reset(bad, nil)
		for range 2 {
			if it.Next() || it.Err() == nil || err != nil && !errors.Is(it.Err(), err) {
				t.Errorf("%s: Reset %v, Err %v", name, err, it.Err())
			}
		}
		if err := it.Reset(good, nil); err != nil || !it.Next() || it.Err() != nil {
			t.Errorf("after %s: %v, %v", name, err, it.Err())
		}
	}
	if new(Iterator).Next() {
		t.Error("an iterator without a batch has a record")
	}
}

// TestIteratingDoesNotAllocate, headers and Validate included.
func TestIteratingDoesNotAllocate(t *testing.T) {
	b := buildBatch(t, BuilderOptions{ProducerID: NoProducerID}, 300)
	var it Iterator
	bytesSeen := 0
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Validate(b); err != nil {
			t.Error(err)
		}
		if err := it.Reset(b, nil); err != nil {
			t.Error(err)
		}
		for it.Next() {
			r := it.Record()
			bytesSeen += len(r.Key) + len(r.Value)
			for key, value := range r.Headers() {
				bytesSeen += len(key) + len(value)
			}
		}
	})
	if allocs != 0 || bytesSeen == 0 {
		t.Fatalf("%v allocations for a batch of 300 records", allocs)
	}
}

// TestDecompressingReusesBuffers: after the first batch a Decoder has what it
// needs. What is left are small things inside the libraries, more of them under
// the race detector, which empties their pools.
func TestDecompressingReusesBuffers(t *testing.T) {
	const runs = 50
	for _, codec := range codecs {
		b := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 10000)
		var (
			it Iterator
			d  Decoder
		)
		read := func() error {
			if err := it.Reset(b, &d); err != nil {
				return err
			}
			for it.Next() {
			}
			return it.Err()
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
		output := uint64(len(it.records))
		allocated, err := allocatedBytes(func() (err error) {
			for range runs {
				err = errors.Join(err, read())
			}
			return err
		})
		if err != nil || allocated/runs > output/4 {
			t.Errorf("%s: %d bytes allocated per batch of %d, error %v", codec, allocated/runs, output, err)
		}
		t.Logf("%s: %d bytes allocated per batch of %d", codec, allocated/runs, output)
	}
}
