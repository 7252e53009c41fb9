package batch

import (
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// encoder compresses records for a Builder. It keeps each codec's state once it
// was used.
type encoder struct {
	out  appender
	gzip *gzip.Writer
	lz4  *lz4.Writer
	zstd *zstd.Encoder
}

// appender is a slice as an io.Writer.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// compress appends src, compressed, to dst.
func (e *encoder) compress(dst []byte, c Codec, src []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, src...), nil
	case Gzip:
		if e.gzip == nil {
			e.gzip = gzip.NewWriter(nil)
		}
		e.out = dst
		e.gzip.Reset(&e.out)
		return e.writeAll(e.gzip, src)
	case Snappy:
		return appendXerial(dst, src), nil
	case LZ4:
		if err := e.resetLZ4(dst); err != nil {
			return nil, err
		}
		return e.writeAll(e.lz4, src)
	case Zstd:
		if err := e.openZstd(); err != nil {
			return nil, err
		}
		return e.zstd.EncodeAll(src, dst), nil
	}
	return nil, fmt.Errorf("%w: %d", ErrCodec, c)
}

func (e *encoder) writeAll(w io.WriteCloser, src []byte) ([]byte, error) {
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return e.out, nil
}

// resetLZ4 writes frames as Java does: independent blocks, the only ones that the
// Java client reads, of 64 KiB, and no checksum beside that of the batch.
func (e *encoder) resetLZ4(dst []byte) error {
	e.out = dst
	if e.lz4 == nil {
		e.lz4 = lz4.NewWriter(nil)
		if err := e.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
			return err
		}
	}
	e.lz4.Reset(&e.out)
	return nil
}

func (e *encoder) openZstd() (err error) {
	if e.zstd == nil {
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	}
	return err
}

// xerialBlock is the plain bytes of one block, as Java and the library cut them.
const xerialBlock = 32 << 10

// appendXerial appends src as a xerial frame. The library would take what is in
// dst for the front of a frame, so it gets the free part only; with room for the
// worst case it works in place, and the last append copies nothing.
func appendXerial(dst, src []byte) []byte {
	blocks := len(src)/xerialBlock + 1
	dst = slices.Grow(dst, xerialHeader+blocks*(4+s2.MaxEncodedLen(xerialBlock)))
	return append(dst, xerial.Encode(dst[len(dst):], src)...)
}
