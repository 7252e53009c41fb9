package agg

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"

	"millrace/codec"
)

// PairOf stores a [Pair] with a codec for each part, for the topic of a result
// of [Both].
func PairOf[A, B any](first codec.Codec[A], second codec.Codec[B]) codec.Codec[Pair[A, B]] {
	return pairCodec[A, B]{first, second}
}

// ListOf stores a list with a codec for its elements, for the topic of a result
// of [TopK].
func ListOf[X any](of codec.Codec[X]) codec.Codec[[]X] { return listCodec[X]{of} }

var (
	errTrailing = errors.New("agg: bytes behind the end of an accumulator")
	errShort    = errors.New("agg: an accumulator is cut off")
)

// wholly is err, or a fault when something is left.
func wholly(err error, rest []byte) error {
	if err == nil && len(rest) > 0 {
		return errTrailing
	}
	return err
}

// maybe is a value that may not have been seen yet: one byte, then the value.
func appendMaybe[T any](dst []byte, c codec.Codec[T], seen bool, v T) ([]byte, error) {
	if !seen {
		return append(dst, 0), nil
	}
	return c.Append(append(dst, 1), v)
}

func decodeMaybe[T any](c codec.Codec[T], b []byte) (seen bool, v T, err error) {
	switch {
	case len(b) == 0:
		return false, v, errShort
	case b[0] == 0:
		return false, v, wholly(nil, b[1:])
	}
	v, err = c.Decode(b[1:])
	return true, v, err
}

type extremeCodec[X cmp.Ordered] struct{ of codec.Codec[X] }

func (c extremeCodec[X]) Name() string { return "extreme:" + c.of.Name() }

func (c extremeCodec[X]) Append(dst []byte, e Extreme[X]) ([]byte, error) {
	return appendMaybe(dst, c.of, e.Seen, e.Value)
}

func (c extremeCodec[X]) Decode(b []byte) (e Extreme[X], err error) {
	e.Seen, e.Value, err = decodeMaybe(c.of, b)
	e.Value = owner[X]()(e.Value)
	return e, err
}

type reducedCodec[V any] struct{ of codec.Codec[V] }

func (c reducedCodec[V]) Name() string { return "reduced:" + c.of.Name() }

func (c reducedCodec[V]) Append(dst []byte, r Reduced[V]) ([]byte, error) {
	return appendMaybe(dst, c.of, r.Seen, r.Value)
}

func (c reducedCodec[V]) Decode(b []byte) (r Reduced[V], err error) {
	r.Seen, r.Value, err = decodeMaybe(c.of, b)
	return r, err
}

// meanCodec stores sum and number, eight bytes each, big endian.
type meanCodec struct{}

func (meanCodec) Name() string { return "mean" }

func (meanCodec) Append(dst []byte, m Mean) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(m.Sum))
	return binary.BigEndian.AppendUint64(dst, uint64(m.N)), nil
}

func (meanCodec) Decode(b []byte) (Mean, error) {
	if len(b) != 16 {
		return Mean{}, errShort
	}
	return Mean{math.Float64frombits(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}
