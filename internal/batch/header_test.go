package batch

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"millrace/record"
)

// buildBatch is a batch of n small records in memory of its own.
func buildBatch(t testing.TB, opts BuilderOptions, n int) []byte {
	t.Helper()
	builder := NewBuilder(opts)
	for i := range n {
		headers := []record.Header{{Key: "trace", Value: []byte{byte(i)}}, {Key: "none"}}[:i%3]
		builder.Append(record.Timestamp(1700000000000+i), []byte{'k', byte(i)}, []byte("value"), headers)
	}
	b, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), b...)
}

func plainBatch(t testing.TB) []byte {
	t.Helper()
	return buildBatch(t, BuilderOptions{ProducerID: NoProducerID}, 5)
}

func idempotentBatch(t testing.TB) []byte {
	t.Helper()
	return buildBatch(t, BuilderOptions{ProducerID: 42, ProducerEpoch: 3, BaseSequence: 7}, 5)
}

func put[T int8 | int16 | int32 | int64](pos int, v T) func(b []byte) {
	return func(b []byte) {
		if _, err := binary.Encode(b[pos:], binary.BigEndian, v); err != nil {
			panic(err)
		}
	}
}

func setAttributes(bits int16) func(b []byte) {
	return func(b []byte) { b[posAttributes], b[posAttributes+1] = byte(bits>>8), byte(bits) }
}

// TestEachHeaderFieldAlone writes one value into one field, corrects the
// checksum so that it cannot be what objects, and asks all three gates.
func TestEachHeaderFieldAlone(t *testing.T) {
	tests := []struct {
		name                      string
		batch                     func(testing.TB) []byte
		change                    func(b []byte)
		shape, checkCRC, validate error
	}{
		{"unchanged", plainBatch, func([]byte) {}, nil, nil, nil},
		{"unchanged, idempotent", idempotentBatch, func([]byte) {}, nil, nil, nil},

		{"base offset may be any", plainBatch, put[int64](0, 1<<40), nil, nil, nil},
		{"base offset negative", plainBatch, put[int64](0, -1), ErrCorrupt, ErrCorrupt, ErrCorrupt},
		{"base offset, last offset would overflow", plainBatch, put[int64](0, math.MaxInt64), ErrCorrupt, ErrCorrupt, ErrCorrupt},
		{"length negative", plainBatch, put[int32](posLength, -1), ErrCorrupt, ErrCorrupt, ErrCorrupt},
		{"length below the header", plainBatch, put[int32](posLength, 48), ErrCorrupt, ErrCorrupt, ErrCorrupt},
		{"length above the bytes", plainBatch, func(b []byte) { b[posLength+3]++ }, nil, ErrTorn, ErrTorn},
		{"length huge", plainBatch, put[int32](posLength, math.MaxInt32), nil, ErrTorn, ErrTorn},
		{"length below the bytes", plainBatch, func(b []byte) { b[posLength+3]-- }, nil, nil, ErrInvalid},
		{"leader epoch may be any", plainBatch, put[int32](posLeaderEpoch, -7), nil, nil, nil},
		{"magic 0", plainBatch, put[int8](posMagic, 0), ErrMagic, ErrMagic, ErrMagic},
		{"magic 1", plainBatch, put[int8](posMagic, 1), ErrMagic, ErrMagic, ErrMagic},
		{"magic 3", plainBatch, put[int8](posMagic, 3), ErrMagic, ErrMagic, ErrMagic},

		{"codec 5", plainBatch, setAttributes(5), nil, nil, ErrCodec},
		{"codec 6", plainBatch, setAttributes(6), nil, nil, ErrCodec},
		{"codec 7", plainBatch, setAttributes(7), nil, nil, ErrCodec},
		{"log append time is the caller's affair", plainBatch, setAttributes(attrLogAppendTime), nil, nil, nil},
		{"transactional without producer", plainBatch, setAttributes(attrTransactional), nil, nil, ErrInvalid},
		{"transactional", idempotentBatch, setAttributes(attrTransactional), nil, nil, nil},
		{"control is the caller's affair", idempotentBatch, setAttributes(attrControl), nil, nil, nil},
		{"unused attributes", plainBatch, setAttributes(-128), nil, nil, nil},

		{"last offset delta negative", plainBatch, put[int32](posLastOffsetDelta, -1), nil, ErrInvalid, ErrInvalid},
		{"last offset delta below count", plainBatch, put[int32](posLastOffsetDelta, 3), nil, ErrInvalid, ErrInvalid},
		{"last offset delta above count, as compacted", plainBatch, put[int32](posLastOffsetDelta, 5), nil, nil, ErrInvalid},
		{"base timestamp may be any", plainBatch, put[int64](posBaseTimestamp, math.MaxInt64), nil, nil, nil},
		{"max timestamp may be any", plainBatch, put[int64](posMaxTimestamp, -1), nil, nil, nil},

		{"producer id below none", plainBatch, put[int64](posProducerID, -2), nil, nil, ErrInvalid},
		{"producer id without epoch and sequence", plainBatch, put[int64](posProducerID, 42), nil, nil, ErrInvalid},
		{"producer id none, epoch and sequence left", idempotentBatch, put[int64](posProducerID, -1), nil, nil, nil},
		{"producer epoch negative", idempotentBatch, put[int16](posProducerEpoch, -1), nil, nil, ErrInvalid},
		{"producer epoch without producer", plainBatch, put[int16](posProducerEpoch, 0), nil, nil, nil},
		{"base sequence negative", idempotentBatch, put[int32](posBaseSequence, -1), nil, nil, ErrInvalid},
		{"base sequence wraps within the batch", idempotentBatch, put[int32](posBaseSequence, math.MaxInt32), nil, nil, nil},
		{"base sequence without producer", plainBatch, put[int32](posBaseSequence, 0), nil, nil, nil},

		{"count negative", plainBatch, put[int32](posCount, -1), nil, ErrInvalid, ErrInvalid},
		{"count zero, as compacted", plainBatch, put[int32](posCount, 0), nil, nil, ErrInvalid},
		{"count below last offset delta, as compacted", plainBatch, put[int32](posCount, 4), nil, nil, ErrInvalid},
		{"count above last offset delta", plainBatch, put[int32](posCount, 6), nil, ErrInvalid, ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := test.batch(t)
			test.change(b)
			fixCRC(b)
			_, err := ParseHeader(b)
			requireError(t, "ParseHeader", err, test.shape)
			_, err = CheckCRC(b)
			requireError(t, "CheckCRC", err, test.checkCRC)
			_, err = Validate(b)
			requireError(t, "Validate", err, test.validate)
		})
	}
}

