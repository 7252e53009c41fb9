package state

// Table is what the engine sees of one store in one task, whatever its types.
// A table has three layers: open (written in the transaction that is open now),
// committed (the last value whose transaction is known to be committed), and a
// [Backing] with an older committed state. It never gives an open value away to
// be stored: [Table.Flush] hands out committed values only.
//
// All methods are for the task's one goroutine, as the step is.
type Table interface {
	// Name is the store's name, as in the topology.
	Name() string

	// Changes yields one changelog record per key that the open transaction has
	// changed; a nil value is a tombstone. The bytes are given away: the table
	// never writes to them again. The order is that of the first change.
	Changes(yield func(key, value []byte)) error

	// Commit makes the open values the committed ones: only after the commit of
	// their transaction is known. Abort drops them.
	Commit()
	Abort()

	// Flush writes what is committed and not yet on disk, as of the last Commit;
	// it may be called while a transaction is open. After the engine's batch is
	// applied it calls Flushed, which makes those entries clean, with what was
	// committed in between still dirty. Between the two there is no second Flush.
	Flush(w Writer) error
	Flushed()

	// Restore takes one changelog record, already committed. An engine that has
	// written the record to the Backing itself need not call it: a store's keys
	// and values on disk are the bytes of its changelog.
	Restore(key, value []byte) error

	// OpenKeys counts the keys changed in the open transaction.
	OpenKeys() int
	// OpenBytes, DirtyBytes and CacheBytes are estimates of the memory of the open
	// values, of committed entries not yet flushed, and of the table as a whole.
	OpenBytes() int64
	DirtyBytes() int64
	CacheBytes() int64

	// Evict drops clean entries, those unused for longest first, until CacheBytes
	// is at most target or only open and dirty entries are left.
	Evict(target int64)
}

// Writer takes one flush of a table. Key and value are only valid during the call.
type Writer interface {
	Put(key, value []byte)
	Delete(key []byte)
	// DeleteRange removes all keys k with from <= k < to, before any Put or Delete
	// of the same flush that follows it.
	DeleteRange(from, to []byte)
}

// Backing is the disk below a table: a committed state that may be older than the
// table's committed layer, never newer. A nil Backing is an empty one that
// nothing is ever evicted to.
type Backing interface {
	// Get returns the value of key. The bytes are only valid until the next call.
	Get(key []byte) (value []byte, ok bool, err error)

	// Scan may be called by several goroutines at once. It yields the entries with from <= key < to in the order of their keys (a
	// nil to means the end of the store) until yield returns false. The bytes are
	// only valid during the call of yield, which must not call the Backing.
	Scan(from, to []byte, yield func(key, value []byte) bool) error

	// Empty says that the store had no entry when the task started. The table then
	// asks for keys only after it has evicted some.
	Empty() bool
}
