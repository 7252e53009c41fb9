// Package agg has aggregates as values: what to do with each record of a key,
// and how to put two halves together.
//
// Most readers need [Count], [Sum] and [Both].
package agg

import (
	"cmp"
	"reflect"

	"millrace/codec"
)

// Agg folds values V of one key and window into an accumulator A, of which R is
// the result. An Agg is pure: it keeps no state of its own, reads no clock, and
// gives the same for the same. What a job counts must not depend on the order in
// which partitions are read, so Add and Merge should be commutative.
//
// An accumulator outlives its records: keep copies of their strings
// (strings.Clone), else one name keeps a whole fetched batch in memory.
type Agg[V, A, R any] struct {
	// Name says what is accumulated ("count"). It is part of what a job must not
	// change under its state.
	Name string

	// Init is the accumulator of no values; nil is the zero A.
	Init func() A

	// Add adds one value; it may change and return its argument.
	Add func(A, V) A

	// Merge puts two accumulators together; it may change the first, never the
	// second. With it, records that must move to the partition of another key are
	// added up before they move, and hopping windows share their slices. nil when
	// there is no such thing: then every record moves.
	Merge func(a, b A) A

	// Retract takes one value back, for the aggregates of tables; nil: impossible.
	Retract func(A, V) A

	// Result is what readers see; it must not change its argument.
	Result func(A) R

	// Clone copies an accumulator, so that what a transaction changes in place can
	// be taken back. nil: an assignment where A holds no map, slice or pointer, else
	// Codec there and back.
	Clone func(A) A

	// Codec stores the accumulator; nil is [codec.For].
	Codec codec.Codec[A]
}

// WithDefaults fills in what may be left out.
func (a Agg[V, A, R]) WithDefaults() Agg[V, A, R] {
	if a.Init == nil {
		a.Init = func() (zero A) { return zero }
	}
	if a.Codec == nil {
		a.Codec = codec.For[A]()
	}
	if a.Name == "" {
		a.Name = reflect.TypeFor[A]().String()
	}
	return a
}

// Number is what can be added.
type Number interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// Count counts records.
func Count[V any]() Agg[V, int64, int64] {
	return Agg[V, int64, int64]{
		Name:    "count",
		Add:     func(n int64, _ V) int64 { return n + 1 },
		Merge:   func(a, b int64) int64 { return a + b },
		Retract: func(n int64, _ V) int64 { return n - 1 },
		Result:  same[int64],
		Codec:   codec.Int64,
	}
}

// Sum adds up f of each value. Integers wrap around as Go's do; a sum of floats
// may differ in its last digits with the order of addition, which is not fixed.
func Sum[V any, N Number](f func(V) N) Agg[V, N, N] {
	return Agg[V, N, N]{
		Name:    "sum",
		Add:     func(sum N, v V) N { return sum + f(v) },
		Merge:   func(a, b N) N { return a + b },
		Retract: func(sum N, v V) N { return sum - f(v) },
		Result:  same[N],
	}
}

// Extreme is the accumulator of [Min] and [Max].
type Extreme[X cmp.Ordered] struct {
	Seen  bool
	Value X
}

// Min is the least f of any value. NaN is less than all other floats.
func Min[V any, X cmp.Ordered](f func(V) X) Agg[V, Extreme[X], X] {
	return extreme("min", f, func(x, than X) bool { return cmp.Less(x, than) })
}

// Max is the greatest f of any value.
func Max[V any, X cmp.Ordered](f func(V) X) Agg[V, Extreme[X], X] {
	return extreme("max", f, func(x, than X) bool { return cmp.Less(than, x) })
}

func extreme[V any, X cmp.Ordered](name string, f func(V) X, better func(x, than X) bool) Agg[V, Extreme[X], X] {
	own := owner[X]()
	return Agg[V, Extreme[X], X]{
		Name: name,
		Add: func(e Extreme[X], v V) Extreme[X] {
			if x := f(v); !e.Seen || better(x, e.Value) {
				return Extreme[X]{true, own(x)}
			}
			return e
		},
		Merge: func(a, b Extreme[X]) Extreme[X] {
			if b.Seen && (!a.Seen || better(b.Value, a.Value)) {
				return b
			}
			return a
		},
		Result: func(e Extreme[X]) X { return e.Value },
		Codec:  extremeCodec[X]{codec.For[X]()},
	}
}

// Mean is the accumulator of [Avg].
type Mean struct {
	Sum float64
	N   int64
}

// Avg is the mean of f of each value.
func Avg[V any, N Number](f func(V) N) Agg[V, Mean, float64] {
	return Agg[V, Mean, float64]{
		Name:    "avg",
		Add:     func(m Mean, v V) Mean { return Mean{m.Sum + float64(f(v)), m.N + 1} },
		Merge:   func(a, b Mean) Mean { return Mean{a.Sum + b.Sum, a.N + b.N} },
		Retract: func(m Mean, v V) Mean { return Mean{m.Sum - float64(f(v)), m.N - 1} },
		Result: func(m Mean) float64 {
			if m.N == 0 {
				return 0
			}
			return m.Sum / float64(m.N)
		},
		Codec: meanCodec{},
	}
}

// Reduce puts values of a key together, two at a time, into a value of their own
// type. f must be associative, for it also merges what two partitions have put
// together; it may change and return its first argument. store may be nil:
// [codec.For].
func Reduce[V any](f func(a, b V) V, store codec.Codec[V]) Agg[V, Reduced[V], V] {
	if store == nil {
		store = codec.For[V]()
	}
	return Agg[V, Reduced[V], V]{
		Name: "reduce",
		Add: func(r Reduced[V], v V) Reduced[V] {
			if !r.Seen {
				return Reduced[V]{true, v}
			}
			return Reduced[V]{true, f(r.Value, v)}
		},
		Merge: func(a, b Reduced[V]) Reduced[V] {
			if !a.Seen || !b.Seen {
				return pick(a, b)
			}
			return Reduced[V]{true, f(a.Value, b.Value)}
		},
		Result: func(r Reduced[V]) V { return r.Value },
		Codec:  reducedCodec[V]{store},
	}
}

// Reduced is the accumulator of [Reduce].
type Reduced[V any] struct {
	Seen  bool
	Value V
}

func pick[V any](a, b Reduced[V]) Reduced[V] {
	if a.Seen {
		return a
	}
	return b
}

func same[T any](v T) T { return v }
