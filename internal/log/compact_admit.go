package log

import (
	"fmt"

	"millrace/internal/batch"
)

// admitKeys refuses what a compacted topic must not have, since compaction could
// not tell whether it may go: records without a key, and records that cannot be
// read. Only here are compressed records looked at before they are stored.
func (l *Log) admitKeys(cfg *Config, b []byte) error {
	if !cfg.Compacts() {
		return nil
	}
	pool := &l.store.keyReaders
	it, ok := pool.Get().(*batch.Iterator)
	if !ok {
		it = new(batch.Iterator)
	}
	defer pool.Put(it)
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
