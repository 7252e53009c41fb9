package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// TestDecompress reads every form of each codec that a client may send.
func TestDecompress(t *testing.T) {
	plain := []byte(strings.Repeat(`{"user_id":"u000017","page":"home"}`, 5000)) // 170 kB: several blocks of each codec
	for _, form := range compressedForms(t, plain) {
		t.Run(form.name, func(t *testing.T) {
			var d Decoder
			for range 2 { // with a fresh and with a used Decoder
				got, err := d.Decompress(form.codec, form.bytes)
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%d bytes and error %v, want %d bytes", len(got), err, len(plain))
				}
			}
		})
	}
}

type form struct {
	name  string
	codec Codec
	bytes []byte
}

func compressedForms(t *testing.T, plain []byte) []form {
	t.Helper()
	half := len(plain) / 2
	forms := []form{
		{"none", None, plain},
		{"snappy raw", Snappy, s2.EncodeSnappy(nil, plain)},
		{"snappy xerial", Snappy, appendXerial(nil, plain)},
		{"gzip", Gzip, gzipped(t, plain)},
		{"gzip of two members", Gzip, append(gzipped(t, plain[:half]), gzipped(t, plain[half:])...)},
		{"zstd with size", Zstd, zstdAll(t, plain)},
		{"zstd streamed, without size", Zstd, zstdStreamed(t, plain)},
		{"zstd behind a frame to skip", Zstd, append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'x', 'x'}, zstdAll(t, plain)...)},
		{"zstd of two frames", Zstd, append(zstdAll(t, plain[:half]), zstdStreamed(t, plain[half:])...)},
		{"lz4", LZ4, lz4Framed(t, plain)},
		{"lz4 of 4 MiB blocks with checksum and size", LZ4, lz4Framed(t, plain, lz4.BlockSizeOption(lz4.Block4Mb), lz4.ChecksumOption(true), lz4.SizeOption(uint64(len(plain))))},
		{"lz4 of two frames", LZ4, append(lz4Framed(t, plain[:half]), lz4Framed(t, plain[half:])...)},
	}
	for _, codec := range codecs[1:] {
		var e encoder
		packed, err := e.compress(nil, codec, plain)
		if err != nil {
			t.Fatal(err)
		}
		forms = append(forms, form{"our " + codec.String(), codec, packed})
	}
	return forms
}

func gzipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(plain)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdAll(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

func zstdStreamed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for piece := range slices.Chunk(plain, 1<<20) {
		if _, err := w.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func lz4Framed(t testing.TB, plain []byte, options ...lz4.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	err := w.Apply(options...)
	_, err2 := w.Write(plain)
	if err := errors.Join(err, err2, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestDecompressRefuses damaged bytes and other codecs' bytes, without panic.
func TestDecompressRefuses(t *testing.T) {
	plain := []byte(strings.Repeat("0123456789", 100))
	var d Decoder
	for _, form := range compressedForms(t, plain)[1:] {
		for size := range form.bytes {
			out, err := d.Decompress(form.codec, form.bytes[:size])
			if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s cut to %d: %v", form.name, size, err)
			}
			if err == nil && len(out) >= len(plain) {
				t.Errorf("%s cut to %d of %d still gives everything", form.name, size, len(form.bytes))
			}
		}
		for _, codec := range codecs[1:] {
			if _, err := d.Decompress(codec, form.bytes); codec != form.codec && err == nil {
				t.Errorf("%s is accepted as %s", form.name, codec)
			}
		}
	}
	for _, codec := range []Codec{-1, 5, 7} {
		if _, err := d.Decompress(codec, plain); !errors.Is(err, ErrCodec) {
			t.Errorf("%s: %v", codec, err)
		}
	}
	if _, err := d.Decompress(Snappy, []byte(xerialMagic+"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00")); !errors.Is(err, ErrInvalid) {
		t.Errorf("xerial frame with two bytes of a length: %v", err)
	}
}

// TestLimits stands at both bounds, one byte below and above, with every codec:
// with a declared size and without.
func TestLimits(t *testing.T) {
	const (
		maxBytes = 6 << 20
		ratio    = 30
	)
	noise := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	forms := map[string]func(plain []byte) (Codec, []byte){
		"gzip":            func(p []byte) (Codec, []byte) { return Gzip, gzipped(t, p) },
		"snappy raw":      func(p []byte) (Codec, []byte) { return Snappy, s2.EncodeSnappy(nil, p) },
		"snappy xerial":   func(p []byte) (Codec, []byte) { return Snappy, appendXerial(nil, p) },
		"lz4":             func(p []byte) (Codec, []byte) { return LZ4, lz4Framed(t, p) },
		"lz4 with size":   func(p []byte) (Codec, []byte) { return LZ4, lz4Framed(t, p, lz4.SizeOption(uint64(len(p)))) },
		"zstd with size":  func(p []byte) (Codec, []byte) { return Zstd, zstdAll(t, p) },
		"zstd streamed":   func(p []byte) (Codec, []byte) { return Zstd, zstdStreamed(t, p) },
		"zstd two frames": func(p []byte) (Codec, []byte) { return Zstd, append(zstdAll(t, p[:9]), zstdAll(t, p[9:])...) },
	}
	for name, compress := range forms {
		t.Run(name, func(t *testing.T) {
			for _, test := range []struct {
				name  string
				plain []byte
				ok    bool
			}{
				{"noise at the limit", noise[:maxBytes], true},
				{"noise above the limit", noise[:maxBytes+1], false},
				{"zeros at the floor", make([]byte, RatioFloor), true},
				{"zeros above floor and ratio", make([]byte, RatioFloor+1), compressesLess(compress, RatioFloor+1, ratio)},
			} {
				d := Decoder{MaxBytes: maxBytes, MaxRatio: ratio}
				codec, packed := compress(test.plain)
				out, err := d.Decompress(codec, packed)
				if test.ok && (err != nil || !bytes.Equal(out, test.plain)) {
					t.Errorf("%s: %d bytes and error %v", test.name, len(out), err)
				}
				if !test.ok && !errors.Is(err, ErrTooLarge) {
					t.Errorf("%s: %d bytes and error %v, want ErrTooLarge", test.name, len(out), err)
				}
			}
		})
	}
}

// compressesLess says that size zeros stay within the ratio: snappy does.
func compressesLess(compress func([]byte) (Codec, []byte), size, ratio int) bool {
	_, packed := compress(make([]byte, size))
	return len(packed)*ratio >= size
}

func TestDefaultLimits(t *testing.T) {
	for _, test := range []struct {
		d          Decoder
		size, want int
	}{
		{Decoder{}, 0, RatioFloor},
		{Decoder{}, RatioFloor / 100, RatioFloor},
		{Decoder{}, 50 << 10, 100 * 50 << 10},
		{Decoder{}, 1 << 20, 64 << 20},
		{Decoder{}, 1 << 62, 64 << 20},
		{Decoder{MaxBytes: 1 << 20}, 10, 1 << 20},
		{Decoder{MaxRatio: 2}, 3 << 20, 6 << 20},
		{Decoder{MaxBytes: 10, MaxRatio: 20}, 0, 10},
	} {
		if got := test.d.limit(test.size); got != test.want {
			t.Errorf("%+v: limit of %d bytes is %d, want %d", test.d, test.size, got, test.want)
		}
	}
}

// maxBombCost is the memory that any small input may cost.
const maxBombCost = 64 << 20

// TestBombs decompresses inputs of 20 kB at most that want to become up to
// gigabytes: each is refused, and quickly, before memory is spent on it.
func TestBombs(t *testing.T) {
	const size = 10 << 10
	for _, bomb := range []struct {
		form
		want error
		cost uint64 // at most, in bytes; little where a size is declared
	}{
		{form{"gzip of 10 MB zeros", Gzip, gzipped(t, make([]byte, 10<<20))}, ErrTooLarge, maxBombCost},
		{form{"gzip with an innocent trailer", Gzip, lyingGzip(t)}, ErrTooLarge, maxBombCost},
		{form{"gzip of many members", Gzip, bytes.Repeat(gzipped(t, make([]byte, 1<<20)), 10)}, ErrTooLarge, maxBombCost},
		{form{"snappy declaring 4 GiB", Snappy, snappyDeclaring(1<<32 - 1)}, ErrTooLarge, 1 << 20},
		{form{"snappy declaring more than it has, below the floor", Snappy, snappyDeclaring(RatioFloor)}, ErrInvalid, maxBombCost},
		{form{"xerial declaring 4 TiB", Snappy, xerialDeclaring(1<<32-1, size)}, ErrTooLarge, 1 << 20},
		{form{"xerial declaring 4 GiB in small blocks", Snappy, xerialDeclaring(4<<20, size)}, ErrTooLarge, 1 << 20},
		{form{"lz4 declaring 2^63 bytes", LZ4, lz4Declaring(1 << 63)}, ErrTooLarge, 1 << 20},
		{form{"lz4 declaring 1 GiB", LZ4, lz4Declaring(1 << 30)}, ErrTooLarge, 1 << 20},
		{form{"lz4 of 5 MB zeros", LZ4, lz4Framed(t, make([]byte, 5<<20))}, ErrTooLarge, maxBombCost},
		{form{"lz4 frames of 4 MiB blocks", LZ4, bytes.Repeat(lz4Framed(t, make([]byte, 1<<20), lz4.BlockSizeOption(lz4.Block4Mb)), 5)}, ErrTooLarge, maxBombCost},
		{form{"zstd declaring 2^62 bytes", Zstd, zstdFrame(1<<62, size/4)}, ErrTooLarge, 1 << 20},
		{form{"zstd declaring 2^63 bytes twice", Zstd, bytes.Repeat(zstdFrame(1<<63, 1), 2)}, ErrTooLarge, 1 << 20},
		{form{"zstd declaring 1 GiB", Zstd, zstdFrame(1<<30, size/4)}, ErrTooLarge, 1 << 20},
		{form{"zstd of 320 MB in runs, nothing declared", Zstd, zstdFrame(0, size/4)}, ErrTooLarge, 1 << 20},
		{form{"zstd of 63 MB in compressed blocks", Zstd, zstdStreamed(t, bytes.Repeat([]byte("abc"), 21<<20))}, ErrTooLarge, maxBombCost},
		{form{"zstd frames of runs", Zstd, bytes.Repeat(zstdFrame(0, 20), 100)}, ErrTooLarge, 1 << 20},
		{form{"zstd declaring a window of 2 TiB", Zstd, zstdWindow(0xf8)}, ErrInvalid, 1 << 20},
	} {
		t.Run(bomb.name, func(t *testing.T) {
			if len(bomb.bytes) > 21<<10 {
				t.Fatalf("the bomb has %d bytes", len(bomb.bytes))
			}
			var d Decoder
			start := time.Now()
			allocated, err := allocatedBytes(func() error {
				_, err := d.Decompress(bomb.codec, bomb.bytes)
				return err
			})
			requireError(t, "Decompress", err, bomb.want)
			if allocated > bomb.cost {
				t.Errorf("cost %d bytes of memory", allocated)
			}
			t.Logf("%d bytes: %v; %.1f MiB, %v", len(bomb.bytes), err, float64(allocated)/(1<<20), time.Since(start))
		})
	}
}

// allocatedBytes is what f allocated, garbage included.
func allocatedBytes(f func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// lyingGzip is 10 MB of zeros whose trailer says 1 kB.
func lyingGzip(t *testing.T) []byte {
	b := gzipped(t, make([]byte, 10<<20))
	binary.LittleEndian.PutUint32(b[len(b)-4:], 1<<10)
	return b
}

func snappyDeclaring(size uint64) []byte {
	return append(binary.AppendUvarint(nil, size), 0, 'x')
}

// xerialDeclaring is a frame of about total bytes whose blocks declare each.
func xerialDeclaring(each uint64, total int) []byte {
	b := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1)
	block := snappyDeclaring(each)
	for len(b) < total {
		b = binary.BigEndian.AppendUint32(b, uint32(len(block)))
		b = append(b, block...)
	}
	return b
}

// lz4Declaring is an empty frame that declares size bytes, its header checksum
// right: 64 KiB blocks, independent, content size present.
func lz4Declaring(size uint64) []byte {
	descriptor := binary.LittleEndian.AppendUint64([]byte{0x68, 0x40}, size)
	b := append([]byte{0x04, 0x22, 0x4d, 0x18}, descriptor...)
	b = append(b, byte(xxh32(descriptor)>>8))
	return append(b, 0, 0, 0, 0)
}

// xxh32 is xxHash32 with seed 0 for inputs below 16 bytes, as the lz4 frame
// format needs it for its header.
func xxh32(b []byte) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	h := p5 + uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		h += binary.LittleEndian.Uint32(b) * p3
		h = (h<<17 | h>>15) * p4
	}
	for _, c := range b {
		h += uint32(c) * p5
		h = (h<<11 | h>>21) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}

// zstdFrame is a frame of runs of 128 KiB, four bytes each. A size of 0 is not
// declared.
func zstdFrame(size uint64, runs int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd}
	if size == 0 {
		b = append(b, 0x00, 0x58) // a window of 2 MiB
	} else {
		b = append(b, 0xc0, 0x58)
		b = binary.LittleEndian.AppendUint64(b, size)
	}
	const run, last = 1 << 1, 1
	for i := range runs {
		head := uint32(128<<10)<<3 | run
		if i == runs-1 {
			head |= last
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 'x')
	}
	return b
}

func zstdWindow(descriptor byte) []byte {
	b := zstdFrame(0, 1)
	b[5] = descriptor
	return b
}

// TestTrailerIsNoProof: a damaged trailer does not cost what it says.
func TestTrailerIsNoProof(t *testing.T) {
	b := gzipped(t, []byte("small"))
	binary.LittleEndian.PutUint32(b[len(b)-4:], RatioFloor)
	var d Decoder
	allocated, err := allocatedBytes(func() error {
		_, err := d.Decompress(Gzip, b)
		return err
	})
	if !errors.Is(err, ErrInvalid) || allocated > 2*mostBytes {
		t.Fatalf("error %v, cost %d bytes", err, allocated)
	}
}

// TestLargestFrame: even a bomb that fills the largest request costs a small
// multiple of the output limit.
func TestLargestFrame(t *testing.T) {
	bomb := zstdFrame(0, 4<<20) // 16 MiB that want to become 512 GiB
	var d Decoder
	allocated, err := allocatedBytes(func() error {
		_, err := d.Decompress(Zstd, bomb)
		return err
	})
	if !errors.Is(err, ErrTooLarge) || allocated > 4*DefaultMaxBytes {
		t.Fatalf("error %v, cost %d bytes", err, allocated)
	}
}

// TestNestedCompression: what comes out of a codec is records, whatever it looks
// like, so layers of compression are never unpacked.
func TestNestedCompression(t *testing.T) {
	inner := buildBatch(t, BuilderOptions{Codec: Zstd, ProducerID: NoProducerID}, 5)
	for _, payload := range [][]byte{inner, inner[HeaderSize:], zstdFrame(0, 2500)} {
		for _, codec := range codecs[1:] {
			var e encoder
			packed, err := e.compress(nil, codec, payload)
			if err != nil {
				t.Fatal(err)
			}
			allocated, err := allocatedBytes(func() error {
				_, err := tryReadAll(rawBatch(codec, 5, 4, packed))
				return err
			})
			if !errors.Is(err, ErrInvalid) || allocated > 8<<20 {
				t.Errorf("%s: error %v, cost %d bytes", codec, err, allocated)
			}
		}
	}
}

// TestDecoderForgetsLargeOutput: one large batch does not hold its memory.
func TestDecoderForgetsLargeOutput(t *testing.T) {
	var d Decoder
	if _, err := d.Decompress(Snappy, s2.EncodeSnappy(nil, make([]byte, 2*keptBytes))); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decompress(Snappy, s2.EncodeSnappy(nil, []byte("small"))); err != nil {
		t.Fatal(err)
	}
	if cap(d.buf) > keptBytes {
		t.Fatalf("%d bytes are kept", cap(d.buf))
	}
}

// TestHonestHighRatio is regression rule R9 seen from the reader: 500 equal
// lines of 1 kB in one batch pass, although they compress far beyond the ratio.
func TestHonestHighRatio(t *testing.T) {
	line := []byte(strings.Repeat("x", 1000))
	for _, codec := range codecs {
		builder := NewBuilder(BuilderOptions{Codec: codec, ProducerID: NoProducerID})
		for range 500 {
			builder.Append(1700000000000, nil, line, nil)
		}
		b, err := builder.Build()
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, b); len(got) != 500 {
			t.Errorf("%s: %d records", codec, len(got))
		}
	}
}
