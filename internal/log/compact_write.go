package log

import (
	"fmt"
	"math"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

const (
	// cleanerWrite is how much of the new segment is written at a time.
	cleanerWrite = 256 << 10
	// cleanerSync is how much of it is unsynced at most: one sync of everything at
	// the end would hold up those of other partitions.
	cleanerSync = 8 << 20
)

// segmentWriter makes the segment that takes the place of older ones. It leaves
// no gap: where batches went, the one before them is made to end later, which
// Kafka's format permits and readers honour; a batch of a producer cannot be,
// since its sequence numbers hang on its offsets, and is followed by a batch
// without records. So recovery and reads can go on to take every gap for damage,
// although base offsets lie outside the checksum.
type segmentWriter struct {
	log     *Log
	seg     *segment // not in the view yet; its handles are pinned
	file    vfs.File
	index   *indexWriter
	aborted abortedWriter

	next     record.Offset // behind the last batch
	buf      []byte        // not written yet; it starts at position written
	newest   int           // where in buf the last batch starts; it may still grow
	header   batch.Header  // of that one
	written  int64
	unsynced int64
}

// add takes over a batch into the new segment. b is copied.
func (w *segmentWriter) add(b []byte, h batch.Header) error {
	if err := w.cover(h.BaseOffset); err != nil {
		return err
	}
	w.settle()
	if len(w.buf) >= cleanerWrite {
		if err := w.write(); err != nil {
			return err
		}
	}
	w.newest = len(w.buf)
	w.buf = append(w.buf, b...)
	w.header, w.next = h, h.LastOffset()+1
	return nil
}

// cover makes the batches reach up to the offset end, excluded.
func (w *segmentWriter) cover(end record.Offset) error {
	switch {
	case w.next == end:
		return nil
	case w.next > end:
		return bad("offset %d comes after %d", end, w.next)
	case w.newest < len(w.buf) && w.header.ProducerID == batch.NoProducerID && end-1-w.header.BaseOffset <= math.MaxInt32:
		batch.SetLastOffset(w.buf[w.newest:], end-1)
		w.header, _ = batch.ParseHeader(w.buf[w.newest:])
		w.next = end
		return nil
	}
	base := w.next
	w.settle()
	w.newest = len(w.buf)
	w.buf = batch.AppendGap(w.buf, base, end-1, w.log.epochs.Load().at(base))
	w.header, _ = batch.ParseHeader(w.buf[w.newest:])
	w.next = end
	return nil
}

// settle gives the last batch its place in the indexes: it will not change any more.
func (w *segmentWriter) settle() {
	if w.newest < len(w.buf) {
		w.index.add(w.header, w.written+int64(w.newest))
		w.newest = len(w.buf)
	}
}

// write writes what has gathered, all of which is settled.
func (w *segmentWriter) write() error {
	n := int64(len(w.buf))
	if n == 0 {
		return nil
	}
	if w.written+n > math.MaxInt32 {
		return fmt.Errorf("a compacted segment of more than %d bytes", math.MaxInt32)
	}
	if err := w.log.store.space.take(n, true); err != nil {
		return err
	}
	if _, err := w.file.Writev([][]byte{w.buf}, w.written); err != nil {
		return err
	}
	w.written += n
	w.unsynced += n
	w.buf, w.newest = w.buf[:0], 0
	if len(w.index.offsets) >= pendingEntries*indexEntrySize {
		if err := w.index.flush(); err != nil {
			return err
		}
	}
	if w.unsynced < cleanerSync {
		return nil
	}
	return w.sync()
}

func (w *segmentWriter) sync() error {
	w.unsynced = 0
	if w.log.store.opts.faults.compaction.skipDataSync {
		return nil
	}
	return w.log.store.timed(w.file.SyncData)
}

// finish completes the segment, which ends at the offset end: its files are
// durable afterwards, their names are not.
func (w *segmentWriter) finish(end record.Offset) error {
	if err := w.cover(end); err != nil {
		return err
	}
	w.settle()
	if err := w.write(); err != nil {
		return err
	}
	if err := w.index.seal(); err != nil {
		return err
	}
	if err := w.aborted.seal(); err != nil {
		return err
	}
	for _, part := range w.seg.parts() {
		if part.kind == txnFile && w.aborted.count == 0 || part.kind == dataFile {
			continue
		}
		if err := w.log.store.timed(part.handle.file.SyncData); err != nil {
			return err
		}
	}
	if err := w.sync(); err != nil {
		return err
	}
	if !w.seg.timeKnown.Load() {
		w.seg.setMaxTime(noTimestamp, w.seg.base)
	}
	w.seg.size.Store(w.written)
	w.seg.visible.Store(w.written)
	return nil
}
