package batch

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"millrace/record"
)

func TestBuilderHeader(t *testing.T) {
	builder := NewBuilder(BuilderOptions{Codec: LZ4, ProducerID: 42, ProducerEpoch: 3, BaseSequence: 7, Transactional: true})
	for _, ts := range []record.Timestamp{50, 70, 40} {
		builder.Append(ts, nil, []byte("v"), nil)
	}
	b, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Validate(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		Length: int32(len(b) - 12), LeaderEpoch: -1, CRC: got.CRC, Attributes: 0x13, LastOffsetDelta: 2,
		BaseTimestamp: 50, MaxTimestamp: 70, ProducerID: 42, ProducerEpoch: 3, BaseSequence: 7, Count: 3,
	}
	if got != want {
		t.Fatalf("header %+v, want %+v", got, want)
	}
}

// TestBuilderRefuses what it could only build wrongly.
func TestBuilderRefuses(t *testing.T) {
	tests := []struct {
		name string
		opts BuilderOptions
		want error
	}{
		{"plain", BuilderOptions{ProducerID: NoProducerID}, nil},
		{"codec 5", BuilderOptions{ProducerID: NoProducerID, Codec: 5}, ErrCodec},
		{"codec 8, a bit of another attribute", BuilderOptions{ProducerID: NoProducerID, Codec: 8}, ErrCodec},
		{"codec -1", BuilderOptions{ProducerID: NoProducerID, Codec: -1}, ErrCodec},
		{"producer id below none", BuilderOptions{ProducerID: -2}, ErrInvalid},
		{"producer epoch negative", BuilderOptions{ProducerEpoch: -1}, ErrInvalid},
		{"base sequence negative", BuilderOptions{BaseSequence: -1}, ErrInvalid},
		{"base sequence of a marker", BuilderOptions{BaseSequence: -1, Control: true}, nil},
		{"transactional without producer", BuilderOptions{ProducerID: NoProducerID, Transactional: true}, ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			builder := NewBuilder(test.opts)
			_, err := builder.Build()
			if err == nil {
				t.Error("a batch without records was built")
			}
			builder.Append(0, nil, nil, nil)
			b, err := builder.Build()
			requireError(t, "Build", err, test.want)
			if err == nil {
				_, err = Validate(b)
				requireError(t, "Validate", err, nil)
			}
		})
	}
}

// TestBuilderReuse: a batch does not depend on what was built before, and
// building twice gives the same.
func TestBuilderReuse(t *testing.T) {
	used := NewBuilder(BuilderOptions{Codec: Zstd, ProducerID: 9, BaseSequence: 5, Control: true})
	for range 1000 {
		used.Append(math.MaxInt64, []byte("key"), []byte("value"), []record.Header{{Key: "h"}})
	}
	if _, err := used.Build(); err != nil {
		t.Fatal(err)
	}
	for _, codec := range codecs {
		opts := BuilderOptions{Codec: codec, ProducerID: NoProducerID}
		want := buildBatch(t, opts, 1)
		used.Reset(opts)
		if used.Len() != 0 || used.SizeBytes() != HeaderSize {
			t.Fatalf("after Reset: %d records, %d bytes", used.Len(), used.SizeBytes())
		}
		used.Append(1700000000000, []byte{'k', 0}, []byte("value"), nil)
		for range 2 {
			got, err := used.Build()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: built % x and error %v, want % x", codec, got, err, want)
			}
		}
		if used.Len() != 1 || used.SizeBytes() != len(buildBatch(t, BuilderOptions{ProducerID: NoProducerID}, 1)) {
			t.Errorf("%s: %d records, %d bytes", codec, used.Len(), used.SizeBytes())
		}
	}
}

// TestBuilderCopies: the caller's slices are free after Append.
func TestBuilderCopies(t *testing.T) {
	key, value := []byte("key"), []byte("value")
	headers := []record.Header{{Key: "h", Value: []byte("x")}}
	builder := NewBuilder(BuilderOptions{ProducerID: NoProducerID})
	builder.Append(1, key, value, headers)
	copy(key, "xxx")
	copy(value, "xxxxx")
	headers[0].Value[0] = 'y'
	b, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	got := readAll(t, b)[0]
	if string(got.Key) != "key" || string(got.Value) != "value" || string(got.Headers[0].Value) != "x" {
		t.Fatalf("got %+v", got)
	}
}

