package topology

import "millrace/record"

// vec is a run of records in typed columns of equal length. Its receiver must
// not change it nor keep it: columns are shared and reused. keys is nil where no
// operator below reads them, marks where none has a window.
type vec[K, V any] struct {
	rows
	keys   []K
	values []V
}

// rows is what a vec has beside keys and values.
type rows struct {
	times []record.Timestamp

	// marks is the watermark of each record's own input partition when the record
	// was reached: whether a record is late depends on it alone, and so neither on
	// the order in which partitions are read nor on where commits fall.
	marks []record.Timestamp

	// at is each record's row in the batch that is processed; nil for records that
	// a table has made.
	at []int32

	// slices is the slice of time of each record, between an operator that cuts
	// windows and the one that keeps them.
	slices []record.Timestamp

	origin *origin // of records that a table has made
}

// origin is where records come from that no batch holds: what their dead letters
// tell.
type origin struct {
	topic record.Topic // the changelog of their table
	bytes func(i int) (key, value []byte)
}

// port takes vecs. Interface calls happen per vec, not per record.
type port[K, V any] interface {
	take(v *vec[K, V]) error
}

// fan gives a vec to all its ports in order.
type fan[K, V any] []port[K, V]

func (f fan[K, V]) take(v *vec[K, V]) error {
	if len(v.values) == 0 {
		return nil
	}
	for _, p := range f {
		if err := p.take(v); err != nil {
			return err
		}
	}
	return nil
}

// chunkRows is how many records of a batch go through the operators at a time:
// the columns of a chunk stay in the second-level cache.
const chunkRows = 1024

// picker holds the columns of records picked from a vec.
type picker[K any] struct {
	rows
	keys []K
}

// pick gathers the rows sel of from. When sel is all of them, nothing is copied.
func (p *picker[K]) pick(from *rows, keys []K, sel []int32) (rows, []K) {
	if isAll(sel, len(from.times)) {
		return *from, keys
	}
	p.times = gather(p.times[:0], from.times, sel)
	p.marks = gather(p.marks[:0], from.marks, sel)
	p.at = gather(p.at[:0], from.at, sel)
	p.slices = gather(p.slices[:0], from.slices, sel)
	p.keys = gather(p.keys[:0], keys, sel)
	picked := rows{times: p.times}
	if from.marks != nil {
		picked.marks = p.marks
	}
	if from.at != nil {
		picked.at = p.at
	}
	if from.slices != nil {
		picked.slices = p.slices
	}
	if from.origin != nil {
		whole, chosen := from.origin.bytes, sel
		picked.origin = &origin{from.origin.topic, func(i int) (key, value []byte) { return whole(int(chosen[i])) }}
	}
	if keys == nil {
		return picked, nil
	}
	return picked, p.keys
}

// picked is some records of a vec: those whose rows are put into sel.
type picked[K, V any] struct {
	sel    []int32
	picker picker[K]
	values []V
	vec    vec[K, V]
}

func (p *picked[K, V]) begin() { p.sel = p.sel[:0] }

// decoded picks the rows from to end; err is why the one behind them could not be
// decoded.
func (p *picked[K, V]) decoded(from, end int, err error) (int, error) {
	for i := from; i < end; i++ {
		p.sel = append(p.sel, int32(i))
	}
	if err != nil {
		err = &reasonError{ReasonDecode, err}
	}
	return end, err
}

// of is the vec of the rows sel of v. Rows are in order and occur once, so as
// many as v has are v.
func (p *picked[K, V]) of(v *vec[K, V]) *vec[K, V] {
	if len(p.sel) == len(v.values) {
		return v
	}
	p.vec.rows, p.vec.keys = p.picker.pick(&v.rows, v.keys, p.sel)
	p.values = gather(p.values[:0], v.values, p.sel)
	p.vec.values = p.values
	return &p.vec
}

// isAll says that sel is 0, 1, 2… up to n.
func isAll(sel []int32, n int) bool {
	if len(sel) != n {
		return false
	}
	for i, row := range sel {
		if row != int32(i) {
			return false
		}
	}
	return true
}

// gather appends the rows sel of column, if there is one.
func gather[T any](dst, column []T, sel []int32) []T {
	if column == nil {
		return dst
	}
	for _, row := range sel {
		dst = append(dst, column[row])
	}
	return dst
}
