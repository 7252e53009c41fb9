package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/record"
)

// Part is the committed entries of one store in one partition, as of the last
// flush. Reads are safe for several goroutines and beside a flush.
type Part struct {
	db        *pebble.DB
	name      string
	partition record.Partition
	prefix    []byte // of entries
	position  []byte // key of the position
}

func newPart(db *pebble.DB, name string, p record.Partition, id uint32) *Part {
	place := binary.BigEndian.AppendUint32(nil, id)
	place = binary.BigEndian.AppendUint32(place, uint32(p))
	return &Part{
		db:        db,
		name:      name,
		partition: p,
		prefix:    append([]byte{kindEntry}, place...),
		position:  append([]byte{kindPosition}, place...),
	}
}

// Name and Partition are what the part was opened with.
func (p *Part) Name() string                { return p.name }
func (p *Part) Partition() record.Partition { return p.partition }

func (p *Part) key(key []byte) []byte {
	return append(append(make([]byte, 0, len(p.prefix)+len(key)), p.prefix...), key...)
}

// Get is the value of key, which the caller owns. *[DamageError] when the disk
// does not give it back as it was.
func (p *Part) Get(key []byte) (value []byte, ok bool, err error) {
	return p.get(p.key(key), nil)
}

// get appends the value of a whole key to buf.
func (p *Part) get(key, buf []byte) (value []byte, ok bool, err error) {
	stored, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, p.readError(err)
	}
	value = append(buf, stored...)
	if value == nil {
		value = []byte{}
	}
	return value, true, closer.Close()
}

// Scan yields the entries with from <= key < to in the order of their bytes; a
// nil to is the end of the part. Key and value are valid during yield.
func (p *Part) Scan(from, to []byte, yield func(key, value []byte) bool) error {
	upper := successor(p.prefix)
	if to != nil {
		upper = p.key(to)
	}
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: p.key(from), UpperBound: upper})
	if err != nil {
		return p.readError(err)
	}
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil || !yield(it.Key()[len(p.prefix):], value) {
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return p.readError(err)
	}
	return nil
}

// Reader reads a part for one goroutine, without an allocation per read. It
// satisfies state.Backing.
type Reader struct {
	part       *Part
	key, value []byte // reused
	empty      bool
}

// NewReader is a reader of p. It remembers whether p is empty at this moment.
func (p *Part) NewReader() (*Reader, error) {
	r := &Reader{part: p, empty: true}
	err := p.Scan(nil, nil, func([]byte, []byte) bool {
		r.empty = false
		return false
	})
	return r, err
}

// Empty reports whether the part had no entry when the reader was made.
func (r *Reader) Empty() bool { return r.empty }

// Get is the value of key, valid until the next Get.
func (r *Reader) Get(key []byte) (value []byte, ok bool, err error) {
	r.key = append(append(r.key[:0], r.part.prefix...), key...)
	value, ok, err = r.part.get(r.key, r.value[:0])
	if ok {
		r.value = value
	}
	return value, ok, err
}

// Scan is [Part.Scan].
func (r *Reader) Scan(from, to []byte, yield func(key, value []byte) bool) error {
	return r.part.Scan(from, to, yield)
}

// successor is the first key behind all that begin with prefix; nil is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}

// readError tells damage, which a replay of the changelog mends, from a
// machine that refuses to read.
func (p *Part) readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return &DamageError{Store: p.name, Partition: p.partition, Err: err}
	}
	return fmt.Errorf("read state %q partition %d: %w", p.name, p.partition, err)
}

// Clear drops all entries and the position, so that a restore starts anew.
func (p *Part) Clear() error {
	b := p.db.NewBatch()
	err := errors.Join(
		b.DeleteRange(p.prefix, successor(p.prefix), nil),
		b.Delete(p.position, nil),
		b.Commit(pebble.NoSync),
		b.Close(),
	)
	if err != nil {
		return fmt.Errorf("clear state %q partition %d: %w", p.name, p.partition, err)
	}
	return nil
}
