package millrace

import (
	"reflect"
	"time"

	"millrace/internal/topology"
	"millrace/record"
)

// Stream is a flow of records with keys K and values V. Every method describes
// one operator and returns what it gives out; a Stream can be used any number of
// times.
//
// Functions that a user passes in run on one goroutine per task. They may be
// called again for a record whose transaction was aborted, so they should have
// no effect outside. When one returns an error or panics, the record goes the
// way of the operator's policy ([DeadLetter], [Skip], [Stop], [Retry]), and the
// job goes on.
type Stream[K, V any] struct{ s topology.Stream[K, V] }

// From reads a topic from its beginning, and later from where the job had
// committed. It may be read once per App; use the stream in several places
// instead. A record that the codecs cannot read goes the way of the policy.
func (a *App) From[K, V any](t Topic[K, V], options ...Option) Stream[K, V] {
	s := set(options)
	return Stream[K, V]{topology.From(a.graph, at(a.graph, "From", refusing|lagging, s, nil), s.policy, s.disorder, t.t)}
}

// Map makes each record another one. Grouping by [RecordKey] is not possible
// after it, for the new key may belong to another partition.
func (s Stream[K, V]) Map[L, W any](f func(K, V) (L, W), options ...Option) Stream[L, W] {
	o := set(options)
	return Stream[L, W]{topology.Map(s.s, at(s.s.Graph(), "Map", naming|refusing, o, f), o.policy, f)}
}

// MapValues makes each value another one.
func (s Stream[K, V]) MapValues[W any](f func(V) W, options ...Option) Stream[K, W] {
	o := set(options)
	return Stream[K, W]{topology.MapValues(s.s, "MapValues", at(s.s.Graph(), "MapValues", naming|refusing, o, f), o.policy, f)}
}

// TryMap makes each value another one, or says why it cannot.
func (s Stream[K, V]) TryMap[W any](f func(V) (W, error), options ...Option) Stream[K, W] {
	o := set(options)
	return Stream[K, W]{topology.TryMap(s.s, "TryMap", at(s.s.Graph(), "TryMap", naming|refusing, o, f), o.policy, f)}
}

// Origin names the input record that a value comes from; its String is a key to
// tell repetitions by.
type Origin = topology.Origin

// TryMapFrom is TryMap for a function that acts outside of Kafka. After an abort
// or a crash it runs again for the same records: what it does must be made one by
// the key that it gives along, such as from.String(), topic/partition/offset/seq,
// which is the same each time.
func (s Stream[K, V]) TryMapFrom[W any](f func(from Origin, v V) (W, error), options ...Option) Stream[K, W] {
	o := set(options)
	return Stream[K, W]{topology.TryMapFrom(s.s, at(s.s.Graph(), "TryMapFrom", naming|refusing, o, f), o.policy, f)}
}

// Filter keeps the records whose value f likes.
func (s Stream[K, V]) Filter(f func(V) bool, options ...Option) Stream[K, V] {
	o := set(options)
	return Stream[K, V]{topology.Filter(s.s, at(s.s.Graph(), "Filter", naming|refusing, o, f), o.policy, f)}
}

// FlatMap makes each value any number of values: f calls emit for each. If f
// fails, none of them counts.
func (s Stream[K, V]) FlatMap[W any](f func(v V, emit func(W)), options ...Option) Stream[K, W] {
	o := set(options)
	return Stream[K, W]{topology.FlatMap(s.s, "FlatMap", at(s.s.Graph(), "FlatMap", naming|refusing, o, f), o.policy, f)}
}

// Peek shows each record to f and passes it on.
func (s Stream[K, V]) Peek(f func(K, V), options ...Option) Stream[K, V] {
	o := set(options)
	return Stream[K, V]{topology.Peek(s.s, at(s.s.Graph(), "Peek", naming|refusing, o, f), o.policy, f)}
}

// Branch sends each record to one of len(likes)+1 streams: that of the first
// function that likes its value, else the last one.
func (s Stream[K, V]) Branch(likes ...func(V) bool) []Stream[K, V] {
	branches := topology.Branch(s.s, at(s.s.Graph(), "Branch", 0, settings{}, nil), topology.Policy{}, likes)
	streams := make([]Stream[K, V], len(branches))
	for i, b := range branches {
		streams[i] = Stream[K, V]{b}
	}
	return streams
}

// Merge is the records of s and the others, in no particular order between them.
func (s Stream[K, V]) Merge(others ...Stream[K, V]) Stream[K, V] {
	more := make([]topology.Stream[K, V], len(others))
	for i, o := range others {
		more[i] = o.s
	}
	return Stream[K, V]{topology.Merge(at(s.s.Graph(), "Merge", 0, settings{}, nil), s.s, more...)}
}

// EventTime gives each record the time that f reads from its value, in place of
// the record's timestamp. Windows below go by it. A time before 1970, or more than
// an hour ahead of the clock, is refused by Window, by its policy.
func (s Stream[K, V]) EventTime(f func(V) time.Time, options ...Option) Stream[K, V] {
	o := set(options)
	read := func(v V) record.Timestamp { return record.TimestampOf(f(v)) }
	return Stream[K, V]{topology.EventTime(s.s, at(s.s.Graph(), "EventTime", naming|refusing|lagging, o, f), o.policy, o.disorder, read)}
}

// EventTimestamp is [Stream.EventTime] for values that hold Kafka's milliseconds,
// which saves a conversion per record.
func (s Stream[K, V]) EventTimestamp(f func(V) record.Timestamp, options ...Option) Stream[K, V] {
	o := set(options)
	return Stream[K, V]{topology.EventTime(s.s, at(s.s.Graph(), "EventTimestamp", naming|refusing|lagging, o, f), o.policy, o.disorder, f)}
}

// GroupBy gives each record the key that it counts for.
func (s Stream[K, V]) GroupBy[G comparable](key func(V) G, options ...Option) Grouped[G, V] {
	o := set(options)
	place := at(s.s.Graph(), "GroupBy", naming|refusing|grouping, o, key)
	c := codecOr[G](s.s.Graph(), place.Where, "KeyCodec", o.key)
	return Grouped[G, V]{topology.GroupBy(s.s, place, o.policy, o.recordKey, c, key)}
}

// To writes the stream to a topic. The partition is that of the key.
func (s Stream[K, V]) To(t Topic[K, V], options ...Option) {
	o := set(options)
	topology.To(s.s, at(s.s.Graph(), "To", refusing, o, nil), o.policy, t.t)
}

// Through writes the stream to a topic and reads it from there: others can use
// it too, and records move to the partition of their key. Say [Topic.Keyed] to
// group by [RecordKey] after it.
func (s Stream[K, V]) Through(t Topic[K, V], options ...Option) Stream[K, V] {
	o := set(options)
	return Stream[K, V]{topology.Through(s.s, at(s.s.Graph(), "Through", refusing, o, nil), o.policy, t.t)}
}

func typeName[T any]() string { return reflect.TypeFor[T]().String() }
