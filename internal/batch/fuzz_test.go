package batch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"millrace/record"
)

// What one input may cost at most: time on a busy machine, and memory above a
// multiple of the output limit.
const (
	fuzzTime        = 5 * time.Second
	fuzzMemory      = 24 << 20 // lz4 takes blocks of up to 8 MiB from a pool
	fuzzMemoryTimes = 4
)

// requireCheap runs f and fails when it took too long or allocated more than bound.
func requireCheap(t *testing.T, bound uint64, f func()) {
	t.Helper()
	start := time.Now()
	allocated, _ := allocatedBytes(func() error { f(); return nil })
	if took := time.Since(start); took > fuzzTime || allocated > bound {
		t.Fatalf("took %v and %d bytes of memory, at most %v and %d are allowed", took, allocated, fuzzTime, bound)
	}
}

// goldenBatches are all batches of real clients.
func goldenBatches(f *testing.F) [][]byte {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "golden", "*.bin"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no golden batches: %v", err)
	}
	var all [][]byte
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// FuzzValidate validates the bytes as they are, and once more with magic, length
// and checksum corrected, which lets mutations through to the deeper checks.
func FuzzValidate(f *testing.F) {
	for _, b := range goldenBatches(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		requireCheap(t, 1<<20, func() { checkValidate(t, b) })
		if len(b) >= HeaderSize {
			b = bytes.Clone(b)
			b[posMagic] = magic
			checkValidate(t, seal(b))
		}
		for part := range Split(b) {
			checkValidate(t, part)
		}
	})
}

// checkValidate holds what Validate promises: the batch is whole, readable, dense
// and the same to franz-go, and stays valid when the broker has patched it.
func checkValidate(t *testing.T, b []byte) {
	h, err := Validate(b)
	if err != nil {
		if h != (Header{}) {
			t.Fatalf("error %v with header %+v", err, h)
		}
		return
	}
	if checked, err := CheckCRC(b); err != nil || checked != h || h.Size() != len(b) {
		t.Fatalf("Validate reads %+v, CheckCRC %+v and error %v", h, checked, err)
	}
	if h.Codec() == None {
		checkDense(t, b, h)
	}
	patched := bytes.Clone(b)
	SetBaseOffset(patched, 5)
	SetLeaderEpoch(patched, 6)
	SetLogAppendTime(patched, 7)
	if h, err := Validate(patched); err != nil || h.BaseOffset != 5 || h.LeaderEpoch != 6 || h.MaxTimestamp != 7 || !h.LogAppendTime() {
		t.Fatalf("patched: header %+v, error %v", h, err)
	}
}

func checkDense(t *testing.T, b []byte, h Header) {
	records := readAll(t, b)
	if len(records) != int(h.Count) || records[len(records)-1].Offset != h.LastOffset() {
		t.Fatalf("%d records of %d, up to offset %d", len(records), h.Count, h.LastOffset())
	}
	h.Attributes &^= attrLogAppendTime
	rest := b[HeaderSize:]
	for i, r := range records {
		if r.Offset != h.BaseOffset+record.Offset(i) {
			t.Fatalf("record %d has offset %d", i, r.Offset)
		}
		theirs, behind := nextKmsgRecord(t, rest)
		r.Timestamp = record.Timestamp(h.BaseTimestamp + theirs.TimestampDelta64)
		requireKmsgRecord(t, theirs, h, i, r)
		rest = behind
	}
}

// FuzzIterate reads records under a header that need not fit them.
func FuzzIterate(f *testing.F) {
	for _, b := range goldenBatches(f) {
		h := decodeHeader(b)
		f.Add(uint8(h.Attributes), h.LastOffsetDelta, h.Count, b[HeaderSize:])
	}
	var (
		it Iterator
		d  Decoder
	)
	f.Fuzz(func(t *testing.T, attributes uint8, lastDelta, count int32, records []byte) {
		b := rawBatch(None, count, lastDelta, records)
		b[posAttributes+1] = attributes
		bound := fuzzMemory + fuzzMemoryTimes*uint64(d.limit(len(records)))
		requireCheap(t, bound, func() {
			err := it.Reset(b, &d)
			if seen := checkViews(t, &it); it.Err() == nil && seen != it.Header().Count {
				t.Fatalf("%d records of %d without an error", seen, it.Header().Count)
			}
			if err != nil && it.Err() == nil {
				t.Fatalf("Reset says %v, Err nothing", err)
			}
		})
	})
}

// checkViews reads every byte of every record.
func checkViews(t *testing.T, it *Iterator) (seen int32) {
	last := record.Offset(-1)
	var sum byte
	read := func(p []byte) {
		for _, c := range p {
			sum += c
		}
	}
	for ; it.Next(); seen++ {
		r := it.Record()
		if r.Offset <= last || r.Offset > it.Header().LastOffset() {
			t.Fatalf("offset %d behind %d, the last is %d", r.Offset, last, it.Header().LastOffset())
		}
		last = r.Offset
		read(r.Key)
		read(r.Value)
		headers := 0
		for key, value := range r.Headers() {
			read(key)
			read(value)
			headers++
			if key == nil {
				t.Fatal("a header has a null key")
			}
		}
		if headers != r.HeaderCount() {
			t.Fatalf("%d headers of %d", headers, r.HeaderCount())
		}
	}
	return seen
}

func FuzzDecompressGzip(f *testing.F)   { fuzzDecompress(f, Gzip) }
func FuzzDecompressSnappy(f *testing.F) { fuzzDecompress(f, Snappy) }
func FuzzDecompressLZ4(f *testing.F)    { fuzzDecompress(f, LZ4) }
func FuzzDecompressZstd(f *testing.F)   { fuzzDecompress(f, Zstd) }

// fuzzDecompress takes the input for compressed bytes, and once more for plain
// ones that must survive our compression. A Decoder that has seen every input
// before must answer as a fresh one.
func fuzzDecompress(f *testing.F, codec Codec) {
	for _, b := range goldenBatches(f) {
		if decodeHeader(b).Codec() == codec {
			f.Add(b[HeaderSize:])
		}
	}
	var (
		used Decoder
		e    encoder
	)
	f.Fuzz(func(t *testing.T, src []byte) {
		limit := used.limit(len(src))
		requireCheap(t, fuzzMemory+fuzzMemoryTimes*uint64(limit), func() {
			out, err := used.Decompress(codec, src)
			if err != nil && out != nil || len(out) > limit {
				t.Fatalf("%d bytes above the limit of %d, or beside the error %v", len(out), limit, err)
			}
		})
		var fresh Decoder
		want, wantErr := fresh.Decompress(codec, src)
		got, err := used.Decompress(codec, src)
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("a used Decoder gives %d bytes and %v, a fresh one %d and %v", len(got), err, len(want), wantErr)
		}
		packed, err := e.compress(nil, codec, src)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := used.Decompress(codec, packed); len(src) <= RatioFloor && (err != nil || !bytes.Equal(got, src)) {
			t.Fatalf("compressed and decompressed: %d bytes of %d, error %v", len(got), len(src), err)
		}
	})
}
