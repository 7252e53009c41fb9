package log

import (
	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// locate finds the batch that holds off in segment i of v, whose file is f.
// *CorruptError when that batch is damaged or missing.
func (l *Log) locate(v *view, i int, f vfs.File, off record.Offset) (place, error) {
	if seg := v.segments[i]; off == seg.base {
		return place{position: 0, base: off}, nil
	}
	at, err := l.seek(v, i, f, off, false)
	if isBad(err) { // maybe a header further up led here: prove each step
		return l.seek(v, i, f, off, true)
	}
	return at, err
}

// seek walks from the nearest index entry to the batch that holds off. With
// prove every batch on the way is verified and damage is passed by; without it a
// header that cannot be right ends the walk with *badBatch.
func (l *Log) seek(v *view, i int, f vfs.File, off record.Offset, prove bool) (place, error) {
	w, err := l.walk(v, i, f, off, prove)
	if err != nil {
		return place{}, err
	}
	defer w.close()
	for {
		h, d, err := w.step()
		switch {
		case err == errEnd:
			return place{}, l.missing(w)
		case err != nil:
			return place{}, err
		case d != nil && off < d.to:
			return place{}, d.corrupt(l.tp, w.seg)
		case d != nil:
			continue
		case h.LastOffset() >= off:
			return place{position: w.pos, base: w.next}, nil
		}
		w.pass(h)
	}
}

// missing is the error for offsets that the segment should hold and does not:
// somebody else cut its file.
func (l *Log) missing(w *walker) error {
	return damage{pos: w.pos, end: w.pos, from: w.next, to: w.endOffset, reason: "records are missing"}.corrupt(l.tp, w.seg)
}

// triedEntries bounds how many index entries a lookup tries before it starts at
// the front of the segment: a damaged index costs time, not records.
const triedEntries = 4

// lookup moves the cursor to a batch at or before off that the index names, or
// leaves it at the front of the segment.
func (c *cursor) lookup(seg *segment, off record.Offset, prove bool) error {
	f, err := seg.openIndex(&seg.index, indexFile)
	if f == nil || err != nil {
		return err
	}
	defer seg.index.release()
	entries, err := readEntries(f, indexEntrySize)
	if err != nil {
		return err
	}
	n, err := entries.search(func(b []byte) bool { return decodeIndexEntry(b, seg.base).last <= off })
	if err != nil {
		return err
	}
	for i := n - 1; i >= max(0, n-triedEntries); i-- {
		b, err := entries.at(i)
		if err != nil {
			return err
		}
		e := decodeIndexEntry(b, seg.base)
		if e.last > off || seg.damageAt(e.position) != nil {
			continue // entries were lost, and read as zeros; or the batch is no place to start from
		}
		if found, err := c.confirm(e, prove); found || err != nil {
			return err
		}
	}
	return nil
}

// confirm moves the cursor to the batch of an index entry if it is what the entry says.
func (c *cursor) confirm(e indexEntry, prove bool) (bool, error) {
	h, ok, err := c.entryHeader(e)
	if !ok || err != nil {
		return false, err
	}
	if prove {
		if err := c.prove(h, e.position); err != nil {
			return false, unlessBad(err)
		}
	}
	c.pos, c.next = e.position, h.BaseOffset
	return true, nil
}

// entryHeader is the header of the batch that an index entry names, if it fits the entry.
func (c *cursor) entryHeader(e indexEntry) (h batch.Header, ok bool, err error) {
	if e.position >= c.end {
		return h, false, nil
	}
	b, err := c.bytes(e.position, batch.HeaderSize)
	if err != nil {
		return h, false, err
	}
	h, err = batch.ParseHeader(b)
	if err != nil {
		return h, false, nil
	}
	ok = h.LastOffset() == e.last && plausible(h, h.BaseOffset, c.end-e.position, c.epochs) == nil
	return h, ok, nil
}
