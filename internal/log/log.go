package log

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"millrace/record"
)

// Log is one partition. All methods may be called concurrently; readers take no
// lock and never wait for a writer or for the disk's sync.
//
//	stable <= highWatermark <= next, start <= highWatermark, durable <= next
type Log struct {
	store   *Store
	tp      record.TopicPartition
	topicID [16]byte
	dir     string

	config atomic.Pointer[Config]
	view   atomic.Pointer[view]
	epochs atomic.Pointer[epochHistory]
	failed atomic.Pointer[error] // ErrFailed with its cause: a write or sync failed; final
	ended  atomic.Pointer[error] // ErrDeleted or ErrClosed

	next          atomic.Int64 // offset that the next record gets
	durable       atomic.Int64 // first offset that is not on stable storage
	highWatermark atomic.Int64 // first offset that readers do not see
	stable        atomic.Int64 // first offset that readers at read_committed do not see; see LastStableOffset

	configured atomic.Bool // the configuration is the topic's own: retention may delete
	hints      hintSet

	waiters, stableWaiters waiterSet // for the high watermark, for the last stable offset

	// appender serialises what changes the end of the log. It is held while a
	// write system call runs, never while a sync does.
	appender struct {
		sync.Mutex
		producers producers
		index     *indexWriter
		aborted   abortedWriter
		snapshots []record.Offset // of the producers on disk, ascending
		sealed    []*segment      // since the last checkpoint, which syncs their indexes
		rollFrom  int64           // when segment.ms starts to count for the active segment, ms
		iov       [1][]byte       // spares an allocation per write
	}

	// tail is what the sync scheduler and the appender share. It is held for a few
	// instructions at a time.
	tail struct {
		sync.Mutex
		unsynced []*segment // with bytes that no sync has covered; their data handles are pinned
		newNames bool       // a segment's name is not durable yet
		bytes    int64      // unsynced
		records  int64      // unsynced
		unstable unstableSet
	}

	scheduled    schedule     // guarded by the scheduler's lock
	indexFailed  atomic.Bool  // an index could not be synced
	checkpointed atomic.Int64 // recovery point on disk: all below is durable, and so is the producers' state there

	recovered recovered
	compacted compacted

	// reshape is held by who takes segments out of the view: a swap, or a new log
	// start. Who needs names too locks this one first.
	reshape sync.Mutex

	// names is held for reading while files are made, renamed or removed in dir,
	// and for writing to delete the log: a later log of the same name is not hurt.
	// Who needs the appender too locks that one first.
	names sync.RWMutex
}

// TP names the partition.
func (l *Log) TP() record.TopicPartition { return l.tp }

// TopicID is Kafka's id of the topic, zero if it is not known.
func (l *Log) TopicID() [16]byte { return l.topicID }

// Config is the configuration in force.
func (l *Log) Config() Config { return *l.config.Load() }

// SetConfig changes the configuration; retention applies it at its next pass.
// A log that changes from OS to Fsync keeps its high watermark until the sync
// has caught up with it.
func (l *Log) SetConfig(c Config) {
	c = c.orDefault()
	l.config.Store(&c)
	l.configured.Store(true)
	l.store.retention.nudge()
	if l.durability() == OS {
		l.publishWritten()
	}
}

func (l *Log) durability() Durability { return l.config.Load().durability(l.store.opts.Durability) }

// StartOffset is the first offset that is served.
func (l *Log) StartOffset() record.Offset { return l.view.Load().start }

// HighWatermark is the first offset that readers do not see: under Fsync the
// durable end, under OS the written end.
func (l *Log) HighWatermark() record.Offset { return record.Offset(l.highWatermark.Load()) }

// NextOffset is the offset that the next record gets. It never goes back.
func (l *Log) NextOffset() record.Offset { return record.Offset(l.next.Load()) }

