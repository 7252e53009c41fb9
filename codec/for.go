package codec

import (
	"encoding/binary"
	"math"
	"reflect"
	"unsafe"
)

// For is the codec that a job uses for a key or a value that it stores itself
// (state, repartition topics) when none is given: the bytes of a string or a
// []byte as they are, eight bytes big endian for a number, else [JSON]. Types
// made from these ("type UserID string") are stored alike.
func For[T any]() Codec[T] {
	t := reflect.TypeFor[T]()
	switch kind := t.Kind(); {
	case kind == reflect.String:
		return cast[T](String)
	case kind == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return cast[T](Bytes)
	case kind == reflect.Int64:
		return cast[T](Int64)
	case kind == reflect.Float64:
		return cast[T](Float64)
	case t.Size() <= 8 && (reflect.Int <= kind && kind <= reflect.Uintptr):
		return smallInt[T]{name: kind.String(), size: t.Size()}
	case kind == reflect.Float32:
		return float32Codec[T]{}
	}
	return JSON[T]()
}

// cast makes c, of T's underlying type, a codec of T.
func cast[T, U any](c Codec[U]) Codec[T] {
	if same, ok := any(c).(Codec[T]); ok {
		return same
	}
	return castCodec[T, U]{c}
}

// castCodec stores a T as the U that it is in memory.
type castCodec[T, U any] struct{ Codec Codec[U] }

func (c castCodec[T, U]) Name() string { return c.Codec.Name() }

func (c castCodec[T, U]) Append(dst []byte, v T) ([]byte, error) {
	return c.Codec.Append(dst, *(*U)(unsafe.Pointer(&v)))
}

func (c castCodec[T, U]) Decode(b []byte) (T, error) {
	u, err := c.Codec.Decode(b)
	return *(*T)(unsafe.Pointer(&u)), err
}

// smallInt stores an integer of up to eight bytes as an int64.
type smallInt[T any] struct {
	name string
	size uintptr
}

func (c smallInt[T]) Name() string { return c.name }

func (c smallInt[T]) Append(dst []byte, v T) ([]byte, error) {
	var wide uint64
	p := unsafe.Pointer(&v)
	switch c.size {
	case 1:
		wide = uint64(*(*uint8)(p))
	case 2:
		wide = uint64(*(*uint16)(p))
	case 4:
		wide = uint64(*(*uint32)(p))
	default:
		wide = *(*uint64)(p)
	}
	return binary.BigEndian.AppendUint64(dst, wide), nil
}

func (c smallInt[T]) Decode(b []byte) (v T, err error) {
	if len(b) != 8 {
		return v, lengthError(c.name, len(b), 8)
	}
	wide, p := binary.BigEndian.Uint64(b), unsafe.Pointer(&v)
	switch c.size {
	case 1:
		*(*uint8)(p) = uint8(wide)
	case 2:
		*(*uint16)(p) = uint16(wide)
	case 4:
		*(*uint32)(p) = uint32(wide)
	default:
		*(*uint64)(p) = wide
	}
	return v, nil
}

type float32Codec[T any] struct{}

func (float32Codec[T]) Name() string { return "float32" }

func (float32Codec[T]) Append(dst []byte, v T) ([]byte, error) {
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(*(*float32)(unsafe.Pointer(&v)))), nil
}

func (float32Codec[T]) Decode(b []byte) (v T, err error) {
	if len(b) != 4 {
		return v, lengthError("float32", len(b), 4)
	}
	*(*float32)(unsafe.Pointer(&v)) = math.Float32frombits(binary.BigEndian.Uint32(b))
	return v, nil
}
