package topology

import (
	"errors"

	"millrace/record"
	"millrace/window"
)

// Windowed is grouped records, each in its windows.
type Windowed[K comparable, V any] struct {
	grouped Grouped[K, V] // its hub gives the records that are in time
	late    *hub[K, V]
	spec    window.Spec
}

// Graph is the graph that w is part of.
func (w Windowed[K, V]) Graph() *Graph { return w.grouped.g }

// Window puts records into windows. What is late for all of them goes to Late.
func Window[K comparable, V any](g Grouped[K, V], at At, p Policy, spec window.Spec) Windowed[K, V] {
	if err := spec.Validate(); err != nil {
		g.g.Fault(at.Where, "window: %v", err, "see window.Spec")
	}
	n := g.g.add("Window", At{at.Where, spec.String()}, g.hub.node)
	n.setPolicy(p)
	n.windows = true
	w := Windowed[K, V]{grouped: g, late: &hub[K, V]{node: n}, spec: spec}
	w.grouped.hub = &hub[K, V]{node: n}
	g.hub.reads(func(wiring *wiring) port[K, V] {
		return &windowNode[K, V]{
			stage: wiring.stage(n),
			spec:  spec,
			next:  w.grouped.hub.wire(wiring),
			late:  w.late.wire(wiring),
		}
	})
	return w
}

// Late is the stream of the records that came too late.
func Late[K comparable, V any](w Windowed[K, V]) Stream[K, V] {
	return Stream[K, V]{g: w.grouped.g, hub: w.late, home: w.grouped.direct}
}

// windowNode cuts time into slices and finds what is late. A record is late by
// the watermark of its own input partition when it was read. Downstream the
// watermark is the least of all inputs, so no record that is in time here comes
// too late there, unless its input had been idle.
type windowNode[K comparable, V any] struct {
	*stage
	spec       window.Spec
	next, late fan[K, V]
	last       sliceRun
	inTime     picked[K, V]
	tooLate    picked[K, V]
	slices     []record.Timestamp
	out        vec[K, V]
}

// sliceRun is the slice of the record before: nearly always that of the next one
// too, which saves the divisions. It holds while the watermark is below safe.
type sliceRun struct{ from, to, safe record.Timestamp }

var (
	errNoTime = errors.New("the record's time is before 1970, or too far ahead of the clock, or there is none")
	errLate   = errors.New("the window was final already: its input had been idle, and was not waited for")
)

func (n *windowNode[K, V]) take(v *vec[K, V]) error {
	n.inTime.begin()
	n.tooLate.begin()
	n.slices = n.slices[:0]
	for i, at := range v.times {
		mark := v.marks[i]
		switch {
		case n.last.from <= at && at < n.last.to && mark < n.last.safe:
			n.slices = append(n.slices, n.last.from)
			n.inTime.sel = append(n.inTime.sel, int32(i))
		case !n.task.validTime(at):
			if err := n.refuse(&v.rows, i, ReasonTimestamp, errNoTime); err != nil {
				return err
			}
		case n.spec.IsLate(at, mark):
			n.tooLate.sel = append(n.tooLate.sel, int32(i))
		default:
			n.slices = append(n.slices, n.cut(at, mark))
			n.inTime.sel = append(n.inTime.sel, int32(i))
		}
	}
	if len(n.tooLate.sel) > 0 {
		n.task.open.Late += int64(len(n.tooLate.sel))
		if err := n.late.take(n.tooLate.of(v)); err != nil {
			return err
		}
	}
	n.out = *n.inTime.of(v)
	n.out.slices = n.slices
	return n.next.take(&n.out)
}

// cut is the number of a record's slice: its start, plus how many of its windows,
// counted from the first, were already final for this record. Those do not count
// it. A slice has more milliseconds than windows, so the numbers are distinct,
// and lie in the order of time.
func (n *windowNode[K, V]) cut(at, mark record.Timestamp) record.Timestamp {
	start, first := n.spec.SliceStart(at), n.spec.FirstStart(at)
	if open := n.spec.FirstOpen(mark); open > first {
		return start + (open-first)/record.Timestamp(n.spec.Slide.Milliseconds())
	}
	n.last = sliceRun{start, start + record.Timestamp(n.spec.Slice().Milliseconds()), n.spec.CloseAt(n.spec.At(first))}
	return start
}

// windowsOf are the starts of the first and the last window that count the
// records of a slice number.
func windowsOf(spec window.Spec, slice record.Timestamp) (first, last record.Timestamp) {
	start := spec.SliceStart(slice)
	skip := slice - start
	return spec.FirstStart(start) + skip*record.Timestamp(spec.Slide.Milliseconds()), spec.LastStart(start)
}

// run cuts rows into runs of one slice.
func sliceRuns(slices []record.Timestamp, each func(from, to int, slice record.Timestamp) error) error {
	for from := 0; from < len(slices); {
		to := from + 1
		for to < len(slices) && slices[to] == slices[from] {
			to++
		}
		if err := each(from, to, slices[from]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// part is the rows from to to of v.
func (v *vec[K, V]) part(from, to int) vec[K, V] {
	p := vec[K, V]{keys: v.keys[from:to], values: v.values[from:to]}
	p.times = v.times[from:to]
	if v.at != nil {
		p.at = v.at[from:to]
	}
	if v.origin != nil {
		p.origin = &origin{v.origin.topic, func(i int) (key, value []byte) { return v.origin.bytes(from + i) }}
	}
	return p
}
