package frames

import (
	"encoding/binary"
	"math/rand/v2"
)

// extremes are the numbers that lengths and counts break on.
var extremes = []uint32{0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 1 << 20, 1 << 24, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}

// mutation damages a frame's body and may return a longer or shorter one.
type mutation func(r *rand.Rand, b []byte) []byte

var mutations = []mutation{flipBits, setBytes, setExtreme, setVarint, cutOff, cutOut, repeat, insertNoise, otherHeader}

// mutate returns a damaged copy of frame with its length in front. Now and
// then it is the length that is wrong, or nothing is.
func mutate(r *rand.Rand, frame []byte) []byte {
	body := append([]byte(nil), frame...)
	for range r.IntN(4) {
		body = mutations[r.IntN(len(mutations))](r, body)
	}
	size := uint32(len(body))
	if r.IntN(50) == 0 {
		size = extremes[r.IntN(len(extremes))]
	}
	return append(binary.BigEndian.AppendUint32(nil, size), body...)
}

func flipBits(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(4) {
		if len(b) > 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	}
	return b
}

func setBytes(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(8) {
		if len(b) > 0 {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
	}
	return b
}

func setExtreme(r *rand.Rand, b []byte) []byte {
	width := []int{1, 2, 4}[r.IntN(3)]
	if len(b) < width {
		return b
	}
	var value [4]byte
	binary.BigEndian.PutUint32(value[:], extremes[r.IntN(len(extremes))])
	copy(b[r.IntN(len(b)-width+1):], value[4-width:])
	return b
}

// setVarint writes a large count in the compact encoding.
func setVarint(r *rand.Rand, b []byte) []byte {
	value := binary.AppendUvarint(nil, uint64(extremes[r.IntN(len(extremes))]))
	if len(b) < len(value) {
		return b
	}
	copy(b[r.IntN(len(b)-len(value)+1):], value)
	return b
}

func cutOff(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b)+1)] }

func cutOut(r *rand.Rand, b []byte) []byte {
	from := r.IntN(len(b) + 1)
	to := from + r.IntN(len(b)-from+1)
	return append(b[:from:from], b[to:]...)
}

func repeat(r *rand.Rand, b []byte) []byte {
	from := r.IntN(len(b) + 1)
	to := from + r.IntN(min(64, len(b)-from)+1)
	again := append([]byte(nil), b[from:]...)
	return append(b[:to:to], again...)
}

func insertNoise(r *rand.Rand, b []byte) []byte {
	at := r.IntN(len(b) + 1)
	rest := append([]byte(nil), b[at:]...)
	b = b[:at:at]
	for range 1 + r.IntN(32) {
		b = append(b, byte(r.Uint32()))
	}
	return append(b, rest...)
}

// otherHeader claims another key or version than the body is of.
func otherHeader(r *rand.Rand, b []byte) []byte {
	if len(b) >= 4 {
		b[1], b[3] = byte(r.IntN(allKeys)), byte(r.IntN(20))
	}
	return b
}
