package batch

import (
	"math"
	"math/bits"
)

// Varints are little-endian groups of seven bits, zigzag encoded so that small
// negative numbers are short. As in Kafka's ByteUtils an int32 takes at most
// five bytes and an int64 at most ten.

// malformed is the position that a varint reader returns for bytes that are no
// varint. Readers accept it as a position, so one check at the end of a row of
// fields is enough.
const malformed = -1

// varint32 decodes the int32 at b[i:] and returns the position behind it. One
// and two bytes, which nearly all fields of small records have, go without a loop.
func varint32(b []byte, i int) (int32, int) {
	if i >= 0 && i+1 < len(b) {
		lo, hi := int32(b[i]), int32(b[i+1])
		if lo < 0x80 {
			return lo>>1 ^ -(lo & 1), i + 1
		}
		if hi < 0x80 {
			return (lo&0x7f|hi<<7)>>1 ^ -(lo & 1), i + 2
		}
	}
	u, next := uvarint(b, i, 5)
	if u > math.MaxUint32 {
		return 0, malformed
	}
	return int32(uint32(u)>>1) ^ -int32(u&1), next
}

// varint64 decodes the int64 at b[i:] and returns the position behind it.
func varint64(b []byte, i int) (int64, int) {
	if i >= 0 && i+1 < len(b) {
		lo, hi := int64(b[i]), int64(b[i+1])
		if lo < 0x80 {
			return lo>>1 ^ -(lo & 1), i + 1
		}
		if hi < 0x80 {
			return (lo&0x7f|hi<<7)>>1 ^ -(lo & 1), i + 2
		}
	}
	u, next := uvarint(b, i, 10)
	return int64(u>>1) ^ -int64(u&1), next
}

// uvarint decodes at most maxBytes. Bits beyond 64 make it malformed.
func uvarint(b []byte, i, maxBytes int) (uint64, int) {
	if i < 0 {
		return 0, malformed
	}
	var u uint64
	for shift := 0; i < len(b) && shift < 7*maxBytes; i, shift = i+1, shift+7 {
		c := b[i]
		if c < 0x80 {
			if shift == 63 && c > 1 {
				return 0, malformed
			}
			return u | uint64(c)<<shift, i + 1
		}
		u |= uint64(c&0x7f) << shift
	}
	return 0, malformed
}

// appendVarint appends v, zigzag encoded.
func appendVarint(b []byte, v int64) []byte {
	u := zigzag(v)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

// varintSize is the bytes that appendVarint takes for v.
func varintSize(v int64) int {
	return (bits.Len64(zigzag(v)|1) + 6) / 7
}

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }
