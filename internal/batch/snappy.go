package batch

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
)

// A xerial frame, the stream format of the snappy-java library:
//
//	0       8         12           16
//	| magic | version | compatible | length int32 | snappy block | length ...
const (
	xerialMagic  = "\x82SNAPPY\x00"
	xerialHeader = 16
)

var errXerial = errors.New("malformed xerial frame")

func (d *Decoder) unsnappy(src []byte, limit int) ([]byte, error) {
	size, err := snappySize(src)
	if err != nil {
		return nil, err
	}
	buf, err := d.reserve(size+1, limit+1) // the library takes no room at all for too little
	if err != nil {
		return nil, err
	}
	return xerial.DecodeCapped(buf, src)
}

// snappySize is the size that src declares, the sum over all blocks of a frame.
func snappySize(src []byte) (uint64, error) {
	if !bytes.HasPrefix(src, []byte(xerialMagic)) {
		size, err := s2.DecodedLen(src)
		return uint64(size), err
	}
	if len(src) < xerialHeader {
		return 0, errXerial
	}
	var sum uint64
	for rest := src[xerialHeader:]; len(rest) > 0; {
		if len(rest) < 4 {
			return 0, errXerial
		}
		length := binary.BigEndian.Uint32(rest)
		if uint64(length) > uint64(len(rest)-4) {
			return 0, errXerial
		}
		size, err := s2.DecodedLen(rest[4 : 4+length])
		if err != nil {
			return 0, err
		}
		sum += uint64(size)
		rest = rest[4+length:]
	}
	return sum, nil
}
