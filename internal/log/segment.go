package log

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"sync/atomic"

	"millrace/internal/vfs"
	"millrace/record"
)

// fileKind is one of the files of a segment, by its suffix.
type fileKind string

const (
	dataFile     fileKind = ".log"
	indexFile    fileKind = ".index"
	timesFile    fileKind = ".timeindex"
	txnFile      fileKind = ".txnindex"
	snapshotFile fileKind = ".snapshot"
)

// fileName is Kafka's: the base offset with 20 digits.
func fileName(base record.Offset, kind fileKind) string {
	return fmt.Sprintf("%020d%s", int64(base), kind)
}

// parseFileName is the reverse of fileName.
func parseFileName(name string, kind fileKind) (record.Offset, bool) {
	digits, ok := strings.CutSuffix(name, string(kind))
	if !ok || len(digits) != 20 {
		return 0, false
	}
	base, err := strconv.ParseUint(digits, 10, 63)
	return record.Offset(base), err == nil
}

// noTimestamp stands for "no record has a timestamp": older than any.
const noTimestamp = math.MinInt64

// segment is one file of batches with its indexes. Only the last segment of
// a log is written. Its fields are read without a lock.
type segment struct {
	store *Store
	dir   string // of the log
	base  record.Offset

	size    atomic.Int64 // bytes written, whole batches only
	visible atomic.Int64 // bytes below the high watermark; <= size

	// Largest timestamp and the last offset of its batch, as the time index has
	// it. timeKnown is false for a sealed segment until somebody asks.
	timeKnown     atomic.Bool
	maxTime       atomic.Int64
	maxTimeOffset atomic.Int64

	damage atomic.Pointer[[]damage] // what is known to be damaged, by position

	aborted atomic.Int64 // entries in the index of aborted transactions that count

	data, index, times, txns handle

	txnsFound bool // a start has found an index of aborted transactions
	unsynced  bool // guarded by Log.tail
}

func (s *segment) path(kind fileKind) string { return s.dir + "/" + fileName(s.base, kind) }

// openData is the file of batches; the caller releases s.data.
func (s *segment) openData() (vfs.File, error) {
	if s.data.tryAcquire() {
		return s.data.file, nil
	}
	return s.store.handles.acquire(&s.data, s.path(dataFile), s.store.fsys.Open)
}

func (s *segment) createData() (vfs.File, error) {
	return s.store.handles.acquire(&s.data, s.path(dataFile), s.store.fsys.Create)
}

// openIndex opens an index for reading. A nil file means that there is none yet.
func (s *segment) openIndex(h *handle, kind fileKind) (vfs.File, error) {
	if h.tryAcquire() {
		return h.file, nil
	}
	f, err := s.store.handles.acquire(h, s.path(kind), s.store.fsys.Open)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// openOrCreateIndex opens an index for writing.
func (s *segment) openOrCreateIndex(h *handle, kind fileKind) (vfs.File, error) {
	f, err := s.openIndex(h, kind)
	if f != nil || err != nil {
		return f, err
	}
	return s.store.handles.acquire(h, s.path(kind), s.store.fsys.Create)
}

func (s *segment) setMaxTime(ts int64, offset record.Offset) {
	s.maxTimeOffset.Store(int64(offset))
	s.maxTime.Store(ts)
	s.timeKnown.Store(true)
}

// show lets readers see the bytes below end. Log.tail is held.
func (s *segment) show(end int64) {
	if end > s.visible.Load() {
		s.visible.Store(end)
	}
}

// retire closes the files for good; readers that hold one finish with it.
func (s *segment) retire() {
	for _, h := range []*handle{&s.data, &s.index, &s.times, &s.txns} {
		s.store.handles.retire(h)
	}
}

// removeFiles removes a retired segment. The data goes last: what a crash
// leaves behind is then still recognised as a segment below the log start.
func (s *segment) removeFiles() error {
	var failed []error
	for _, kind := range []fileKind{indexFile, timesFile, txnFile, dataFile} {
		if err := s.store.fsys.Remove(s.path(kind)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// view is what readers see of a log: an immutable list, replaced as a whole.
type view struct {
	start    record.Offset // log start: nothing below is served
	segments []*segment    // ascending base offset, at least one; the last is written
}

func (v *view) active() *segment { return v.segments[len(v.segments)-1] }

// at is the index of the segment that holds off, which must not be below the
// first base offset.
func (v *view) at(off record.Offset) int {
	lo, hi := 0, len(v.segments)-1
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if v.segments[mid].base <= off {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// limit is the offset at which segment i ends at the latest.
func (v *view) limit(i int) record.Offset {
	if i+1 < len(v.segments) {
		return v.segments[i+1].base
	}
	return math.MaxInt64
}
