package agg

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/codec"
)

// Set is the accumulator of [Distinct].
type Set[X comparable] map[X]struct{}

// Distinct counts the different f of all values, exactly: the set is kept, and
// written to the changelog whenever it grows in a commit. NaN is new each time.
func Distinct[V any, X comparable](f func(V) X) Agg[V, Set[X], int64] {
	own := owner[X]()
	return Agg[V, Set[X], int64]{
		Name: "distinct",
		Init: func() Set[X] { return make(Set[X]) },
		Add: func(s Set[X], v V) Set[X] {
			x := f(v)
			if _, seen := s[x]; !seen {
				s[own(x)] = struct{}{}
			}
			return s
		},
		Merge: func(a, b Set[X]) Set[X] {
			maps.Copy(a, b)
			return a
		},
		Result: func(s Set[X]) int64 { return int64(len(s)) },
		Clone:  maps.Clone[Set[X]],
		Codec:  setCodec[X]{codec.For[X]()},
	}
}

// TopK is the k greatest f of all values, greatest first, equal ones as often as
// they came. k below 1 counts as 1.
func TopK[V any, X cmp.Ordered](k int, f func(V) X) Agg[V, []X, []X] {
	k = max(k, 1)
	own := owner[X]()
	insert := func(top []X, x X, own func(X) X) []X {
		at, _ := slices.BinarySearchFunc(top, x, func(e, x X) int { return cmp.Compare(x, e) })
		if at == k {
			return top
		}
		if len(top) == k {
			top = top[:k-1]
		}
		return slices.Insert(top, at, own(x))
	}
	return Agg[V, []X, []X]{
		Name: fmt.Sprintf("top-%d", k),
		Add:  func(top []X, v V) []X { return insert(top, f(v), own) },
		Merge: func(a, b []X) []X {
			for _, x := range b {
				a = insert(a, x, same)
			}
			return a
		},
		Result: slices.Clone[[]X],
		Clone:  slices.Clone[[]X],
		Codec:  listCodec[X]{codec.For[X]()},
	}
}

// owner is a function that makes a value independent of the record from which it
// was read: strings are copied.
func owner[X any]() func(X) X {
	if f, ok := any(strings.Clone).(func(X) X); ok {
		return f
	}
	return same[X]
}

// setCodec stores a set as the list of its elements' bytes, sorted, so that equal
// sets are equal bytes.
type setCodec[X comparable] struct{ of codec.Codec[X] }

func (c setCodec[X]) Name() string { return "set:" + c.of.Name() }

func (c setCodec[X]) Append(dst []byte, s Set[X]) ([]byte, error) {
	items := make([][]byte, 0, len(s))
	for x := range s {
		b, err := c.of.Append(nil, x)
		if err != nil {
			return dst, err
		}
		items = append(items, b)
	}
	slices.SortFunc(items, bytes.Compare)
	for _, b := range items {
		dst = appendPart(dst, b)
	}
	return dst, nil
}

func (c setCodec[X]) Decode(b []byte) (Set[X], error) {
	s := make(Set[X])
	own := owner[X]()
	for len(b) > 0 {
		x, rest, err := decodePart(c.of, b)
		if err != nil {
			return nil, err
		}
		s[own(x)], b = struct{}{}, rest
	}
	return s, nil
}

// listCodec stores a list as its elements' bytes, each after its length.
type listCodec[X any] struct{ of codec.Codec[X] }

func (c listCodec[X]) Name() string { return "list:" + c.of.Name() }

func (c listCodec[X]) Append(dst []byte, list []X) ([]byte, error) {
	for _, x := range list {
		var err error
		if dst, err = appendWith(dst, c.of, x); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (c listCodec[X]) Decode(b []byte) (list []X, err error) {
	own := owner[X]()
	for len(b) > 0 {
		var x X
		if x, b, err = decodePart(c.of, b); err != nil {
			return nil, err
		}
		list = append(list, own(x))
	}
	return list, nil
}

// appendPart appends b after its length.
func appendPart(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// appendWith appends v's bytes after their length.
func appendWith[T any](dst []byte, c codec.Codec[T], v T) ([]byte, error) {
	// Most parts are shorter than 128 bytes: leave one byte for the length, and
	// move the part when that was wrong.
	start := len(dst)
	dst = append(dst, 0)
	dst, err := c.Append(dst, v)
	if err != nil {
		return dst[:start], err
	}
	if n := len(dst) - start - 1; n < 128 {
		dst[start] = byte(n)
		return dst, nil
	}
	part := slices.Clone(dst[start+1:])
	return appendPart(dst[:start], part), nil
}

// decodePart decodes what appendPart has appended, and returns what is behind it.
func decodePart[T any](c codec.Codec[T], b []byte) (v T, rest []byte, err error) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > uint64(len(b)-width) {
		return v, nil, fmt.Errorf("codec %s: a part of %d bytes is cut off", c.Name(), n)
	}
	b = b[width:]
	v, err = c.Decode(b[:n])
	return v, b[n:], err
}
