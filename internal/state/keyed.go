package state

import (
	"errors"
	"fmt"
	"reflect"

	"millrace/codec"
	"millrace/record"
)

// Spec describes a table of keys K and accumulators A.
type Spec[K comparable, A any] struct {
	Name  string
	Key   codec.Codec[K]
	Value codec.Codec[A]

	// Init is the accumulator of a new key.
	Init func() A

	// Clone copies an accumulator before it is changed in place; nil when an
	// assignment is a copy.
	Clone func(A) (A, error)

	Backing Backing // nil: empty, and nothing is ever evicted
}

// ErrDamaged means that bytes of a store or a changelog are not what the table
// has written: another program's, or a codec that has changed under the state.
var ErrDamaged = errors.New("state: bytes that the store's codecs do not read")

// Keyed is a table with one accumulator per key. See [Table] for its layers.
type Keyed[K comparable, A any] struct {
	spec   Spec[K, A]
	prefix []byte // before each key: the slice of a windowed table, else empty

	keys index[K]
	rows paged[row[A]] // by the key's number
	open []Open[K, A]  // in the order of first change

	dirty    []uint32 // rows committed and not on disk
	flushing []uint32 // rows given to a flush that is not yet acknowledged

	// complete says that every key of the store is in memory, so that an unknown
	// key is a new one without a look at the disk.
	complete bool
	pointing bool // accumulators hold memory behind pointers

	age     uint16   // counts commits, and wraps: when a row was last used
	sizes   []uint32 // per row, the bytes of its encoded accumulator; nil for one that points nowhere
	extra   int64    // their sum
	scratch []byte
	cut     Cutter // of keys that are given out
}

// Open is a value of the open transaction.
type Open[K comparable, A any] struct {
	Value A
	Time  record.Timestamp // greatest time of a record that changed it
	row   uint32
}

// row is what is known of one key.
type row[A any] struct {
	committed A
	open      int32  // index into Keyed.open, -1 none
	used      uint16 // Keyed.age at the last change
	state     rowState
}

type rowState uint8

const (
	exists  rowState = 1 << iota // committed holds a value
	isDirty                      // in Keyed.dirty
	inFlush                      // in Keyed.flushing
	onDisk                       // the Backing has a value of this key
)

// NewKeyed is the table that s.Backing holds.
func NewKeyed[K comparable, A any](s Spec[K, A]) *Keyed[K, A] {
	return newKeyed(s, nil, s.Backing == nil || s.Backing.Empty())
}

func newKeyed[K comparable, A any](s Spec[K, A], prefix []byte, complete bool) *Keyed[K, A] {
	return &Keyed[K, A]{
		spec: s, prefix: prefix, keys: newIndex[K](),
		complete: complete, pointing: pointsSomewhere(reflect.TypeFor[A]()),
	}
}

// Reset drops the open values. Their keys stay known, for the next transaction is
// likely to have them again, unless there are many more keys than it has used.
// It is for a table without a Backing that is empty after each transaction.
func (t *Keyed[K, A]) Reset() {
	crowded := t.Len() > 8*len(t.open)+1024
	t.Abort()
	if crowded {
		t.keys.reset()
		t.rows.reset()
		t.sizes, t.extra = nil, 0
	}
}

// Name implements [Table].
func (t *Keyed[K, A]) Name() string { return t.spec.Name }

// Len is the number of keys in memory, new ones of the open transaction included.
func (t *Keyed[K, A]) Len() int { return t.keys.len() }

// Rows sets ids[i] to the row of keys[i], which it makes or reads from disk when
// it is not in memory. A row's number holds until the next Evict.
func (t *Keyed[K, A]) Rows(keys []K, ids []uint32) error {
	t.keys.find(keys, ids)
	added := t.keys.added()
	t.makeRows(added)
	if t.complete {
		return nil
	}
	for i, id := range added {
		if err := t.read(id); err != nil {
			// What was not read is not known to be absent: it is asked for again.
			for _, unread := range added[i:] {
				t.keys.remove(unread)
			}
			return err
		}
	}
	return nil
}

