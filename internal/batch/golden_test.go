package batch

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/record"
)

// golden is a batch that a real client made; testdata/golden/README.md says which
// and with what in it.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenRecords are what each client was given.
func goldenRecords() []record.Record {
	return []record.Record{
		{Timestamp: 1700000000000, Value: []byte(`{"user_id":"user_123","timestamp":1700000000000,"page":"home"}`)},
		{Offset: 1, Timestamp: 1700000000001, Key: []byte("user_1")},
		{Offset: 2, Timestamp: 1700000070000, Key: []byte{}, Value: []byte{}, Headers: []record.Header{
			{Key: "trace", Value: []byte("ä1")}, {Key: "trace"}, {Key: "", Value: []byte{}},
		}},
		{Offset: 3, Timestamp: 1699999999999, Key: []byte("k"), Value: []byte(strings.Repeat("x", 300))},
	}
}

// TestProducedByRealClients: with every codec of three clients.
func TestProducedByRealClients(t *testing.T) {
	for _, client := range []string{"java", "librdkafka", "kafkapython"} {
		for _, codec := range codecs {
			name := client + "-" + codec.String()
			t.Run(name, func(t *testing.T) {
				b := golden(t, name)
				h, err := Validate(b)
				if err != nil {
					t.Fatal(err)
				}
				if h.Codec() != codec || h.Size() != len(b) || h.MaxTimestamp != 1700000070000 || h.BaseTimestamp != 1700000000000 {
					t.Errorf("header %+v", h)
				}
				if idempotent := client != "librdkafka"; (h.ProducerID != NoProducerID) != idempotent {
					t.Errorf("producer %d", h.ProducerID)
				}
				want := goldenRecords()
				if client == "kafkapython" {
					want[2].Headers[1].Value = []byte{} // it sends no null there
				}
				requireRecords(t, b, want)
			})
		}
	}
}

func requireRecords(t *testing.T, b []byte, want []record.Record) {
	t.Helper()
	var it Iterator
	if err := it.Reset(b, nil); err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if !it.Next() {
			t.Fatalf("record %d is missing: %v", i, it.Err())
		}
		requireRecord(t, it.Record(), w)
	}
	if it.Next() || it.Err() != nil {
		t.Fatalf("behind the last record: %v", it.Err())
	}
}

// TestBuilderMatchesJava: uncompressed, our batch is the JVM client's, byte for
// byte.
func TestBuilderMatchesJava(t *testing.T) {
	builder := NewBuilder(BuilderOptions{ProducerID: NoProducerID})
	for _, r := range goldenRecords() {
		builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	got, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(t, "java-plain"); !bytes.Equal(got, want) {
		t.Fatalf("built\n% x, Java sends\n% x", got, want)
	}
}

// TestFramesMatchJava: the compressed records start as the JVM client's do, so its
// readers meet frames of the kind that they know.
func TestFramesMatchJava(t *testing.T) {
	for codec, size := range map[Codec]int{Gzip: 4, Snappy: xerialHeader, LZ4: 7, Zstd: 4} {
		ours, javas := buildGolden(t, codec)[HeaderSize:], golden(t, "java-"+codec.String())[HeaderSize:]
		if !bytes.Equal(ours[:size], javas[:size]) {
			t.Errorf("%s: ours start with % x, Java's with % x", codec, ours[:size], javas[:size])
		}
	}
}

// TestStoredByKafka reads what only a log holds: markers, log append time and what
// compaction leaves behind. CheckCRC accepts all of it, Validate no gaps.
func TestStoredByKafka(t *testing.T) {
	pair := func(i byte, ts record.Timestamp) record.Record {
		return record.Record{Offset: 100 + record.Offset(i), Timestamp: ts, Key: []byte{'k', '0' + i}, Value: []byte{'v', '0' + i}}
	}
	compacted := []record.Record{pair(1, 1700000000001), pair(4, 1700000000004)}
	var appended []record.Record
	for i := range byte(6) {
		appended = append(appended, pair(i, 1700000009999))
	}
	tests := []struct {
		name     string
		validate error
		last     record.Offset
		want     []record.Record
	}{
		{"stored-logappend", nil, 105, appended},
		{"stored-compacted", ErrInvalid, 105, compacted},
		{"stored-compacted-lz4", ErrInvalid, 105, compacted},
		{"stored-horizon", ErrInvalid, 105, compacted},
		{"stored-empty", ErrInvalid, 105, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := golden(t, test.name)
			h, err := CheckCRC(b)
			if err != nil || h.LastOffset() != test.last || h.ProducerID != 42 || h.ProducerEpoch != 3 || h.BaseSequence != 7 || h.LeaderEpoch != 5 {
				t.Fatalf("header %+v, error %v", h, err)
			}
			_, err = Validate(b)
			requireError(t, "Validate", err, test.validate)
			requireRecords(t, b, test.want)
		})
	}
}

func TestStoredMarkers(t *testing.T) {
	for name, want := range map[string]ControlType{"stored-commit": ControlCommit, "stored-abort": ControlAbort} {
		b := golden(t, name)
		h, err := Validate(b)
		if err != nil || !h.Control() || !h.Transactional() || h.BaseSequence != -1 {
			t.Fatalf("%s: header %+v, error %v", name, h, err)
		}
		r := readAll(t, b)[0]
		version, kind, err := ParseControl(r.Key)
		if err != nil || version != 0 || kind != want {
			t.Errorf("%s: version %d, type %d, error %v", name, version, kind, err)
		}
		marker, ok, err := ParseEndTxn(r.Key, r.Value)
		if err != nil || !ok || marker.Commit != (want == ControlCommit) || marker.CoordinatorEpoch != 11 {
			t.Errorf("%s: %+v, %v, %v", name, marker, ok, err)
		}
		if key, value := marker.Encode(); !bytes.Equal(key, r.Key) || !bytes.Equal(value, r.Value) {
			t.Errorf("%s: encoded again % x, % x", name, key, value)
		}
	}
}
