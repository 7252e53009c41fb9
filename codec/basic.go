package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// The codecs of Kafka's own serializers of these types: UTF-8 without a length,
// bytes as they are, and eight bytes big endian for Long and Double.
var (
	String  Codec[string]  = stringCodec{}
	Bytes   Codec[[]byte]  = bytesCodec{}
	Int64   Codec[int64]   = int64Codec{}
	Float64 Codec[float64] = float64Codec{}
)

type stringCodec struct{}

func (stringCodec) Name() string { return "string" }

func (stringCodec) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

// Decode is a view, without a copy: a record's bytes are never written to.
func (stringCodec) Decode(b []byte) (string, error) {
	return unsafe.String(unsafe.SliceData(b), len(b)), nil
}

func (stringCodec) DecodeAll(src [][]byte, dst []string) (int, error) {
	for i, b := range src {
		dst[i] = unsafe.String(unsafe.SliceData(b), len(b))
	}
	return len(src), nil
}

type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(b []byte) ([]byte, error) { return b, nil }

func (bytesCodec) DecodeAll(src, dst [][]byte) (int, error) { return copy(dst, src), nil }

// IsNull makes a nil slice Kafka's null, and back.
func (bytesCodec) IsNull(v []byte) bool { return v == nil }

type int64Codec struct{}

func (int64Codec) Name() string { return "int64" }

func (int64Codec) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

func (int64Codec) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, lengthError("int64", len(b), 8)
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func (int64Codec) DecodeAll(src [][]byte, dst []int64) (int, error) {
	for i, b := range src {
		if len(b) != 8 {
			return i, lengthError("int64", len(b), 8)
		}
		dst[i] = int64(binary.BigEndian.Uint64(b))
	}
	return len(src), nil
}

type float64Codec struct{}

func (float64Codec) Name() string { return "float64" }

func (float64Codec) Append(dst []byte, v float64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), nil
}

func (float64Codec) Decode(b []byte) (float64, error) {
	if len(b) != 8 {
		return 0, lengthError("float64", len(b), 8)
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func lengthError(codec string, got, want int) error {
	return fmt.Errorf("codec %s: %d bytes where %d are expected", codec, got, want)
}