// makeRows makes empty rows for numbers that the index has given out.
func (t *Keyed[K, A]) makeRows(added []uint32) {
	for _, id := range added {
		if empty := (row[A]{open: -1, used: t.age}); id < uint32(t.rows.n) {
			*t.rows.at(id) = empty
		} else {
			t.rows.add(empty)
		}
	}
}

func (t *Keyed[K, A]) read(id uint32) error {
	key, err := t.appendKey(t.scratch[:0], id)
	if err != nil {
		return err
	}
	t.scratch = key
	value, ok, err := t.spec.Backing.Get(key)
	if err != nil || !ok {
		return err
	}
	return t.set(id, value, exists|onDisk)
}

// set makes value the committed one of a row.
func (t *Keyed[K, A]) set(id uint32, value []byte, s rowState) error {
	v, err := t.decode(value)
	if err != nil {
		return err
	}
	r := t.rows.at(id)
	r.committed = v
	r.state |= s
	t.resize(id, len(value))
	return nil
}

func (t *Keyed[K, A]) appendKey(dst []byte, id uint32) ([]byte, error) {
	dst, err := t.spec.Key.Append(append(dst, t.prefix...), t.keys.key(id, &t.cut))
	if err != nil {
		return dst, fmt.Errorf("store %q: encode a key: %w", t.spec.Name, err)
	}
	return dst, nil
}

// Change is the open value of a row, to be changed in place before the next call,
// its Time with it. The first change of a key in a transaction copies the
// committed value, or begins with Init, and with the time at.
func (t *Keyed[K, A]) Change(id uint32, at record.Timestamp) (*Open[K, A], error) {
	r := t.rows.at(id)
	if r.open < 0 {
		return t.firstChange(id, r, at)
	}
	return &t.open[r.open], nil
}

func (t *Keyed[K, A]) firstChange(id uint32, r *row[A], at record.Timestamp) (*Open[K, A], error) {
	var v A
	var err error
	switch {
	case r.state&exists == 0:
		v = t.spec.Init()
	case t.spec.Clone != nil:
		if v, err = t.spec.Clone(r.committed); err != nil {
			return nil, err
		}
	default:
		v = r.committed
	}
	r.open = int32(len(t.open))
	r.used = t.age
	t.open = append(t.open, Open[K, A]{Value: v, Time: at, row: id})
	return &t.open[r.open], nil
}

// Unchange takes the newest of the open values back, as if its key had not been
// changed.
func (t *Keyed[K, A]) Unchange() {
	last := len(t.open) - 1
	t.rows.at(t.open[last].row).open = -1
	t.open[last] = Open[K, A]{}
	t.open = t.open[:last]
}

// OpenKeys implements [Table].
func (t *Keyed[K, A]) OpenKeys() int { return len(t.open) }

// Opened is the i-th changed key of the open transaction, below [Keyed.OpenKeys].
func (t *Keyed[K, A]) Opened(i int) (K, *Open[K, A]) {
	o := &t.open[i]
	return t.keys.key(o.row, &t.cut), o
}

// resize notes the encoded size of a row's accumulator: the measure of what it
// holds behind pointers, where it can hold anything there.
func (t *Keyed[K, A]) resize(id uint32, size int) {
	if !t.pointing {
		return
	}
	for len(t.sizes) <= int(id) {
		t.sizes = append(t.sizes, 0)
	}
	t.extra += int64(size) - int64(t.sizes[id])
	t.sizes[id] = uint32(size)
}

// pointsSomewhere says that values of a type hold memory beside their own.
func pointsSomewhere(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return pointsSomewhere(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if pointsSomewhere(t.Field(i).Type) {
				return true
			}
		}
		return false
	case reflect.String, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	}
	return false
}
