package log

import (
	"fmt"
	"sync"

	"millrace/internal/batch"
)

// keyReaders spare an allocation per append: a compressed batch needs a decoder.
var keyReaders = sync.Pool{New: func() any { return new(batch.Iterator) }}

// admitKeys refuses what a compacted topic must not have, since compaction could
// not tell whether it may go: records without a key, and records that cannot be
// read. Only here are compressed records looked at before they are stored.
func (c *Config) admitKeys(b []byte) error {
	if !c.Compacts() {
		return nil
	}
	it := keyReaders.Get().(*batch.Iterator)
	defer keyReaders.Put(it)
	if err := it.Reset(b, nil); err != nil {
		return fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	n := 0
	for it.Next() {
		if it.Record().Key == nil {
			return fmt.Errorf("%w: record %d of the batch has none: give each record a key, or set cleanup.policy=delete", ErrNoKey, n)
		}
		n++
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	return nil
}
