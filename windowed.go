package millrace

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/internal/topology"
	"millrace/record"
	"millrace/window"
)

// Window puts the records into windows of event time, by their timestamps or by
// [Stream.EventTime].
func (g Grouped[K, V]) Window(spec window.Spec, options ...Option) Windowed[K, V] {
	o := set(options)
	place := topology.At{Where: userLine()}
	o.check(g.g.Graph(), place.Where, "Window", refusing)
	return Windowed[K, V]{topology.Window(g.g, place, o.policy, spec)}
}

// Windowed is grouped records in windows.
type Windowed[K comparable, V any] struct{ w topology.Windowed[K, V] }

// Late is the stream of the records that came when all of their windows were
// final. They are counted (millrace_job_late_total) whether or not it is used.
func (w Windowed[K, V]) Late() Stream[K, V] { return Stream[K, V]{topology.Late(w.w)} }

// Aggregate keeps one accumulator per key and window, as a says. Hopping windows
// need an aggregate that can be merged.
func (w Windowed[K, V]) Aggregate[A, R any](name string, a agg.Agg[V, A, R], options ...Option) WindowTable[K, R] {
	o := set(options)
	place := topology.At{Where: userLine(), Label: name}
	o.check(w.w.Graph(), place.Where, "an aggregate", refusing|crossing|emitting)
	return WindowTable[K, R]{topology.AggregateWindows(w.w, place, name, a, storeOptions[V](w.w.Graph(), place, o))}
}

// Count counts the records of each key and window.
func (w Windowed[K, V]) Count(name string, options ...Option) WindowTable[K, int64] {
	return w.Aggregate(name, agg.Count[V](), options...)
}

// Sum adds up f of the records of each key and window.
func (w Windowed[K, V]) Sum[N agg.Number](name string, f func(V) N, options ...Option) WindowTable[K, N] {
	return w.Aggregate(name, agg.Sum(f), options...)
}

// Min is the least f of the records of each key and window.
func (w Windowed[K, V]) Min[X cmp.Ordered](name string, f func(V) X, options ...Option) WindowTable[K, X] {
	return w.Aggregate(name, agg.Min(f), options...)
}

// Max is the greatest f of the records of each key and window.
func (w Windowed[K, V]) Max[X cmp.Ordered](name string, f func(V) X, options ...Option) WindowTable[K, X] {
	return w.Aggregate(name, agg.Max(f), options...)
}

// Avg is the mean of f of the records of each key and window.
func (w Windowed[K, V]) Avg[N agg.Number](name string, f func(V) N, options ...Option) WindowTable[K, float64] {
	return w.Aggregate(name, agg.Avg(f), options...)
}

// Distinct counts the different f of the records of each key and window.
func (w Windowed[K, V]) Distinct[X comparable](name string, f func(V) X, options ...Option) WindowTable[K, int64] {
	return w.Aggregate(name, agg.Distinct(f), options...)
}

// TopK is the k greatest f of the records of each key and window.
func (w Windowed[K, V]) TopK[X cmp.Ordered](name string, k int, f func(V) X, options ...Option) WindowTable[K, []X] {
	return w.Aggregate(name, agg.TopK(k, f), options...)
}

// Reduce puts the records of each key and window together, two at a time; f must
// be associative.
func (w Windowed[K, V]) Reduce(name string, f func(a, b V) V, options ...Option) WindowTable[K, V] {
	return w.Aggregate(name, agg.Reduce(f, reducedCodec[V](w.w.Graph(), options)), options...)
}

// Win is a key in a window: the key of the topics of windowed tables.
type Win[K comparable] = topology.Win[K]

// WindowTable is the newest result of each key and window.
type WindowTable[K comparable, R any] struct{ t topology.WindowTable[K, R] }

// To writes the results to a topic. What is sent when is said with [EmitFinal]
// and [EmitBoth] at the aggregate.
func (t WindowTable[K, R]) To(to Topic[Win[K], R], options ...Option) {
	o := set(options)
	topology.WindowsTo(t.t, at(t.t.Graph(), "To", refusing, o, nil), o.policy, to.t)
}

// Update is one result of a key in a window.
type Update[K comparable, R any] struct {
	Key    K
	Window window.Window
	Result R
	Final  bool // no other will follow
}

// Changes is the stream of the results, as f tells them.
func (t WindowTable[K, R]) Changes[W any](f func(Update[K, R]) W, options ...Option) Stream[K, W] {
	o := set(options)
	tell := func(k K, u topology.Update[R]) W { return f(Update[K, R]{k, u.Window, u.Result, u.Final}) }
	return Stream[K, W]{topology.WindowChanges(t.t, at(t.t.Graph(), "Changes", naming|refusing, o, f), o.policy, tell)}
}

// WinKey stores a key in windows of the given size as Kafka Streams'
// TimeWindowedSerializer does: the key, then the window's start in milliseconds,
// eight bytes big endian.
func WinKey[K comparable](key codec.Codec[K], size time.Duration) codec.Codec[Win[K]] {
	return winKeyCodec[K]{key, record.Timestamp(size.Milliseconds())}
}

type winKeyCodec[K comparable] struct {
	key  codec.Codec[K]
	size record.Timestamp
}

var errShortWinKey = errors.New("codec: a windowed key of less than eight bytes")

func (c winKeyCodec[K]) Name() string { return fmt.Sprintf("window(%s,%dms)", c.key.Name(), c.size) }

func (c winKeyCodec[K]) Append(dst []byte, w Win[K]) ([]byte, error) {
	dst, err := c.key.Append(dst, w.Key)
	return binary.BigEndian.AppendUint64(dst, uint64(w.Window.Start)), err
}

func (c winKeyCodec[K]) Decode(b []byte) (w Win[K], err error) {
	end := len(b) - 8
	if end < 0 {
		return w, errShortWinKey
	}
	w.Window.Start = record.Timestamp(binary.BigEndian.Uint64(b[end:]))
	w.Window.End = w.Window.Start + c.size
	w.Key, err = c.key.Decode(b[:end])
	return w, err
}
