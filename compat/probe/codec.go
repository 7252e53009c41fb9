package probe

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// inflated bounds what one batch may inflate to.
const inflated = 64 << 20

func (b Batch) inflate() ([]byte, error) {
	var from io.Reader
	switch packed := bytes.NewReader(b.records); b.Codec() {
	case 0:
		return b.records, nil
	case 1:
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, err
		}
		from = z
	case 2:
		return unsnappy(b.records)
	case 3:
		from = lz4.NewReader(packed)
	case 4:
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		from = z
	default:
		return nil, fmt.Errorf("probe: batch at %d: unknown %s", b.Base, b.Codec())
	}
	return io.ReadAll(io.LimitReader(from, inflated))
}

// xerial is the frame that Java's and most other clients put around snappy
// blocks; librdkafka and franz-go send one bare block.
var xerial = []byte("\x82SNAPPY\x00")

func unsnappy(packed []byte) ([]byte, error) {
	if !bytes.HasPrefix(packed, xerial) {
		return s2.Decode(nil, packed)
	}
	var all []byte
	for rest := packed[16:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, errShort
		}
		size := int(binary.BigEndian.Uint32(rest))
		if size > len(rest)-4 {
			return nil, errShort
		}
		block, err := s2.Decode(nil, rest[4:4+size])
		if err != nil {
			return nil, err
		}
		all, rest = append(all, block...), rest[4+size:]
	}
	return all, nil
}
