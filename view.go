package millrace

import (
	"errors"
	"fmt"
	"time"

	"millrace/internal/engine"
	"millrace/internal/topology"
	"millrace/record"
	"millrace/window"
)

// View reads the committed results of a table while its job runs: what a
// read_committed consumer of the changelog would have, at this moment. It may be
// used by many goroutines.
//
// An instance has the keys of its own tasks. Of another instance's key, and of
// one whose task is being restored or moved, it says *[AwayError].
type View[K comparable, R any] struct {
	view  *topology.View[K, R]
	graph *topology.Graph
}

// Answer is a result, and what it reflects.
type Answer[R any] struct {
	Result R
	Found  bool // false: no record of the key was counted
	AsOf   AsOf
}

// AsOf is the commit that an answer shows.
type AsOf struct {
	// Offsets are how far the job's input is in the answer: every record below them
	// is. UpTo is where it ends: no record from there on is in it. Where both are
	// equal, the answer is that of the input up to there, exactly; so it is for a
	// key whose records cross one repartition topic at most.
	//
	// Nothing is claimed of a partition that Offsets does not have, and nothing ruled
	// out for one that UpTo does not have: that is so for results of an earlier
	// version, until the next record of that partition.
	Offsets, UpTo map[record.TopicPartition]record.Offset

	CommittedAt time.Time        // of the last commit of this instance
	Watermark   record.Timestamp // event time up to which windows are complete; NoTimestamp: unknown
}

// ErrNotRunning means that the job does not run in this process, or not yet.
var ErrNotRunning = errors.New("the job does not run here")

// AwayError says that a key is not kept by this instance now.
type AwayError struct {
	// Endpoint is that of the instance which has it; empty while nobody does.
	Endpoint string
	Err      error
}

func (e *AwayError) Error() string { return "the key is not here: " + e.Err.Error() }
func (e *AwayError) Unwrap() error { return e.Err }

// View is for reading the table's committed results.
func (t Table[K, R]) View() View[K, R] { return View[K, R]{t.t.View, t.t.Graph()} }

// Get is the result of one key. Errors: [ErrNotRunning], *[AwayError], and those
// of the disk.
func (v View[K, R]) Get(key K) (a Answer[R], err error) {
	b, err := v.view.KeyBytes(key)
	if err != nil {
		return a, fmt.Errorf("encode a key: %w", err)
	}
	err = read(v.graph, v.view.Store(), b, func(r topology.Reading) (err error) {
		a.AsOf = asOf(r, v.view.Store())
		a.Result, a.Found, err = v.view.Get(r.Task, key)
		return err
	})
	return a, err
}

// Observer is told of the committed results of one task's table: of all that
// there are when it is first read, and then of each that a commit changes. It is
// changed by one goroutine at a time, never while it is read by [View.Each].
type Observer[K comparable, R any] = topology.Observer[K, R]

// Watch has every task's results observed by what makes makes: for sums and
// rankings over many keys. It comes before [App.Build], at most once per table.
func (v View[K, R]) Watch(makes func() Observer[K, R]) { v.view.Watch(makes) }

// Part is one task's part of a table.
type Part struct {
	Task  record.Partition
	Tasks int // that have a part, on all instances
	AsOf  AsOf
}

// Each calls f with the observer of each task that runs here.
func (v View[K, R]) Each(f func(Observer[K, R], Part) error) error {
	return readEach(v.graph, v.view.Store(), func(r topology.Reading) error {
		o, err := v.view.Observed(r.Task)
		if err != nil {
			return err
		}
		return f(o, Part{r.Partition, r.Tasks, asOf(r, v.view.Store())})
	})
}

// WindowView is a [View] of a windowed table.
type WindowView[K comparable, R any] struct {
	view  *topology.WindowView[K, R]
	graph *topology.Graph
}

// WindowResult is the result of one key in one window.
type WindowResult[R any] struct {
	Window window.Window
	Result R
	Final  bool // it will not change any more
}

// View is for reading the table's committed results.
func (t WindowTable[K, R]) View() WindowView[K, R] {
	return WindowView[K, R]{t.t.View, t.t.Graph()}
}

// Get are the results of one key in all windows that are kept, in the order of
// time. Errors are those of [View.Get].
func (v WindowView[K, R]) Get(key K) (results []WindowResult[R], at AsOf, err error) {
	b, err := v.view.KeyBytes(key)
	if err != nil {
		return nil, at, fmt.Errorf("encode a key: %w", err)
	}
	err = read(v.graph, v.view.Store(), b, func(r topology.Reading) error {
		at = asOf(r, v.view.Store())
		return v.view.Each(r.Task, key, func(u topology.Update[R]) {
			results = append(results, WindowResult[R]{u.Window, u.Result, u.Final})
		})
	})
	return results, at, err
}

// AsOf is what an answer of Get would reflect, without the answer.
func (v WindowView[K, R]) AsOf(key K) (at AsOf, err error) {
	b, err := v.view.KeyBytes(key)
	if err != nil {
		return at, fmt.Errorf("encode a key: %w", err)
	}
	err = read(v.graph, v.view.Store(), b, func(r topology.Reading) error {
		at = asOf(r, v.view.Store())
		return nil
	})
	return at, err
}

// Parts are the parts of the table that are here. When all Tasks are among them,
// the least of their watermarks is the time up to which all windows are complete.
func (v WindowView[K, R]) Parts() (parts []Part, err error) {
	err = readEach(v.graph, v.view.Store(), func(r topology.Reading) error {
		parts = append(parts, Part{r.Partition, r.Tasks, asOf(r, v.view.Store())})
		return nil
	})
	return parts, err
}

func asOf(r topology.Reading, store string) AsOf {
	at := AsOf{
		Offsets:     make(map[record.TopicPartition]record.Offset),
		UpTo:        make(map[record.TopicPartition]record.Offset),
		CommittedAt: r.CommittedAt,
		Watermark:   r.Task.Stats().Watermark,
	}
	for tp, span := range r.Coverage(store) {
		at.Offsets[tp] = span.All
		if span.None < topology.NoBound {
			at.UpTo[tp] = span.None
		}
	}
	return at
}

// read calls f with the task that keeps a key.
func read(g *topology.Graph, store string, key []byte, f func(topology.Reading) error) error {
	reader := g.Reader()
	if reader == nil {
		return ErrNotRunning
	}
	err := reader.Read(store, key, f)
	if away, ok := errors.AsType[*engine.AwayError](err); ok {
		return &AwayError{Endpoint: away.Peer.Endpoint, Err: err}
	}
	return err
}

func readEach(g *topology.Graph, store string, f func(topology.Reading) error) error {
	reader := g.Reader()
	if reader == nil {
		return ErrNotRunning
	}
	return reader.ReadEach(store, f)
}
