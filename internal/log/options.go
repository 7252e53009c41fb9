package log

import (
	"log/slog"
	"math"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/record"
)

// Durability is when an append counts as safe.
type Durability int

const (
	// Fsync: a record is readable, and Wait returns, once it is on stable storage.
	Fsync Durability = iota
	// OS: a record is readable at once. It survives the death of the process, not
	// that of the machine, until a checkpoint syncs it.
	OS
)

// Unset is Kafka's "never" for Config.FlushMessages and Config.FlushMs.
const Unset = math.MaxInt64

// Options are the settings of a Store. The zero value works.
type Options struct {
	// Durability of topics that do not choose by FlushMessages or FlushMs.
	Durability Durability
	// BackgroundSync is the longest that an append with Sync false stays unsynced,
	// and unreadable, under Fsync. Default 100ms.
	BackgroundSync time.Duration
	// BackgroundBytes of such appends in all partitions start a sync at once.
	// Default 16 MiB.
	BackgroundBytes int64
	// CheckpointBytes is how much is written between two checkpoints, which bounds
	// what an unclean start scans. Default 64 MiB.
	CheckpointBytes int64
	// CheckpointInterval is the longest that written bytes wait for a checkpoint.
	// Default 5s.
	CheckpointInterval time.Duration
	// RetentionInterval is the time between two retention passes. Default 30s; the
	// first pass starts with the store.
	RetentionInterval time.Duration
	// CompactionInterval is the longest time between two looks for logs to compact;
	// a checkpoint brings one too. Default 15s.
	CompactionInterval time.Duration
	// CompactionMapBytes bounds the memory in which one pass remembers keys, 24
	// bytes each. Where they do not fit, further passes follow. Default 32 MiB.
	CompactionMapBytes int64
	// MaxOpenFiles bounds the file handles. Files with unsynced bytes stay open
	// beyond the bound. Default: half of what the process may open.
	MaxOpenFiles int
	// OpenParallel is the number of partitions that Open recovers at the same time.
	// Default: four per processor, since most of it is waiting.
	OpenParallel int
	// SyncParallel is the number of concurrent syncs in one round. Default 4.
	SyncParallel int
	// ReserveBytes stay free on the disk: appends are refused before it is full,
	// so that checkpoints and deletions always work. Default 16 MiB.
	ReserveBytes int64
	// ProducerExpiration is how long an idle idempotent producer is remembered.
	// Default 24h.
	ProducerExpiration time.Duration
	// NodeID is written into meta.properties. Default 1.
	NodeID int32

	// ConfigOf is asked, once per partition and after the lock is taken, for the
	// configuration of what Open finds on disk. Without it those partitions work
	// with DefaultConfig, but nothing is deleted from them until SetConfig.
	ConfigOf func(record.TopicPartition) Config

	// Now is the wall clock; it may jump. Default time.Now.
	Now        func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered

	faults faults
}

func (o Options) withDefaults() Options {
	setDefault(&o.BackgroundSync, 100*time.Millisecond)
	setDefault(&o.BackgroundBytes, 16<<20)
	setDefault(&o.CheckpointBytes, 64<<20)
	setDefault(&o.CheckpointInterval, 5*time.Second)
	setDefault(&o.RetentionInterval, 30*time.Second)
	setDefault(&o.CompactionInterval, 15*time.Second)
	setDefault(&o.CompactionMapBytes, 32<<20)
	setDefault(&o.MaxOpenFiles, openFilesLimit()/2)
	setDefault(&o.OpenParallel, 4*runtime.GOMAXPROCS(0))
	setDefault(&o.SyncParallel, 4)
	setDefault(&o.ReserveBytes, 16<<20)
	setDefault(&o.ProducerExpiration, 24*time.Hour)
	setDefault(&o.NodeID, 1)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func setDefault[T int | int32 | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Config is what a topic may choose, in Kafka's words and with Kafka's meaning
// and defaults. Every field is taken as it stands: start from DefaultConfig. Only
// the zero Config as a whole stands for DefaultConfig.
type Config struct {
	SegmentBytes         int64 // segment.bytes
	SegmentMs            int64 // segment.ms: age at which the next append starts a new segment
	RetentionMs          int64 // retention.ms; -1: for ever
	RetentionBytes       int64 // retention.bytes; -1: no bound
	FlushMessages        int64 // flush.messages; 1: Fsync; more: OS, with a sync after so many records; Unset
	FlushMs              int64 // flush.ms; 0: Fsync; more: OS, with a sync after that time; Unset
	LogAppendTime        bool  // message.timestamp.type
	TimestampBeforeMaxMs int64 // message.timestamp.before.max.ms: how far timestamps may lag behind the clock
	TimestampAfterMaxMs  int64 // message.timestamp.after.max.ms: how far they may lead
	MaxMessageBytes      int32 // max.message.bytes of one batch
	IndexIntervalBytes   int32 // index.interval.bytes

	Cleanup                CleanupPolicy // cleanup.policy
	MinCleanableDirtyRatio float64       // min.cleanable.dirty.ratio: share of uncompacted bytes from which on the log is compacted
	MinCompactionLagMs     int64         // min.compaction.lag.ms: how long a record stays uncompacted at least
	MaxCompactionLagMs     int64         // max.compaction.lag.ms: at most, whatever the ratio
	DeleteRetentionMs      int64         // delete.retention.ms: how long tombstones stay after their first compaction
}

// DefaultConfig is the configuration of a topic that chooses nothing.
func DefaultConfig() Config {
	const week = 7 * 24 * time.Hour
	return Config{
		SegmentBytes:         256 << 20,
		SegmentMs:            week.Milliseconds(),
		RetentionMs:          week.Milliseconds(),
		RetentionBytes:       -1,
		FlushMessages:        Unset,
		FlushMs:              Unset,
		TimestampBeforeMaxMs: math.MaxInt64,
		TimestampAfterMaxMs:  time.Hour.Milliseconds(),
		MaxMessageBytes:      1048588,
		IndexIntervalBytes:   4096,

		MinCleanableDirtyRatio: 0.5,
		MaxCompactionLagMs:     math.MaxInt64,
		DeleteRetentionMs:      (24 * time.Hour).Milliseconds(),
	}
}

func (c Config) orDefault() Config {
	if c == (Config{}) {
		return DefaultConfig()
	}
	return c
}

// CleanupPolicy says what happens to old records.
type CleanupPolicy uint8

const (
	CleanupDelete        CleanupPolicy = iota // segments go by retention time and size
	CleanupCompact                            // of each key the newest record stays
	CleanupCompactDelete                      // both
)

// Compacts says that only the newest record of each key is promised to stay.
func (c Config) Compacts() bool { return c.Cleanup != CleanupDelete }

// Deletes says that retention time and size hold.
func (c Config) Deletes() bool { return c.Cleanup != CleanupCompact }

// rollMs is the age at which a segment is sealed: a record in the active one
// could not be compacted in time.
func (c *Config) rollMs() int64 {
	if c.Compacts() {
		return min(c.SegmentMs, c.MaxCompactionLagMs)
	}
	return c.SegmentMs
}

// durability maps Kafka's flush settings to ours: the strictest wins.
func (c Config) durability(server Durability) Durability {
	switch {
	case c.FlushMessages <= 1 || c.FlushMs <= 0:
		return Fsync
	case c.FlushMessages != Unset || c.FlushMs != Unset:
		return OS
	}
	return server
}
