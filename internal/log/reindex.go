package log

import (
	"errors"
	"io"

	"millrace/internal/vfs"
)

// resumeIndex makes the index writer of seg, keeps what is good of its index
// files, and moves the cursor to where the walk has to start: the batch of the
// newest entry that was kept. fresh drops all entries.
//
// Entries behind the newest time entry go too: then the walk sees every timestamp
// that the time index may lack. After an unclean stop so do entries above the
// recovery point, which may name batches that are gone, and all from the first
// one on that does not rise, since sectors of an index may be lost.
func (s *scan) resumeIndex(seg *segment, c *cursor, fresh bool) (*indexWriter, error) {
	w := newIndexWriter(seg, s.log.config.Load().IndexIntervalBytes)
	times, err := s.keepTimes(seg, w, fresh)
	if err != nil {
		return nil, err
	}
	entries, err := s.keepEntries(seg, c, w.last)
	if err != nil {
		return nil, err
	}
	w.offsetsEnd, w.timesEnd = entries*indexEntrySize, times*timeEntrySize
	return w, errors.Join(
		trim(seg, &seg.index, indexFile, w.offsetsEnd),
		trim(seg, &seg.times, timesFile, w.timesEnd))
}

// keepTimes is the number of entries of the time index that are kept; the last
// one is in w.
func (s *scan) keepTimes(seg *segment, w *indexWriter, fresh bool) (int64, error) {
	f, err := seg.openIndex(&seg.times, timesFile)
	if f == nil || err != nil || fresh {
		if f != nil {
			seg.times.release()
		}
		return 0, err
	}
	defer seg.times.release()
	entries, err := readEntries(f, timeEntrySize)
	if err != nil {
		return 0, err
	}
	n := entries.count
	if !s.clean {
		previous := w.last
		n, err = entries.prefix(func(b []byte) bool {
			e := decodeTimeEntry(b, seg.base)
			rises := e.ts > previous.ts && e.last >= previous.last && e.last < s.point
			previous = e
			return rises
		})
	}
	if n == 0 || err != nil {
		return 0, err
	}
	b, err := entries.at(n - 1)
	if err != nil {
		return 0, err
	}
	w.last = decodeTimeEntry(b, seg.base)
	w.max = w.last
	seg.setMaxTime(w.max.ts, w.max.last)
	return n, nil
}

// keepEntries is the number of entries of the offset index that are kept: those
// up to the newest time entry. The cursor moves to the last one's batch.
func (s *scan) keepEntries(seg *segment, c *cursor, newest timeEntry) (int64, error) {
	f, err := seg.openIndex(&seg.index, indexFile)
	if f == nil || err != nil {
		return 0, err
	}
	defer seg.index.release()
	if newest.ts == noTimestamp {
		return 0, nil
	}
	entries, err := readEntries(f, indexEntrySize)
	if err != nil {
		return 0, err
	}
	if !s.clean {
		previous := indexEntry{last: seg.base - 1, position: -1}
		if entries.count, err = entries.prefix(func(b []byte) bool {
			e := decodeIndexEntry(b, seg.base)
			rises := e.last > previous.last && e.position > previous.position
			previous = e
			return rises
		}); err != nil {
			return 0, err
		}
	}
	n, err := entries.search(func(b []byte) bool { return decodeIndexEntry(b, seg.base).last <= newest.last })
	if n == 0 || err != nil {
		return 0, err
	}
	b, err := entries.at(n - 1)
	if err != nil {
		return 0, err
	}
	if found, err := c.confirm(decodeIndexEntry(b, seg.base), false); !found {
		return 0, err
	}
	return n, nil
}

// trim cuts an index file to the entries that were kept.
func trim(seg *segment, h *handle, kind fileKind, sizeBytes int64) error {
	f, err := seg.openIndex(h, kind)
	if f == nil || err != nil {
		return err
	}
	defer h.release()
	size, err := f.Size()
	if err != nil || size == sizeBytes {
		return err
	}
	return f.Truncate(sizeBytes)
}

// prefix is the number of entries, from the first on, for which good holds. Each
// entry is valid only during its call.
func (r *entryReader) prefix(good func(entry []byte) bool) (n int64, err error) {
	window := windows.Get().(*[windowSize]byte)
	defer windows.Put(window)
	perRead := windowSize / r.size
	for n < r.count {
		b := window[:min(perRead, r.count-n)*r.size]
		if got, err := readFull(r.file, b, n*r.size); got < len(b) {
			return n, err
		}
		for ; len(b) > 0; b = b[r.size:] {
			if !good(b[:r.size]) {
				return n, nil
			}
			n++
		}
	}
	return n, nil
}

func readFull(f vfs.File, b []byte, off int64) (int, error) {
	n, err := f.ReadAt(b, off)
	if n < len(b) && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
