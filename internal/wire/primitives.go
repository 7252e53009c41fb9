package wire

import (
	"encoding/binary"
	"math/bits"
)

// uvarint reads a Kafka unsigned varint, which holds 32 bits in at most 5
// bytes. size is 0 when b ends within it, negative when it is too long.
func uvarint(b []byte) (v uint32, size int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1
	}
	return longUvarint(b)
}

func longUvarint(b []byte) (v uint32, size int) {
	const last = 4 // the fifth byte holds the upper 4 of 32 bits
	for i, c := range b {
		if i == last {
			if c > 0x0f {
				return 0, -1
			}
			return v | uint32(c)<<28, last + 1
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// uvarintSize is how many bytes appendUvarint takes for v.
func uvarintSize(v uint32) int { return (bits.Len32(v|1) + 6) / 7 }

func appendUvarint(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

func appendInt16(dst []byte, v int16) []byte { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendInt32(dst []byte, v int32) []byte { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendInt64(dst []byte, v int64) []byte { return binary.BigEndian.AppendUint64(dst, uint64(v)) }
