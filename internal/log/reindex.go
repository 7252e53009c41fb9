package log

import (
	"errors"
	"io"

	"millrace/internal/vfs"
	"millrace/record"
)

// resumeIndex makes the index writer of seg, keeps what is good of its index
// files, and moves the cursor to where the walk has to start: the batch of the
// newest entry that was kept. fresh drops all entries.
//
// A checkpoint syncs the indexes before its recovery points, so both are whole
// below them. Entries above the recovery point are dropped after an unclean stop:
// they may name batches that are gone, or may be lost in part. Where the two
// indexes do not fit each other or the batches, errStaleIndex says so.
func (s *scan) resumeIndex(seg *segment, c *cursor, fresh bool) (*indexWriter, error) {
	w := newIndexWriter(seg, s.log.config.Load().IndexIntervalBytes)
	if !fresh {
		if err := s.keepIndex(seg, c, w); err != nil {
			return nil, err
		}
	}
	return w, errors.Join(
		trim(seg, &seg.index, indexFile, w.offsetsEnd),
		trim(seg, &seg.times, timesFile, w.timesEnd))
}

var errStaleIndex = bad("the index does not fit the batches")

func (s *scan) keepIndex(seg *segment, c *cursor, w *indexWriter) error {
	limit := s.point
	if s.clean {
		limit = maxOffset
	}
	entries, newest, err := seg.goodEntries(limit)
	if err != nil {
		return err
	}
	times, latest, err := seg.goodTimes(limit)
	if err != nil {
		return err
	}
	if entries > 0 {
		h, ok, err := c.entryHeader(newest)
		if err != nil {
			return err
		}
		if !ok || h.MaxTimestamp >= 0 && (times == 0 || latest.ts < h.MaxTimestamp) {
			return errStaleIndex // that batch has its entries in both indexes
		}
		c.pos, c.next = newest.position, h.BaseOffset
	}
	if times > 0 {
		ok, err := c.bears(seg, latest)
		if err != nil {
			return err
		}
		if !ok {
			return errStaleIndex
		}
		w.last, w.saved, w.max = latest, latest, latest
		seg.setMaxTime(latest.ts, latest.last)
	}
	w.offsetsEnd, w.timesEnd = entries*indexEntrySize, times*timeEntrySize
	return nil
}

// goodEntries is the number of entries of the offset index that rise and name
// batches below limit, and the last of them.
func (s *segment) goodEntries(limit record.Offset) (n int64, newest indexEntry, err error) {
	err = s.withEntries(&s.index, indexFile, indexEntrySize, func(entries *entryReader) error {
		previous := indexEntry{last: s.base - 1, position: -1}
		n, err = entries.prefix(func(b []byte) bool {
			e := decodeIndexEntry(b, s.base)
			good := e.last > previous.last && e.position > previous.position && e.last < limit
			if good {
				previous = e
			}
			return good
		})
		newest = previous
		return err
	})
	return n, newest, err
}

// goodTimes is goodEntries for the time index.
func (s *segment) goodTimes(limit record.Offset) (n int64, latest timeEntry, err error) {
	err = s.withEntries(&s.times, timesFile, timeEntrySize, func(entries *entryReader) error {
		previous := timeEntry{ts: noTimestamp, last: s.base}
		n, err = entries.prefix(func(b []byte) bool {
			e := decodeTimeEntry(b, s.base)
			good := e.ts > previous.ts && e.last >= previous.last && e.last < limit
			if good {
				previous = e
			}
			return good
		})
		latest = previous
		return err
	})
	return n, latest, err
}

// withEntries calls use with the entries of one index, if there is one.
func (s *segment) withEntries(h *handle, kind fileKind, size int64, use func(*entryReader) error) error {
	f, err := s.openIndex(h, kind)
	if f == nil || err != nil {
		return err
	}
	defer h.release()
	entries, err := readEntries(f, size)
	if err != nil {
		return err
	}
	return use(&entries)
}

// bears says whether there is a batch as the time entry has it.
func (c *cursor) bears(seg *segment, e timeEntry) (bool, error) {
	look := newCursor(c.file, c.epochs, 0, seg.base, c.end)
	defer look.close()
	if err := look.lookup(seg, e.last, false); err != nil {
		return false, err
	}
	for {
		h, err := look.header()
		if err == errEnd || isBad(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if h.LastOffset() >= e.last {
			return h.LastOffset() == e.last && h.MaxTimestamp == e.ts, nil
		}
		look.pass(h)
	}
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