// LeaderEpoch is the epoch that is written into batches. It rises when a start
// had to cut the log.
func (l *Log) LeaderEpoch() int32 { return l.epochs.Load().latest() }

// SizeBytes is the size of all batches on disk.
func (l *Log) SizeBytes() int64 {
	var total int64
	for _, seg := range l.view.Load().segments {
		total += seg.size.Load()
	}
	return total
}

// OffsetForEpoch answers OffsetForLeaderEpoch: the largest epoch that is not
// above the asked one, and the offset behind its last record. -1 and -1 when the
// epoch is not known.
func (l *Log) OffsetForEpoch(epoch int32) (int32, record.Offset) {
	return l.epochs.Load().endOf(epoch, l.HighWatermark())
}

// ProducerInfo is what is known of one idempotent producer (DescribeProducers).
type ProducerInfo struct {
	ID               int64
	Epoch            int16
	LastSequence     int32         // -1 when its epoch has no batch here
	LastTimestamp    int64         // when it appended last, by our clock, in milliseconds
	CoordinatorEpoch int32         // of its newest transaction marker; -1 without one
	TxnStart         record.Offset // where its open transaction begins; -1 without one
}

// Producers are the idempotent producers that the log remembers, by id.
func (l *Log) Producers() []ProducerInfo {
	l.appender.Lock()
	defer l.appender.Unlock()
	infos := make([]ProducerInfo, 0, len(l.appender.producers.byID))
	for id, p := range l.appender.producers.byID {
		infos = append(infos, ProducerInfo{
			ID: id, Epoch: p.epoch, LastSequence: p.lastSequence(), LastTimestamp: p.lastMs,
			CoordinatorEpoch: p.coordinatorEpoch, TxnStart: p.txnFirst,
		})
	}
	slices.SortFunc(infos, func(a, b ProducerInfo) int { return cmp.Compare(a.ID, b.ID) })
	return infos
}

func outOfRange(l *Log, off record.Offset) error {
	return fmt.Errorf("%w: %d of %s, which has %d to %d", ErrOffsetOutOfRange, off, l.tp, l.StartOffset(), l.HighWatermark())
}

// SegmentInfo describes one file of batches.
type SegmentInfo struct {
	Base      record.Offset
	SizeBytes int64
}

// Segments are the files of the log, oldest first.
func (l *Log) Segments() []SegmentInfo {
	v := l.view.Load()
	infos := make([]SegmentInfo, len(v.segments))
	for i, seg := range v.segments {
		infos[i] = SegmentInfo{Base: seg.base, SizeBytes: seg.size.Load()}
	}
	return infos
}

// Failed is why the log takes no appends any more: it wraps ErrFailed,
// ErrDeleted or ErrClosed. nil while it works.
func (l *Log) Failed() error { return l.stopped() }

func (l *Log) stopped() error {
	if reason := l.ended.Load(); reason != nil {
		return *reason
	}
	if reason := l.failed.Load(); reason != nil {
		return *reason
	}
	return nil
}

// fail stops the log for good and says why. Readers keep what they could see.
func (l *Log) fail(cause error) error {
	err := fmt.Errorf("%w: %s: %w", ErrFailed, l.tp, cause)
	if l.failed.CompareAndSwap(nil, &err) {
		l.store.opts.Logger.Error("partition failed: no more appends until a restart recovers it", "partition", l.tp.String(), "error", cause)
		l.store.metrics.failed.Inc()
		l.wakeAll()
	}
	return err
}

// end makes the log refuse everything from now on, with ErrDeleted or ErrClosed.
func (l *Log) end(reason error) {
	l.ended.CompareAndSwap(nil, &reason)
	l.wakeAll()
}

// changeView replaces what readers see. The caller must not hold tail.
func (l *Log) changeView(edit func(v view) view) {
	l.tail.Lock()
	defer l.tail.Unlock()
	next := edit(*l.view.Load())
	l.view.Store(&next)
}
