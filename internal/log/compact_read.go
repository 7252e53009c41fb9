package log

import (
	"fmt"
	"io"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

const (
	// cleanerRead is how much of a segment is read at a time.
	cleanerRead = 256 << 10
	// cleanerKept is the largest buffer that outlives one batch.
	cleanerKept = 4 << 20
)

// batchReader goes over the batches of a sealed segment from front to back, each
// whole and proven. Its memory is that of the largest batch.
type batchReader struct {
	file   vfs.File
	epochs *epochHistory
	end    int64         // of the file
	limit  record.Offset // at which the batches end

	pos  int64         // of the batch that comes next
	next record.Offset // its base offset
	buf  []byte        // the file from at on
	at   int64
	read func(n int) error // is told of each read, and may end the work
}

// start puts the reader before the first batch of a segment that ends at limit.
// f is the segment's file. Buffers are kept from one segment to the next.
func (r *batchReader) start(seg *segment, f vfs.File, limit record.Offset, epochs *epochHistory) {
	r.file, r.epochs, r.end, r.limit = f, epochs, seg.size.Load(), limit
	r.pos, r.next, r.at, r.buf = 0, seg.base, 0, r.buf[:0]
}

// batch is the next batch, valid until the next call. errEnd behind the last
// one, *badBatch when it is not the batch that was written.
func (r *batchReader) batch() (b []byte, h batch.Header, err error) {
	if r.pos >= r.end {
		if r.next < r.limit {
			return nil, h, bad("the batches end at offset %d", r.next)
		}
		return nil, h, errEnd
	}
	if b, err = r.bytes(batch.HeaderSize); err != nil {
		return nil, h, err
	}
	if h, err = batch.ParseHeader(b); err != nil {
		return nil, h, bad("%v", err)
	}
	if err = plausible(h, r.next, r.end-r.pos, r.epochs); err != nil {
		return nil, h, err
	}
	if b, err = r.bytes(h.Size()); err != nil {
		return nil, h, err
	}
	if _, err = batch.CheckCRC(b); err != nil {
		return nil, h, bad("%v", err)
	}
	r.pos += int64(len(b))
	r.next = h.LastOffset() + 1
	return b, h, nil
}

// bytes are the n bytes at pos; fewer where the file ends.
func (r *batchReader) bytes(n int) ([]byte, error) {
	have := r.at + int64(len(r.buf)) - r.pos
	if have < int64(n) {
		if err := r.fill(n, have); err != nil {
			return nil, err
		}
	}
	from := int(r.pos - r.at)
	return r.buf[from:min(from+n, len(r.buf))], nil
}

// fill reads on, so that the buffer starts with the batch at pos and holds n bytes of it.
func (r *batchReader) fill(n int, have int64) error {
	want := int(min(int64(max(n, cleanerRead)), r.end-r.pos))
	kept := r.buf[len(r.buf)-int(have):]
	if cap(r.buf) < want || cap(r.buf) > cleanerKept && want <= cleanerKept {
		r.buf = make([]byte, 0, want)
	}
	r.buf = append(r.buf[:0], kept...)
	r.at = r.pos
	got, err := r.file.ReadAt(r.buf[len(r.buf):want], r.pos+have)
	r.buf = r.buf[:len(r.buf)+got]
	if err != nil && err != io.EOF {
		return fmt.Errorf("read: %w", err)
	}
	return r.read(got)
}
