package millrace

import (
	"cmp"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/topology"
)

// Grouped is a stream whose records have a key to count for. Each of its
// aggregates has a name, which names its store, and with it the changelog and
// the repartition topic; a job that renames a store begins that store anew.
type Grouped[K comparable, V any] struct{ g topology.Grouped[K, V] }

// Aggregate keeps one accumulator per key, as a says. Where a can be merged and
// records must move to the partition of their key, they are added up before they
// move: one record per key and commit.
func (g Grouped[K, V]) Aggregate[A, R any](name string, a agg.Agg[V, A, R], options ...Option) Table[K, R] {
	o := set(options)
	place := topology.At{Where: userLine(), Label: name}
	o.check(g.g.Graph(), place.Where, "an aggregate without windows", refusing|crossing)
	return Table[K, R]{topology.Aggregate(g.g, place, name, a, storeOptions[V](g.g.Graph(), place, o))}
}

func storeOptions[V any](g *topology.Graph, place topology.At, o settings) topology.StoreOptions[V] {
	return topology.StoreOptions[V]{
		Policy:    o.policy,
		Value:     codecOr[V](g, place.Where, "ValueCodec", o.value),
		Emit:      o.emit,
		WallClock: o.wallClock,
	}
}

// Count counts the records of each key.
func (g Grouped[K, V]) Count(name string, options ...Option) Table[K, int64] {
	return g.Aggregate(name, agg.Count[V](), options...)
}

// Sum adds up f of the records of each key.
func (g Grouped[K, V]) Sum[N agg.Number](name string, f func(V) N, options ...Option) Table[K, N] {
	return g.Aggregate(name, agg.Sum(f), options...)
}

// Min is the least f of the records of each key.
func (g Grouped[K, V]) Min[X cmp.Ordered](name string, f func(V) X, options ...Option) Table[K, X] {
	return g.Aggregate(name, agg.Min(f), options...)
}

// Max is the greatest f of the records of each key.
func (g Grouped[K, V]) Max[X cmp.Ordered](name string, f func(V) X, options ...Option) Table[K, X] {
	return g.Aggregate(name, agg.Max(f), options...)
}

// Avg is the mean of f of the records of each key.
func (g Grouped[K, V]) Avg[N agg.Number](name string, f func(V) N, options ...Option) Table[K, float64] {
	return g.Aggregate(name, agg.Avg(f), options...)
}

// Distinct counts the different f of the records of each key.
func (g Grouped[K, V]) Distinct[X comparable](name string, f func(V) X, options ...Option) Table[K, int64] {
	return g.Aggregate(name, agg.Distinct(f), options...)
}

// TopK is the k greatest f of the records of each key, greatest first.
func (g Grouped[K, V]) TopK[X cmp.Ordered](name string, k int, f func(V) X, options ...Option) Table[K, []X] {
	return g.Aggregate(name, agg.TopK(k, f), options...)
}

// Reduce puts the records of each key together, two at a time; f must be
// associative. Values are stored with [ValueCodec].
func (g Grouped[K, V]) Reduce(name string, f func(a, b V) V, options ...Option) Table[K, V] {
	return g.Aggregate(name, agg.Reduce(f, reducedCodec[V](g.g.Graph(), options)), options...)
}

// reducedCodec is that of the option ValueCodec, or nil.
func reducedCodec[V any](g *topology.Graph, options []Option) codec.Codec[V] {
	o := set(options)
	if o.value == nil {
		return nil
	}
	return codecOr[V](g, userLine(), "ValueCodec", o.value)
}
