package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	// DefaultMaxBytes is the most that one batch may decompress to.
	DefaultMaxBytes = 64 << 20
	// DefaultMaxRatio is the most bytes that one compressed byte may become.
	DefaultMaxRatio = 100
	// RatioFloor is what any batch may decompress to, whatever its ratio. Honest
	// small batches beat every ratio: 500 equal lines of 1 kB become 500 kB from
	// some hundred bytes, and a Java producer fills its 16 KiB batch by the
	// compressed size, which lz4 can stretch 255 times.
	RatioFloor = 4 << 20

	// keptBytes is the largest output buffer that outlives the next call, so
	// that one huge batch does not hold its memory for ever.
	keptBytes = 4 << 20
	// firstBytes is the first guess where no size is declared.
	firstBytes = 64 << 10
)

// Decoder decompresses records into a buffer that it reuses. The output is
// bounded before memory is spent on it: a declared size over the bound is
// refused at once, an undeclared one when the bound is reached. The zero value
// has the default limits. A Decoder is for one goroutine.
type Decoder struct {
	MaxBytes int // output in bytes; 0 is DefaultMaxBytes
	MaxRatio int // output per input byte, above RatioFloor; 0 is DefaultMaxRatio

	out  []byte
	src  bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

// Decompress returns src decompressed, valid until the next call; for None it is
// src itself. ErrCodec for a codec that does not exist, ErrTooLarge when the
// output passes a limit, ErrInvalid for bytes that are not of the codec.
func (d *Decoder) Decompress(c Codec, src []byte) ([]byte, error) {
	if c == None {
		return src, nil
	}
	if cap(d.out) > keptBytes {
		d.out = nil
	}
	var err error
	limit := d.limit(len(src))
	switch c {
	case Gzip:
		err = d.gunzip(src, limit)
	case Snappy:
		err = d.unsnappy(src, limit)
	case LZ4:
		err = d.unlz4(src, limit)
	case Zstd:
		err = d.unzstd(src, limit)
	default:
		return nil, fmt.Errorf("%w: %d", ErrCodec, c)
	}
	switch {
	case err == nil:
		return d.out, nil
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("%s of %d bytes: %w", c, len(src), err)
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, c, err)
}

// limit is the output that size compressed bytes may become.
func (d *Decoder) limit(size int) int {
	maxBytes, ratio := d.MaxBytes, d.MaxRatio
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	if ratio <= 0 {
		ratio = DefaultMaxRatio
	}
	if size >= maxBytes/ratio {
		return maxBytes
	}
	return min(maxBytes, max(RatioFloor, size*ratio))
}

func tooLarge(limit int) error { return fmt.Errorf("%w of %d bytes", ErrTooLarge, limit) }

// reserve empties the buffer and gives it room for size bytes, unless they are
// more than limit, and for one more byte, on which a reader finds the end.
func (d *Decoder) reserve(size uint64, limit int) error {
	if size > uint64(limit) {
		return tooLarge(limit)
	}
	if uint64(cap(d.out)) <= size {
		d.out = make([]byte, 0, size+1)
	}
	d.out = d.out[:0]
	return nil
}

// gunzip trusts the size in the trailer only to refuse and as a first guess: it
// is that of the last member, modulo 4 GiB.
func (d *Decoder) gunzip(src []byte, limit int) error {
	guess := uint64(firstBytes)
	if len(src) >= 4 {
		guess = uint64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	}
	if err := d.reserve(guess, limit); err != nil {
		return err
	}
	d.src.Reset(src)
	if d.gzip == nil {
		d.gzip = new(gzip.Reader)
	}
	if err := d.gzip.Reset(&d.src); err != nil {
		return err
	}
	return d.drain(d.gzip, limit)
}

func (d *Decoder) unlz4(src []byte, limit int) error {
	if err := d.reserve(firstBytes, limit); err != nil {
		return err
	}
	d.src.Reset(src)
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(nil)
	}
	d.lz4.Reset(&d.src)
	if _, err := d.lz4.Read(nil); err != nil && err != io.EOF { // reads the frame header
		return err
	}
	if err := d.reserve(uint64(d.lz4.Size()), limit); err != nil {
		return err
	}
	return d.drain(d.lz4, limit)
}

// drain reads r to its end into the buffer. One byte over the limit is enough to
// know that it is exceeded.
func (d *Decoder) drain(r io.Reader, limit int) error {
	for {
		if len(d.out) > limit {
			return tooLarge(limit)
		}
		if len(d.out) == cap(d.out) {
			grown := make([]byte, len(d.out), min(max(2*cap(d.out), firstBytes), limit+1))
			copy(grown, d.out)
			d.out = grown
		}
		n, err := r.Read(d.out[len(d.out):min(cap(d.out), limit+1)])
		d.out = d.out[:len(d.out)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unzstd decodes in one piece, which needs no window beside the output. Java
// declares no size; then the room grows fourfold from try to try, and since the
// buffer is kept, a stream of such batches pays for that once.
func (d *Decoder) unzstd(src []byte, limit int) error {
	if d.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return err
		}
		d.zstd = z
	}
	var frame zstd.Header
	if err := frame.Decode(src); err != nil {
		return err
	}
	room := uint64(max(firstBytes, cap(d.out)))
	if frame.HasFCS {
		room = frame.FrameContentSize
	}
	for {
		if err := d.reserve(room, limit); err != nil {
			return err
		}
		out, err := d.zstd.DecodeAll(src, d.out[:0:min(cap(d.out), limit)])
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			d.out = out
			return err
		}
		if room = uint64(min(4*cap(d.out), limit)); cap(d.out) >= limit {
			return tooLarge(limit)
		}
	}
}