// fixCRC corrects the checksum over what the length field says, if that is here.
func fixCRC(b []byte) {
	size := int64(int32(binary.BigEndian.Uint32(b[posLength:]))) + lengthEnd
	if size >= HeaderSize && size <= int64(len(b)) {
		writeCRC(b[:size])
	}
}

func requireError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestWrongChecksum changes the field that the table above always corrects.
func TestWrongChecksum(t *testing.T) {
	b := plainBatch(t)
	b[posCRC] ^= 1
	_, err := ParseHeader(b)
	requireError(t, "ParseHeader", err, nil)
	_, err = CheckCRC(b)
	requireError(t, "CheckCRC", err, ErrCorrupt)
	_, err = Validate(b)
	requireError(t, "Validate", err, ErrCorrupt)
}

// TestHeaderFields decodes a header in which every byte differs.
func TestHeaderFields(t *testing.T) {
	b := make([]byte, HeaderSize)
	for i := range b {
		b[i] = byte(i + 1)
	}
	b[posMagic] = magic
	want := Header{
		BaseOffset: 0x0102030405060708, Length: 0x090a0b0c, LeaderEpoch: 0x0d0e0f10, CRC: 0x12131415, Attributes: 0x1617,
		LastOffsetDelta: 0x18191a1b, BaseTimestamp: 0x1c1d1e1f20212223, MaxTimestamp: 0x2425262728292a2b,
		ProducerID: 0x2c2d2e2f30313233, ProducerEpoch: 0x3435, BaseSequence: 0x36373839, Count: 0x3a3b3c3d,
	}
	got, err := ParseHeader(b)
	if err != nil || got != want {
		t.Fatalf("got %+v and error %v, want %+v", got, err, want)
	}
	encoded := make([]byte, HeaderSize)
	got.encode(encoded)
	if string(encoded) != string(b) {
		t.Fatalf("encoded % x, want % x", encoded, b)
	}
	if got.Size() != 0x090a0b0c+12 || got.LastOffset() != 0x0102030405060708+0x18191a1b || got.Codec() != 7 {
		t.Fatalf("size %d, last offset %d, codec %d", got.Size(), got.LastOffset(), got.Codec())
	}
}

