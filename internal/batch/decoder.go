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
	// firstBytes is the first guess where no size is declared, and mostBytes the
	// largest where it is declared by a word that proves nothing.
	firstBytes = 64 << 10
	mostBytes  = 1 << 20
)

// Decoder decompresses records into a buffer that it reuses. The output is
// bounded before memory is spent on it: a declared size over the bound is
// refused at once, an undeclared one when the bound is reached. The zero value
// has the default limits. A Decoder is for one goroutine.
type Decoder struct {
	MaxBytes int // output in bytes; 0 is DefaultMaxBytes
	MaxRatio int // output per input byte, above RatioFloor; 0 is DefaultMaxRatio

	buf       []byte // its length is 0
	src       bytes.Reader
	gzip      *gzip.Reader
	lz4       *lz4.Reader
	zstd      *zstd.Decoder
	zstdFrame zstd.Header
}

// Decompress returns src decompressed, valid until the next call; for None it is
// src itself. ErrCodec for a codec that does not exist, ErrTooLarge when the
// output passes a limit, ErrInvalid for bytes that are not of the codec.
func (d *Decoder) Decompress(c Codec, src []byte) ([]byte, error) {
	if c == None {
		return src, nil
	}
	if cap(d.buf) > keptBytes {
		d.buf = nil
	}
	out, err := d.decompress(c, src, d.limit(len(src)))
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, ErrCodec):
		return nil, err
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("%s of %d bytes: %w", c, len(src), err)
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, c, err)
}

// Release gives away what the last Decompress returned: the caller may keep it,
// the next call makes a new buffer.
func (d *Decoder) Release() { d.buf = nil }

func (d *Decoder) decompress(c Codec, src []byte, limit int) ([]byte, error) {
	switch c {
	case Gzip:
		return d.gunzip(src, limit)
	case Snappy:
		return d.unsnappy(src, limit)
	case LZ4:
		return d.unlz4(src, limit)
	case Zstd:
		return d.unzstd(src, limit)
	}
	return nil, fmt.Errorf("%w: %d", ErrCodec, c)
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

// reserve is the empty buffer with room for size bytes. ErrTooLarge when they are
// more than limit.
func (d *Decoder) reserve(size uint64, limit int) ([]byte, error) {
	if size > uint64(limit) {
		return nil, tooLarge(limit)
	}
	if uint64(cap(d.buf)) < size {
		d.buf = make([]byte, 0, size)
	}
	return d.buf[:0], nil
}

// gunzip takes the size in the trailer for a first guess and no more: damage may
// have written it, and it is that of the last member only, modulo 4 GiB.
func (d *Decoder) gunzip(src []byte, limit int) ([]byte, error) {
	guess := uint64(firstBytes)
	if len(src) >= 4 {
		guess = uint64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	}
	d.src.Reset(src)
	if d.gzip == nil {
		d.gzip = new(gzip.Reader)
	}
	if err := d.gzip.Reset(&d.src); err != nil {
		return nil, err
	}
	return d.drain(d.gzip, min(guess, mostBytes), limit)
}

func (d *Decoder) unlz4(src []byte, limit int) ([]byte, error) {
	d.src.Reset(src)
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(nil)
	}
	d.lz4.Reset(&d.src)
	if _, err := d.lz4.Read(nil); err != nil && err != io.EOF { // reads the frame header
		return nil, err
	}
	declared := uint64(d.lz4.Size())
	if declared > uint64(limit) {
		return nil, tooLarge(limit)
	}
	return d.drain(d.lz4, declared, limit)
}

// drain reads r to its end, into room for the guessed size and one more byte, on
// which the end is found. One byte over the limit is enough to know that it is
// exceeded.
func (d *Decoder) drain(r io.Reader, guess uint64, limit int) ([]byte, error) {
	buf, err := d.reserve(min(guess+1, uint64(limit)+1), limit+1)
	if err != nil {
		return nil, err
	}
	for {
		if len(buf) == cap(buf) {
			d.buf = make([]byte, 0, min(max(2*cap(buf), firstBytes), limit+1))
			buf = append(d.buf, buf...)
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), limit+1)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			return nil, tooLarge(limit)
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}
