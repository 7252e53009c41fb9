package millrace

import "millrace/internal/topology"

// Table is the newest result of each key.
type Table[K comparable, R any] struct{ t topology.Table[K, R] }

// To writes the table to a topic, which should be compacted: each commit the
// newest result of every key that has changed.
func (t Table[K, R]) To(to Topic[K, R], options ...Option) {
	o := set(options)
	topology.TableTo(t.t, at(t.t.Graph(), "To", refusing, o, nil), o.policy, to.t)
}

// Stream is the changes of the table: one record per changed key and commit. How
// many there are of one key depends on where commits fall; the last one does
// not.
func (t Table[K, R]) Stream() Stream[K, R] { return Stream[K, R]{topology.ToStream(t.t)} }
