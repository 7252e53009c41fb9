package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"millrace/record"
)

// DB is the state of one process. Its methods are safe for several goroutines.
type DB struct {
	dir         string
	options     Options
	lock        io.Closer
	db          *pebble.DB
	instance    string
	setAsideWhy error
	trouble     atomic.Pointer[trouble]
	patience    *patience

	mu    sync.Mutex
	names map[string]uint32 // store ids
	next  uint32            // id of the next new store
	parts map[partKey]*Part
}

type partKey struct {
	name      string
	partition record.Partition
}

// The first byte of each key says what it is.
const (
	kindName     = 0x00
	kindPosition = 0x01
	kindEntry    = 0x02
)

// Instance is an id that stays with the directory: two processes with the same
// id are the same instance before and after a restart.
func (d *DB) Instance() string { return d.instance }

// SetAside is why Open had to set a damaged database aside; nil when it had not to.
func (d *DB) SetAside() error { return d.setAsideWhy }

// trouble is the newest failure of Pebble's background work.
type trouble struct {
	err error
	at  time.Time
}

// troubleLasts is how long a failure counts when nothing has happened since.
// Then the next flush is let through, to see whether the disk takes it.
const troubleLasts = 5 * time.Second

// Trouble is why state does not reach the disk at the moment, such as a full
// disk; nil when all is well. Pebble goes on trying.
func (d *DB) Trouble() error {
	if t := d.trouble.Load(); t != nil && time.Since(t.at) < troubleLasts {
		return t.err
	}
	return nil
}

func (d *DB) troubled(err error) { d.trouble.Store(&trouble{err, time.Now()}) }

// refused takes a failure of a flush or a compaction, which Pebble tries again.
func (d *DB) refused(err error) {
	d.patience.failed()
	d.troubled(err)
}

// loadNames reads which id each store's name has.
func (d *DB) loadNames() error {
	d.names, d.next = make(map[string]uint32), 1
	it, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindName}, UpperBound: []byte{kindName + 1}})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		if len(it.Value()) != 4 {
			return errors.Join(fmt.Errorf("the id of store %q has %d bytes", it.Key()[1:], len(it.Value())), it.Close())
		}
		id := binary.BigEndian.Uint32(it.Value())
		d.names[string(it.Key()[1:])] = id
		d.next = max(d.next, id+1)
	}
	return errors.Join(it.Error(), it.Close())
}

// Part is the entries of one store in one partition. The same name and
// partition is always the same part.
func (d *DB) Part(name string, p record.Partition) (*Part, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := partKey{name, p}
	if part := d.parts[key]; part != nil {
		return part, nil
	}
	id, known := d.names[name]
	if !known {
		id = d.next
		if err := d.db.Set(append([]byte{kindName}, name...), binary.BigEndian.AppendUint32(nil, id), pebble.NoSync); err != nil {
			return nil, fmt.Errorf("name store %q: %w", name, err)
		}
		d.names[name], d.next = id, id+1
	}
	part := newPart(d.db, name, p, id)
	d.parts[key] = part
	return part, nil
}

// Persist writes what was flushed so far into table files, without waiting for
// it: what it covers survives the end of the process.
func (d *DB) Persist() error {
	if err := d.Trouble(); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	if _, err := d.db.AsyncFlush(); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	return nil
}

// SizeBytes is what the state takes on disk.
func (d *DB) SizeBytes() int64 { return int64(d.db.Metrics().DiskSpaceUsage()) }

// Close writes what was flushed into table files and gives the directory back.
// While the disk refuses writes it drops that: the changelogs have it.
func (d *DB) Close() error {
	err := d.lastFlush()
	close(d.patience.quit)
	if err := errors.Join(err, d.db.Close(), d.lock.Close()); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// lastFlush waits for what is in memory to reach table files, as long as the disk
// takes them: Pebble's own wait has no end.
func (d *DB) lastFlush() error {
	if d.Trouble() != nil {
		return nil
	}
	flushed, err := d.db.AsyncFlush()
	if err != nil {
		return err
	}
	look := time.NewTicker(firstPause)
	defer look.Stop()
	for {
		select {
		case <-flushed:
			return nil
		case <-look.C:
			if err := d.Trouble(); err != nil {
				return err
			}
		}
	}
}
