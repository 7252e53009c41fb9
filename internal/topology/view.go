package topology

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"millrace/codec"
	"millrace/internal/state"
	"millrace/record"
)

// Reader is who runs the plan: it gives views the tasks to read.
type Reader interface {
	// Read calls f with the task that keeps key, ReadEach with each task here that
	// has the store. Meanwhile no task is stepped.
	Read(store string, key []byte, f func(Reading) error) error
	ReadEach(store string, f func(Reading) error) error
}

// Reading is a task that runs here, for reading its committed tables.
type Reading struct {
	Sub       int
	Partition record.Partition
	Tasks     int // of Sub, here and elsewhere
	Task      Task
	// Offsets are how far the task's own inputs were committed, as of CommittedAt;
	// of those that are topics of the user's.
	Offsets     map[record.TopicPartition]record.Offset
	CommittedAt time.Time
}

// Coverage is what the committed table of a store reflects of the job's input.
func (r Reading) Coverage(store string) Coverage {
	t, ok := r.Task.(*task)
	if !ok {
		return nil
	}
	i := slices.IndexFunc(t.sub.Stores, func(s StoreSpec) bool { return s.Name == store })
	if i < 0 {
		return nil
	}
	return t.coverage(t.keepers[i], func(source int) record.Offset {
		next, known := r.Offsets[record.TopicPartition{Topic: t.sub.Sources[source].Topic, Partition: t.cfg.Partition}]
		if !known {
			return -1
		}
		return next
	}, func(c crossing) covers { return c.covers(false) }).public()
}

// Attach tells the views of the graph's tables who runs its plan.
func (g *Graph) Attach(r Reader) { g.reader.Store(&r) }

// Reader is who was attached last; nil before.
func (g *Graph) Reader() Reader {
	if r := g.reader.Load(); r != nil {
		return *r
	}
	return nil
}

// View reads the committed results of a table in the tasks that have it. Its
// methods are for a task that is not stepped meanwhile; several readers may come
// at once.
type View[K comparable, R any] struct {
	store string
	key   codec.Codec[K]
	get   func(state.Table, K) (R, bool, error)
	watch func() Observer[K, R]
}

// Observer is told of the committed results of one task's table, from the first
// [View.Observed] on: of all that are there, and then of each that a commit
// changes. It is changed by one goroutine at a time, never while it is read.
type Observer[K comparable, R any] interface {
	Add(key K, result R) // the first result of a key
	Change(key K, before, after R)
}

// newView is the view of a table that keeps accumulators A.
func newView[K comparable, A, R any](store string, key codec.Codec[K], result func(A) R) *View[K, R] {
	return &View[K, R]{store: store, key: key, get: func(t state.Table, k K) (r R, ok bool, err error) {
		a, ok, err := t.(*state.Keyed[K, A]).Committed(k)
		if !ok || err != nil {
			return r, false, err
		}
		defer caught(&err)
		return result(a), true, nil
	}}
}

// Store is the name of the table's store.
func (v *View[K, R]) Store() string { return v.store }

// KeyBytes is a key as it decides on the partition.
func (v *View[K, R]) KeyBytes(k K) ([]byte, error) { return v.key.Append(nil, k) }

// Get is the committed result of a key in the task that has its partition.
func (v *View[K, R]) Get(in Task, k K) (R, bool, error) {
	for _, t := range in.Tables() {
		if t.Name() == v.store {
			return v.get(t, k)
		}
	}
	var none R
	return none, false, fmt.Errorf("topology: the task has no store %q", v.store)
}

// Watch has each task's results observed by what makes makes. It comes before
// the plan is run.
func (v *View[K, R]) Watch(makes func() Observer[K, R]) { v.watch = makes }

// Observed is the task's observer, with all committed results.
func (v *View[K, R]) Observed(in Task) (Observer[K, R], error) {
	if w, ok := readable(in, v.store).(interface {
		loaded() (Observer[K, R], error)
	}); ok {
		return w.loaded()
	}
	return nil, fmt.Errorf("topology: store %q is not watched in this task", v.store)
}

// readable is what a task offers to the view of a store.
func readable(in Task, store string) any {
	if t, ok := in.(*task); ok {
		return t.readable[store]
	}
	return nil
}

// offer is readable's other side.
func (t *task) offer(store string, it any) {
	if t.readable == nil {
		t.readable = make(map[string]any)
	}
	t.readable[store] = it
}

