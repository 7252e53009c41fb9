package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"millrace/record"
)

// The progress of a task, all numbers varints:
//
//	2 | inputs | per input: watermark, 1 when idle | gauges | per gauge: watermark | markers | per marker: watermark, 1 when idle |
//	per source of the user's: next offset + 1, of a repartition topic: next offset of old records | tasks upstream | per task: next offset, covers
//
// Inputs are those of the clocks, in the order of the operators, as gauges and
// markers are; covers are those of a [coversEncoder]. Version 1 ends before the
// sources: what they cover is not known then.
const (
	progressVersion    = 2
	oldProgressVersion = 1
)

// ErrProgress means that the progress of a task is not of this job's shape: the
// job has changed, or the number of tasks has.
var ErrProgress = errors.New("topology: the progress stored for a task is not of this job's shape")

// AppendProgress implements [Task].
func (t *task) AppendProgress(b []byte) []byte {
	b = append(b, progressVersion)
	b = binary.AppendUvarint(b, uint64(t.inputCount()))
	for _, c := range t.clocks {
		for _, in := range c.inputs {
			b = appendReading(b, in.open)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(t.gauges)))
	for _, g := range t.gauges {
		b = binary.AppendVarint(b, int64(g.open))
	}
	markers := t.markers()
	b = binary.AppendUvarint(b, uint64(len(markers)))
	for _, m := range markers {
		b = appendReading(b, m.sent.reading)
	}
	return t.appendSources(b)
}

func (t *task) appendSources(b []byte) []byte {
	var e coversEncoder
	for i, f := range t.feeders {
		if c, ok := f.(crossing); ok {
			b = c.appendTo(&e, b)
		} else {
			b = binary.AppendUvarint(b, uint64(t.places[i].open+1))
		}
	}
	return b
}

func (t *task) loadSources(b []byte) error {
	d := coversDecoder{b: b}
	for i, f := range t.feeders {
		if c, ok := f.(crossing); ok {
			c.load(&d)
		} else {
			next := d.offset() - 1
			t.places[i] = place{next, next}
		}
	}
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("%w: sources", ErrProgress)
	}
	return nil
}

func (t *task) inputCount() (n int) {
	for _, c := range t.clocks {
		n += len(c.inputs)
	}
	return n
}

func (t *task) markers() (all []*marker) {
	for _, p := range t.preparers {
		if m, ok := p.(interface{ theMarker() *marker }); ok {
			all = append(all, m.theMarker())
		}
	}
	return all
}

func (m *marker) theMarker() *marker { return m }

func appendReading(b []byte, r reading) []byte {
	b = binary.AppendVarint(b, int64(r.mark))
	if r.idle {
		return append(b, 1)
	}
	return append(b, 0)
}

// LoadProgress implements [Task].
func (t *task) LoadProgress(b []byte) error {
	d := progressDecoder{b: b}
	version := d.next(1)
	if len(version) != 1 || version[0] != progressVersion && version[0] != oldProgressVersion {
		return fmt.Errorf("%w: version", ErrProgress)
	}
	d.count(t.inputCount(), "inputs")
	for _, c := range t.clocks {
		for i := range c.inputs {
			r := d.reading()
			c.inputs[i] = input{r, r}
		}
	}
	d.count(len(t.gauges), "watermarks")
	for _, g := range t.gauges {
		g.open = record.Timestamp(d.varint())
		g.kept = g.open
	}
	markers := t.markers()
	d.count(len(markers), "markers")
	for _, m := range markers {
		m.sent = told{reading: d.reading()}
	}
	if version[0] == oldProgressVersion {
		if d.err == nil && len(d.b) > 0 {
			d.fail("bytes behind its end")
		}
		for _, c := range t.crossings() {
			c.loadOld()
		}
	} else if d.err == nil {
		d.err = t.loadSources(d.b)
	}
	if d.err != nil {
		return d.err
	}
	for _, m := range markers {
		m.settle()
	}
	for _, p := range t.preparers {
		if w, ok := p.(interface{ loaded() }); ok {
			w.loaded()
		}
	}
	return nil
}

// WatermarkOf is the watermark in the stored progress of any job's task,
// NoTimestamp when it is unknown or when nothing depends on it.
func WatermarkOf(progress []byte) (record.Timestamp, error) {
	d := progressDecoder{b: progress}
	if v := d.next(1); len(v) != 1 || v[0] != progressVersion {
		return record.NoTimestamp, fmt.Errorf("%w: version", ErrProgress)
	}
	for range d.number() {
		d.reading()
	}
	least := record.Timestamp(math.MaxInt64)
	gauges := d.number()
	for range gauges {
		least = min(least, record.Timestamp(d.varint()))
	}
	if d.err != nil || gauges == 0 || least == noMark {
		return record.NoTimestamp, d.err
	}
	return least, nil
}

// number is how many follow; no more than there are bytes.
func (d *progressDecoder) number() uint64 {
	n, width := binary.Uvarint(d.b)
	if width <= 0 || n > uint64(len(d.b)) {
		d.fail("cut off")
		return 0
	}
	d.b = d.b[width:]
	return n
}

// progressDecoder remembers the first fault.
type progressDecoder struct {
	b   []byte
	err error
}

func (d *progressDecoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrProgress, fmt.Sprintf(format, args...))
	}
	d.b = nil
}

func (d *progressDecoder) next(n int) []byte {
	if len(d.b) < n {
		d.fail("cut off")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *progressDecoder) count(want int, of string) {
	n, width := binary.Uvarint(d.b)
	if width <= 0 || n != uint64(want) {
		d.fail("%d %s where this job has %d", n, of, want)
		return
	}
	d.b = d.b[width:]
}

func (d *progressDecoder) varint() int64 {
	v, width := binary.Varint(d.b)
	if width <= 0 {
		d.fail("cut off")
		return 0
	}
	d.b = d.b[width:]
	return v
}

func (d *progressDecoder) reading() reading {
	r := reading{mark: record.Timestamp(d.varint())}
	if b := d.next(1); len(b) == 1 {
		r.idle = b[0] == 1
	}
	return r
}
