package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Flush is an atomic batch: what one task knows to be committed and is not yet
// in the database, with the positions that it reflects. It belongs to one
// goroutine.
type Flush struct {
	db    *DB
	batch *pebble.Batch
	key   []byte // reused
	err   error
}

// NewFlush starts an empty batch. Apply or Drop ends it.
func (d *DB) NewFlush() *Flush {
	return &Flush{db: d, batch: d.db.NewBatch()}
}

// To is the face of the batch for one part. It satisfies state.Writer.
func (f *Flush) To(part *Part) PartWriter { return PartWriter{f, part} }

// PartWriter puts entries of one part into a [Flush]. All bytes are copied.
type PartWriter struct {
	flush *Flush
	part  *Part
}

// Put sets key to value.
func (w PartWriter) Put(key, value []byte) {
	f := w.flush
	f.key = append(append(f.key[:0], w.part.prefix...), key...)
	f.note(f.batch.Set(f.key, value, nil))
}

// Delete removes key.
func (w PartWriter) Delete(key []byte) {
	f := w.flush
	f.key = append(append(f.key[:0], w.part.prefix...), key...)
	f.note(f.batch.Delete(f.key, nil))
}

// DeleteRange removes all keys k with from <= k < to; a nil to is the end of
// the part.
func (w PartWriter) DeleteRange(from, to []byte) {
	upper := successor(w.part.prefix)
	if to != nil {
		upper = w.part.key(to)
	}
	w.flush.note(w.flush.batch.DeleteRange(w.part.key(from), upper, nil))
}

// SetPosition sets the position that part has with this batch.
func (f *Flush) SetPosition(part *Part, position Position) {
	f.note(f.batch.Set(part.position, position.append(nil), nil))
}

func (f *Flush) note(err error) {
	if f.err == nil {
		f.err = err
	}
}

// SizeBytes is the size of the batch so far.
func (f *Flush) SizeBytes() int { return f.batch.Len() }

// Apply puts the whole batch into the database, or nothing of it. While the
// disk refuses what was applied before, it refuses too: memory must not grow.
func (f *Flush) Apply() error {
	if err := errors.Join(f.err, f.db.Trouble()); err != nil {
		return errors.Join(fmt.Errorf("flush state: %w", err), f.batch.Close())
	}
	if err := errors.Join(f.batch.Commit(pebble.NoSync), f.batch.Close()); err != nil {
		return fmt.Errorf("flush state: %w", err)
	}
	return nil
}

// Drop gives the batch up.
func (f *Flush) Drop() { _ = f.batch.Close() }