func TestAttributes(t *testing.T) {
	for bits, want := range map[int16][3]bool{ // log append time, transactional, control
		0: {}, 0x07: {}, 0x08: {true}, 0x10: {1: true}, 0x20: {2: true}, 0x40: {}, -1: {true, true, true},
	} {
		h := Header{Attributes: bits}
		if got := [3]bool{h.LogAppendTime(), h.Transactional(), h.Control()}; got != want {
			t.Errorf("attributes %#x: got %v, want %v", bits, got, want)
		}
	}
}

// TestPatchInPlace shows which bytes the broker's three patches touch.
func TestPatchInPlace(t *testing.T) {
	tests := []struct {
		name  string
		patch func(b []byte)
		spans [][2]int // from, to
	}{
		{"base offset", func(b []byte) { SetBaseOffset(b, 0x0102030405060708) }, [][2]int{{0, 8}}},
		{"leader epoch", func(b []byte) { SetLeaderEpoch(b, 0x01020304) }, [][2]int{{12, 16}}},
		{"log append time", func(b []byte) { SetLogAppendTime(b, 0x0102030405060708) }, [][2]int{{17, 23}, {35, 43}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := idempotentBatch(t)
			after := append([]byte(nil), before...)
			test.patch(after)
			changed := false
			for i := range after {
				inside := false
				for _, span := range test.spans {
					inside = inside || i >= span[0] && i < span[1]
				}
				if after[i] != before[i] && !inside {
					t.Errorf("byte %d changed", i)
				}
				changed = changed || after[i] != before[i]
			}
			if _, err := Validate(after); err != nil || !changed {
				t.Errorf("changed %v, then %v", changed, err)
			}
		})
	}
}

// TestSetLogAppendTime: every record reads as the broker's clock, for every
// codec, and the codec bits survive.
func TestSetLogAppendTime(t *testing.T) {
	const now = 1800000000000
	for _, codec := range codecs {
		b := buildBatch(t, BuilderOptions{Codec: codec, ProducerID: NoProducerID}, 5)
		SetLogAppendTime(b, now)
		h, err := Validate(b)
		if err != nil || h.MaxTimestamp != now || !h.LogAppendTime() || h.Codec() != codec || h.BaseTimestamp != 1700000000000 {
			t.Fatalf("%s: header %+v, error %v", codec, h, err)
		}
		for _, r := range readAll(t, b) {
			if r.Timestamp != now {
				t.Errorf("%s: record %d has timestamp %d, want %d", codec, r.Offset, r.Timestamp, now)
			}
		}
	}
}

// readAll is a copy of a batch's records.
func readAll(t testing.TB, b []byte) []record.Record {
	t.Helper()
	records, err := tryReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func tryReadAll(b []byte) ([]record.Record, error) {
	var it Iterator
	if err := it.Reset(b, nil); err != nil {
		return nil, err
	}
	var records []record.Record
	for it.Next() {
		records = append(records, copyRecord(it.Record()))
	}
	return records, it.Err()
}

func copyRecord(v View) record.Record {
	r := record.Record{Offset: v.Offset, Timestamp: v.Timestamp, Key: copyBytes(v.Key), Value: copyBytes(v.Value)}
	for key, value := range v.Headers() {
		r.Headers = append(r.Headers, record.Header{Key: string(key), Value: copyBytes(value)})
	}
	return r
}

func copyBytes(p []byte) []byte {
	if p == nil {
		return nil
	}
	return append([]byte{}, p...)
}
