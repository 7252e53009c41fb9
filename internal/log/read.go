package log

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// Read appends to buf the whole batches from the one that holds off, up to
// maxBytes of them, and returns the longer slice. It gives at least one batch
// when there is one, also when that is larger than maxBytes (rule F1). The first
// batch may start before off: the reader skips its first records. Nothing at or
// above the high watermark is given, and nothing whose checksum does not hold.
//
// off at the high watermark, or in the unreadable tail behind it, gives nothing
// and no error. ErrOffsetOutOfRange when off lies outside the log, *CorruptError
// when the batch that holds it is damaged; what lies before the damage is
// returned first, by itself.
//
// The result is a copy: it stays valid whatever happens to the log.
func (l *Log) Read(off record.Offset, maxBytes int, buf []byte) ([]byte, error) {
	return l.readBelow(l.HighWatermark, off, maxBytes, buf)
}

// ReadCommitted is Read below the last stable offset. The records of aborted
// transactions are given too: Aborted says which they are.
func (l *Log) ReadCommitted(off record.Offset, maxBytes int, buf []byte) ([]byte, error) {
	return l.readBelow(l.LastStableOffset, off, maxBytes, buf)
}

func (l *Log) readBelow(bound func() record.Offset, off record.Offset, maxBytes int, buf []byte) ([]byte, error) {
	for {
		if err := l.unreadable(); err != nil {
			return buf, err
		}
		limit := bound() // before the view, which then holds all below it
		v := l.view.Load()
		if off < v.start || off > l.NextOffset() {
			return buf, outOfRange(l, off)
		}
		if off >= limit {
			return buf, nil
		}
		r := reader{log: l, off: off, limit: limit, maxBytes: maxBytes}
		data, err := r.read(v, buf)
		if errors.Is(err, errRetired) {
			continue // retention removed the segment: the new view knows
		}
		return data, err
	}
}

// unreadable is the reason why nothing can be read. A failed log still serves
// what it has.
func (l *Log) unreadable() error {
	if reason := l.ended.Load(); reason != nil {
		return *reason
	}
	if len(l.view.Load().segments) == 0 {
		return *l.failed.Load() // it could not be opened
	}
	return nil
}

// reader is one Read in progress.
type reader struct {
	log      *Log
	off      record.Offset
	limit    record.Offset // nothing at or above it
	maxBytes int
}

func (r *reader) read(v *view, buf []byte) ([]byte, error) {
	i := v.at(r.off)
	seg := v.segments[i]
	f, err := seg.openData()
	if err != nil {
		return buf, r.log.readError(err)
	}
	defer seg.data.release()
	at, hinted := r.log.hints.find(seg.base, r.off)
	if !hinted {
		if at, err = r.log.locate(v, i, f, r.off); err != nil {
			return buf, r.log.readError(err)
		}
	}
	data, err := r.readAt(seg, f, at, buf)
	if !isBad(err) {
		return data, r.log.readError(err)
	}
	// The hint was wrong, or the batch is damaged: prove the way there.
	if at, err = r.log.seek(v, i, f, r.off, true); err != nil {
		return buf, r.log.readError(err)
	}
	data, err = r.readAt(seg, f, at, buf)
	return data, r.log.readError(err)
}

// readError says which log could not be read.
func (l *Log) readError(err error) error {
	if err == nil || errors.Is(err, errRetired) {
		return err
	}
	if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
		return err
	}
	return fmt.Errorf("read %s: %w", l.tp, err)
}

// readAt reads from the batch that starts at the place on. *badBatch when that
// one is damaged; damage further on ends the result.
func (r *reader) readAt(seg *segment, f vfs.File, at place, buf []byte) ([]byte, error) {
	left := max(0, seg.visible.Load()-at.position) // a hint of before a compaction may lie behind the end
	want := min(int64(max(r.maxBytes, batch.HeaderSize)), left)
	start := len(buf)
	buf, err := extend(f, at.position, int(want), buf)
	if err != nil {
		return buf[:start], err
	}
	if h, err := batch.ParseHeader(buf[start:]); err == nil && int64(h.Size()) > want && int64(h.Size()) <= left {
		buf, err = extend(f, at.position, h.Size(), buf[:start])
		if err != nil {
			return buf[:start], err
		}
	}
	n, next, err := r.accept(buf[start:], at.base)
	if n == 0 {
		return buf[:start], err
	}
	r.log.hints.put(seg.base, at, place{position: at.position + int64(n), base: next})
	return buf[:start+n], nil
}

// extend appends n bytes of the file to buf; fewer when the file ends.
func extend(f vfs.File, position int64, n int, buf []byte) ([]byte, error) {
	start := len(buf)
	buf = slices.Grow(buf, n)
	got, err := f.ReadAt(buf[start:start+n], position)
	if err == io.EOF {
		err = nil
	}
	return buf[:start+got], err
}

// accept is how many bytes of b are whole, sound batches below the limit, of which the first starts at next, and the offset behind them. The
// error says why the first batch is not accepted.
func (r *reader) accept(b []byte, next record.Offset) (n int, after record.Offset, err error) {
	epochs := r.log.epochs.Load()
	if len(b) == 0 {
		return 0, next, bad("the file ends before its records do")
	}
	for n < len(b) && next < r.limit {
		if n > 0 && len(b)-n < batch.HeaderSize {
			break // cut by maxBytes
		}
		h, err := batch.ParseHeader(b[n:])
		if err != nil {
			return n, next, bad("%v", err)
		}
		if n > 0 && h.Size() > len(b)-n {
			break
		}
		if err := plausible(h, next, int64(len(b)-n), epochs); err != nil {
			return n, next, err
		}
		if _, err := batch.CheckCRC(b[n : n+h.Size()]); err != nil && !r.log.store.opts.faults.serveUnchecked {
			return n, next, bad("%v", err)
		}
		n += h.Size()
		next = h.LastOffset() + 1
	}
	return n, next, nil
}
