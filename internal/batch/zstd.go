package batch

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	zstdMaxBlock = 128 << 10 // what one block may become (RFC 8878, 3.1.1.2.4)
	zstdSlack    = 16        // behind the output; with it the library copies in words
	zstdHuge     = 1 << 40   // beyond every limit, and no sum of such sizes overflows

	zstdRaw, zstdRun, zstdCompressed = 0, 1, 2 // block types
)

var errZstdBlocks = errors.New("blocks do not fill their frame")

// unzstd decodes in one piece, into room for all that the frames can become: the
// library then needs no window and never grows the buffer.
func (d *Decoder) unzstd(src []byte, limit int) ([]byte, error) {
	least, most, err := zstdSizes(src, &d.zstdFrame)
	if err != nil {
		return nil, err
	}
	if least > uint64(limit) {
		return nil, tooLarge(limit)
	}
	if err := d.openZstd(); err != nil {
		return nil, err
	}
	room := int(min(most, uint64(limit))) + zstdSlack
	buf, err := d.reserve(uint64(room), room)
	if err != nil {
		return nil, err
	}
	out, err := d.zstd.DecodeAll(src, buf[:0:room])
	switch {
	case err == nil && len(out) > limit:
		return nil, tooLarge(limit)
	case err != nil && most > uint64(limit): // the library has no error of its own for every way to leave the room
		return nil, fmt.Errorf("%w: %w", tooLarge(limit), err)
	}
	return out, err
}

func (d *Decoder) openZstd() (err error) {
	if d.zstd == nil {
		d.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	}
	return err
}

// zstdSizes are the bounds of what src decompresses to, read from the headers of
// its frames and blocks. Java and other streaming writers declare no size for the
// frame; then raw blocks and runs still have theirs, and a compressed block has a
// largest one. The header is scratch space.
func zstdSizes(src []byte, frame *zstd.Header) (least, most uint64, err error) {
	for len(src) > 0 {
		if err := frame.Decode(src); err != nil {
			return 0, 0, err
		}
		src = src[frame.HeaderSize:]
		if frame.Skippable {
			if uint64(frame.SkippableSize) > uint64(len(src)) {
				return 0, 0, errZstdBlocks
			}
			src = src[frame.SkippableSize:]
			continue
		}
		fixed, free, rest, err := zstdBlocks(src, frame.HasCheckSum)
		if err != nil {
			return 0, 0, err
		}
		src = rest
		if frame.HasFCS {
			fixed, free = min(frame.FrameContentSize, zstdHuge), 0
		}
		least, most = least+fixed, most+fixed+free
	}
	return least, most, nil
}

// zstdBlocks walks over the blocks of one frame: what the raw ones and the runs
// become, what the compressed ones may become at most, and what lies behind.
func zstdBlocks(src []byte, checksum bool) (fixed, free uint64, rest []byte, err error) {
	for last := false; !last; {
		if len(src) < 3 {
			return 0, 0, nil, errZstdBlocks
		}
		head := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
		src = src[3:]
		last = head&1 != 0
		size := int(head >> 3)
		switch head >> 1 & 3 {
		case zstdRaw:
			fixed += uint64(size)
		case zstdRun:
			fixed += uint64(size)
			size = 1
		case zstdCompressed:
			free += zstdMaxBlock
		}
		if size > len(src) {
			return 0, 0, nil, errZstdBlocks
		}
		src = src[size:]
	}
	if checksum {
		if len(src) < 4 {
			return 0, 0, nil, errZstdBlocks
		}
		src = src[4:]
	}
	return fixed, free, src, nil
}
