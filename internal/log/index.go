package log

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// The offset index has one entry per Config.IndexIntervalBytes:
//
//	| last offset of a batch - base, int32 | position of that batch, int32 |
//
// and the time index, beside it, when the largest timestamp has grown:
//
//	| largest timestamp so far, int64 | last offset of its batch - base, int32 |
//
// Both are Kafka's formats. Neither has a checksum and neither is synced with
// the data, so an entry is a hint: it counts once the batch it names bears it out.
const (
	indexEntrySize = 8
	timeEntrySize  = 12

	// pendingEntries are kept in memory and written together: one system call per
	// 32 index intervals instead of two per append.
	pendingEntries = 32
)

type indexEntry struct {
	last     record.Offset // of the batch
	position int64
}

type timeEntry struct {
	ts   int64
	last record.Offset // of the batch with that timestamp
}

func decodeIndexEntry(b []byte, base record.Offset) indexEntry {
	return indexEntry{
		last:     base + record.Offset(binary.BigEndian.Uint32(b)),
		position: int64(binary.BigEndian.Uint32(b[4:])),
	}
}

func decodeTimeEntry(b []byte, base record.Offset) timeEntry {
	return timeEntry{
		ts:   int64(binary.BigEndian.Uint64(b)),
		last: base + record.Offset(binary.BigEndian.Uint32(b[8:])),
	}
}

// indexWriter makes the index entries of the active segment. It belongs to the
// log's appender.
type indexWriter struct {
	seg      *segment
	interval int64
	since    int64 // bytes since the last entry

	max   timeEntry // largest timestamp of the segment; noTimestamp at first
	last  timeEntry // newest entry of the time index; noTimestamp without one
	saved timeEntry // the same, of those in the file
	dirty bool      // the files have entries that no checkpoint has synced

	offsets, times       []byte // entries that are not in the files yet
	offsetsEnd, timesEnd int64  // where in the files they go
}

func newIndexWriter(seg *segment, interval int32) *indexWriter {
	none := timeEntry{ts: noTimestamp, last: seg.base}
	return &indexWriter{seg: seg, interval: int64(interval), max: none, last: none, saved: none}
}

// add accounts for the batch at position, which may get an entry. As in Kafka,
// the first batch gets none: a lookup without an entry starts at the front.
func (w *indexWriter) add(h batch.Header, position int64) {
	if h.MaxTimestamp > w.max.ts {
		w.max = timeEntry{ts: h.MaxTimestamp, last: h.LastOffset()}
		w.seg.setMaxTime(w.max.ts, w.max.last)
	}
	if w.since > w.interval {
		w.offsets = binary.BigEndian.AppendUint32(w.offsets, uint32(h.LastOffset()-w.seg.base))
		w.offsets = binary.BigEndian.AppendUint32(w.offsets, uint32(position))
		w.addTime()
		w.since = 0
	}
	w.since += int64(h.Size())
}

// addTime appends the largest timestamp to the time index if it is news.
func (w *indexWriter) addTime() {
	if w.max.ts <= w.last.ts || w.max.ts < 0 {
		return
	}
	w.times = binary.BigEndian.AppendUint64(w.times, uint64(w.max.ts))
	w.times = binary.BigEndian.AppendUint32(w.times, uint32(w.max.last-w.seg.base))
	w.last = w.max
}

// seal writes all entries, with the largest timestamp as the last one of the
// time index: retention and lookups by time start from it.
func (w *indexWriter) seal() error {
	w.addTime()
	return w.flush()
}

// flush writes the pending entries. They are dropped when that fails: an index
// may have gaps, and a full disk must not stop appends before it has to.
func (w *indexWriter) flush() error {
	err := w.flushTo(&w.seg.times, timesFile, w.times, &w.timesEnd)
	if err == nil {
		w.saved = w.last
		err = w.flushTo(&w.seg.index, indexFile, w.offsets, &w.offsetsEnd)
	}
	w.dirty = w.dirty || len(w.offsets)+len(w.times) > 0
	w.offsets, w.times = w.offsets[:0], w.times[:0]
	if err != nil {
		w.last = w.saved // the next entry makes up for the lost ones
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func (w *indexWriter) flushTo(h *handle, kind fileKind, entries []byte, end *int64) error {
	if len(entries) == 0 {
		return nil
	}
	f, err := w.seg.openOrCreateIndex(h, kind)
	if err != nil {
		return err
	}
	defer h.release()
	if _, err := f.Writev([][]byte{entries}, *end); err != nil {
		return err
	}
	*end += int64(len(entries))
	return nil
}

// maybeFlush is flush, when enough has gathered.
func (w *indexWriter) maybeFlush(l *Log) {
	if len(w.offsets) >= pendingEntries*indexEntrySize {
		w.warn(l, w.flush())
	}
}

// complete is seal; an index that cannot be written is no reason to stop.
func (w *indexWriter) complete(l *Log) { w.warn(l, w.seal()) }

func (w *indexWriter) warn(l *Log, err error) {
	if err != nil {
		l.store.opts.Logger.Warn("index entries are missing; lookups scan a little more", "partition", l.tp.String(), "error", err)
	}
}

// keptBy says that the batch h does not contradict the time entry.
func (e timeEntry) keptBy(h batch.Header) bool {
	switch {
	case e.ts == noTimestamp || h.LastOffset() < e.last || h.BaseOffset > e.last:
		return true
	}
	return h.LastOffset() == e.last && h.MaxTimestamp == e.ts
}

// entryReader reads the entries of one index file. A nil file has none.
type entryReader struct {
	file  vfs.File
	size  int64 // of one entry
	count int64
	buf   [abortedEntrySize]byte // the largest
}

func readEntries(f vfs.File, size int64) (entryReader, error) {
	if f == nil {
		return entryReader{size: size}, nil
	}
	total, err := f.Size()
	return entryReader{file: f, size: size, count: total / size}, err
}

// at is the i-th entry, valid until the next call.
func (r *entryReader) at(i int64) ([]byte, error) {
	b := r.buf[:r.size]
	if n, err := r.file.ReadAt(b, i*r.size); n < len(b) {
		return nil, err
	}
	return b, nil
}

// searchBlock is how many bytes of an index are read at once to end a search.
const searchBlock = 4 << 10

// search is the number of entries for which before holds, given that those come first.
func (r *entryReader) search(before func(entry []byte) bool) (int64, error) {
	lo, hi := int64(0), r.count
	for (hi-lo)*r.size > searchBlock {
		mid := (lo + hi) / 2
		b, err := r.at(mid)
		if err != nil {
			return 0, err
		}
		if before(b) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == hi {
		return lo, nil
	}
	window := windows.Get().(*[windowSize]byte)
	defer windows.Put(window)
	block := window[:(hi-lo)*r.size]
	if n, err := readFull(r.file, block, lo*r.size); n < len(block) {
		return 0, err
	}
	return lo + int64(sort.Search(int(hi-lo), func(i int) bool { return !before(block[int64(i)*r.size:]) })), nil
}

// relativeOffsetFits says that an index can name off in a segment with that base.
func relativeOffsetFits(base, off record.Offset) bool { return off-base <= math.MaxInt32 }