// watcher tells one task's observer.
type watcher[K comparable, A, R any] struct {
	table    *state.Keyed[K, A]
	result   func(A) R
	observer Observer[K, R]
	pending  []change[K, R]

	loading sync.Mutex
	isFull  bool // the observer knows all that is committed
}

type change[K, R any] struct {
	key           K
	before, after R
	isNew         bool
}

// newWatcher is nil for a view that nobody watches.
func newWatcher[K comparable, A, R any](w *wiring, v *View[K, R], table *state.Keyed[K, A], result func(A) R) *watcher[K, A, R] {
	if v.watch == nil {
		return nil
	}
	it := &watcher[K, A, R]{table: table, result: result, observer: v.watch()}
	w.task.offer(v.store, it)
	return it
}

// collect notes what the open transaction changes. The first reader may come
// before its commit, so that is noted also while there is none.
func (w *watcher[K, A, R]) collect() {
	if w == nil {
		return
	}
	w.drop()
	for i := range w.table.OpenKeys() {
		w.note(i)
	}
}

// openBytes is what collect will take for so many changed keys.
func (w *watcher[K, A, R]) openBytes(keys int) int64 {
	if w == nil {
		return 0
	}
	var c change[K, R]
	return int64(keys) * int64(unsafe.Sizeof(c))
}

// note leaves out a result that the user's function refuses to give.
func (w *watcher[K, A, R]) note(i int) {
	var err error
	defer caught(&err)
	key, open := w.table.Opened(i)
	c := change[K, R]{key: key, after: w.result(open.Value), isNew: true}
	if before, ok := w.table.OpenedBefore(i); ok {
		c.before, c.isNew = w.result(before), false
	}
	w.pending = append(w.pending, c)
}

func (w *watcher[K, A, R]) commit() {
	if w == nil {
		return
	}
	for i := range w.pending {
		if !w.isFull {
			break // the first reader finds it in the table
		}
		if c := &w.pending[i]; c.isNew {
			w.observer.Add(c.key, c.after)
		} else {
			w.observer.Change(c.key, c.before, c.after)
		}
	}
	w.drop()
}

func (w *watcher[K, A, R]) drop() {
	if w != nil {
		clear(w.pending)
		w.pending = w.pending[:0]
	}
}

// loaded is the observer, which on the first call is told what is there.
func (w *watcher[K, A, R]) loaded() (_ Observer[K, R], err error) {
	w.loading.Lock()
	defer w.loading.Unlock()
	if w.isFull {
		return w.observer, nil
	}
	err = w.table.EachCommitted(func(k K, a A) (err error) {
		defer caught(&err)
		w.observer.Add(k, w.result(a))
		return nil
	})
	w.isFull = err == nil
	return w.observer, err
}

// WindowView reads the committed results of a windowed table, as [View] does.
type WindowView[K comparable, R any] struct {
	store string
	key   codec.Codec[K]
}

// Store is the name of the table's store.
func (v *WindowView[K, R]) Store() string { return v.store }

// KeyBytes is a key as it decides on the partition.
func (v *WindowView[K, R]) KeyBytes(k K) ([]byte, error) { return v.key.Append(nil, k) }

// Each yields the results of a key in all windows that are kept, in the order of
// time. A window is final when the task's watermark has passed its end and grace.
func (v *WindowView[K, R]) Each(in Task, k K, yield func(Update[R])) error {
	w, ok := readable(in, v.store).(interface {
		eachCommitted(k K, yield func(Update[R])) error
	})
	if !ok {
		return fmt.Errorf("topology: the task has no store %q", v.store)
	}
	return w.eachCommitted(k, yield)
}

// eachCommitted sums up a key's slices to windows.
func (n *winTableNode[K, X, A, R]) eachCommitted(k K, yield func(Update[R])) (err error) {
	defer caught(&err)
	sums := make(map[record.Timestamp]A)
	slide := record.Timestamp(n.spec.Slide.Milliseconds())
	err = n.windows.EachCommitted(k, func(s *state.Slice[K, A], a A) {
		for first, last := windowsOf(n.spec, s.Start); first <= last; first += slide {
			own := a
			if n.clone != nil {
				if own, err = n.clone(a); err != nil {
					panic(err)
				}
			}
			if sum, ok := sums[first]; ok {
				own = n.merge(sum, own)
			}
			sums[first] = own
		}
	})
	if err != nil {
		return err
	}
	for _, start := range slices.Sorted(maps.Keys(sums)) {
		w := n.spec.At(start)
		yield(Update[R]{w, n.result(sums[start]), n.spec.CloseAt(w) <= n.windows.CommittedClosed()})
	}
	return nil
}
