package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

// windowSize is what a cursor reads at a time. Batches larger than it are
// checked piece by piece, so a cursor's memory does not depend on them.
const windowSize = 64 << 10

// smallestRead is what a cursor reads for a header at first; it doubles while the
// headers lie close together.
const smallestRead = 4 << 10

var windows = sync.Pool{New: func() any { return new([windowSize]byte) }}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where a batch's header has what is looked at in damaged ones too; package batch
// draws it.
const (
	lengthEnd       = 12 // the length field counts from here
	checksummed     = 21 // the checksum covers from here on
	lastOffsetDelta = 23
	recordCount     = 57
)

// errEnd means that the cursor has passed the last batch.
var errEnd = errors.New("log: end of segment")

// badBatch says why the bytes at a cursor are not the batch that was written.
type badBatch struct{ reason string }

func (e *badBatch) Error() string { return e.reason }

func isBad(err error) bool {
	_, is := err.(*badBatch)
	return is
}

func unlessBad(err error) error {
	if isBad(err) {
		return nil
	}
	return err
}

func bad(format string, args ...any) error { return &badBatch{fmt.Sprintf(format, args...)} }

// cursor walks over the batches of one segment file, from header to header,
// without reading what lies between unless asked to prove it. It knows the offset
// that must come next, so a header whose bytes outside the checksum were changed
// does not pass.
type cursor struct {
	file   vfs.File
	epochs *epochHistory // nil: any epoch may stand in a batch
	pos    int64         // of the batch that comes next
	next   record.Offset // its base offset
	end    int64         // behind the last byte that may be read

	window   *[windowSize]byte
	windowAt int64
	windowN  int
	ahead    int // how much the next read takes, at least
}

func newCursor(f vfs.File, epochs *epochHistory, pos int64, next record.Offset, end int64) *cursor {
	return &cursor{file: f, epochs: epochs, pos: pos, next: next, end: end, ahead: smallestRead, window: windows.Get().(*[windowSize]byte)}
}

func (c *cursor) close() {
	windows.Put(c.window)
	c.window = nil
}

// bytes are n bytes at pos, fewer at the end. They are valid until the next call.
func (c *cursor) bytes(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), c.end-pos, windowSize))
	if n <= 0 {
		return nil, nil
	}
	if pos < c.windowAt || pos+int64(n) > c.windowAt+int64(c.windowN) {
		if pos > c.windowAt+int64(c.windowN) { // a leap over a large batch: what follows is skipped as well
			c.ahead = smallestRead
		}
		want := int(min(int64(max(n, c.ahead)), c.end-pos))
		c.ahead = min(2*c.ahead, windowSize)
		got, err := c.file.ReadAt(c.window[:want], pos)
		if got < n && err != io.EOF {
			return nil, err
		}
		c.windowAt, c.windowN = pos, got
		n = min(n, got)
	}
	at := int(pos - c.windowAt)
	return c.window[at : at+n], nil
}

// header is the batch header at the cursor, checked against what must stand
// there but not by its checksum. errEnd behind the last batch, *badBatch when it
// cannot be right, else an I/O error.
func (c *cursor) header() (batch.Header, error) { return c.headerAt(c.pos, c.next) }

func (c *cursor) headerAt(pos int64, next record.Offset) (batch.Header, error) {
	if pos >= c.end {
		return batch.Header{}, errEnd
	}
	b, err := c.bytes(pos, batch.HeaderSize)
	if err != nil {
		return batch.Header{}, err
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		return h, bad("%v", err)
	}
	return h, plausible(h, next, c.end-pos, c.epochs)
}

// plausible holds a header against what must stand at its place: the base
// offset next, in a file with left bytes from there on.
func plausible(h batch.Header, next record.Offset, left int64, epochs *epochHistory) error {
	switch {
	case h.BaseOffset != next:
		return bad("base offset %d where %d must stand", h.BaseOffset, next)
	case h.LastOffsetDelta < 0:
		return bad("last offset delta %d", h.LastOffsetDelta)
	case h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1:
		return bad("%d records up to offset delta %d", h.Count, h.LastOffsetDelta)
	case int64(h.Size()) > left:
		return bad("a batch of %d bytes where %d are left", h.Size(), left)
	case epochs != nil && h.LeaderEpoch != epochs.at(h.BaseOffset):
		return bad("leader epoch %d where %d must stand", h.LeaderEpoch, epochs.at(h.BaseOffset))
	}
	return nil
}

// proven is header, with the checksum verified.
func (c *cursor) proven() (batch.Header, error) {
	h, err := c.header()
	if err != nil {
		return h, err
	}
	return h, c.prove(h, c.pos)
}

// prove verifies the checksum of the batch at pos that has the header h.
func (c *cursor) prove(h batch.Header, pos int64) error {
	sum, err := c.checksum(pos+checksummed, pos+int64(h.Size()))
	if err != nil {
		return err
	}
	if sum != h.CRC {
		return bad("checksum %08x, the header says %08x", sum, h.CRC)
	}
	return nil
}

func (c *cursor) checksum(from, to int64) (sum uint32, err error) {
	for from < to {
		b, err := c.bytes(from, int(min(to-from, windowSize)))
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, bad("the file ends inside the batch")
		}
		sum = crc32.Update(sum, castagnoli, b)
		from += int64(len(b))
	}
	return sum, nil
}

// pass moves the cursor behind the batch with header h.
func (c *cursor) pass(h batch.Header) {
	c.pos += int64(h.Size())
	c.next = h.LastOffset() + 1
}

// claimedLength is the length field of the batch at pos, as it stands.
func (c *cursor) claimedLength(pos int64) int32 {
	b, err := c.bytes(pos, batch.HeaderSize)
	if err != nil || len(b) < lengthEnd {
		return 0
	}
	return int32(binary.BigEndian.Uint32(b[lengthEnd-4:]))
}

// sizeOf is the size of a batch with that length field; 0 when none can have it.
func sizeOf(length int32) int64 {
	if size := int64(length) + lengthEnd; size >= batch.HeaderSize {
		return size
	}
	return 0
}