// TestBuildingDoesNotAllocate once the buffers have grown. Compression libraries
// may refill pools that the race detector empties.
func TestBuildingDoesNotAllocate(t *testing.T) {
	values := benchValues(300)
	for _, codec := range codecs {
		opts := BuilderOptions{Codec: codec, ProducerID: NoProducerID}
		builder := NewBuilder(opts)
		allocs := testing.AllocsPerRun(50, func() {
			builder.Reset(opts)
			appendAll(builder, values)
			if _, err := builder.Build(); err != nil {
				t.Error(err)
			}
		})
		if codec == None && allocs != 0 || allocs > 4 {
			t.Errorf("%s: %v allocations per batch of 300 records", codec, allocs)
		}
	}
}

// TestVarintSizes compares varintSize with what is written, at every bit length.
func TestVarintSizes(t *testing.T) {
	for shift := range 64 {
		for _, v := range []int64{1 << shift, 1<<shift - 1, -1 << shift, -1<<shift - 1} {
			b := appendVarint(nil, v)
			got, next := varint64(append(b, 0xff), 0)
			if len(b) != varintSize(v) || got != v || next != len(b) {
				t.Errorf("%d: % x, size %d, read as %d up to %d", v, b, varintSize(v), got, next)
			}
			got32, next := varint32(b, 0)
			if fits := v == int64(int32(v)); fits && (int64(got32) != v || next != len(b)) || !fits && next != malformed {
				t.Errorf("%d as int32: read as %d up to %d", v, got32, next)
			}
		}
	}
}

func TestParseControl(t *testing.T) {
	tests := []struct {
		key     []byte
		version int16
		kind    ControlType
		err     error
	}{
		{[]byte{0, 0, 0, 0}, 0, ControlAbort, nil},
		{[]byte{0, 0, 0, 1}, 0, ControlCommit, nil},
		{[]byte{0, 0, 0, 2}, 0, 2, nil},
		{[]byte{0, 1, 0, 1, 9, 9}, 1, ControlCommit, nil},
		{[]byte{0, 0, 0}, 0, 0, ErrInvalid},
		{nil, 0, 0, ErrInvalid},
		{[]byte{0xff, 0xff, 0, 1}, 0, 0, ErrInvalid},
	}
	for _, test := range tests {
		version, kind, err := ParseControl(test.key)
		if kind != test.kind || !errors.Is(err, test.err) || err == nil && version != test.version {
			t.Errorf("% x: version %d, type %d, error %v", test.key, version, kind, err)
		}
	}
}

func TestParseEndTxnSkipsAndRefuses(t *testing.T) {
	value := []byte{0, 0, 0, 0, 0, 9}
	if _, ok, err := ParseEndTxn([]byte{0, 0, 0, 2}, nil); ok || err != nil {
		t.Errorf("a control record of another type: %v, %v", ok, err)
	}
	if m, ok, err := ParseEndTxn([]byte{0, 1, 0, 1, 7}, append(value, 1)); !ok || err != nil || m != (EndTxn{true, 9}) {
		t.Errorf("a marker of a later version: %+v, %v, %v", m, ok, err)
	}
	for _, bad := range []struct{ key, value []byte }{{[]byte{0, 0, 0}, value}, {[]byte{0, 0, 0, 1}, value[:5]}, {[]byte{0, 0, 0, 0}, nil}} {
		if _, ok, err := ParseEndTxn(bad.key, bad.value); ok || !errors.Is(err, ErrInvalid) {
			t.Errorf("% x, % x: %v, %v", bad.key, bad.value, ok, err)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for codec, want := range map[Codec]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd", 6: "codec 6"} {
		if got := codec.String(); got != want {
			t.Errorf("%d is %q, want %q", codec, got, want)
		}
	}
}
