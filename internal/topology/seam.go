package topology

import (
	"time"

	"millrace/internal/state"
	"millrace/record"
	"millrace/window"
)

// Batch is a run of consecutive records of one input partition in columns of
// equal length, so that a step touches only what it needs. All bytes are
// immutable and belong to the garbage collector, never to a pool: the step keeps
// views into them.
type Batch struct {
	Source     int // index into Sub.Sources
	Partition  record.Partition
	Offsets    []record.Offset
	Timestamps []record.Timestamp
	Keys       [][]byte
	Values     [][]byte
	Headers    [][]record.Header // nil when no record has any

	// Next is where reading goes on: behind the last record, and behind what is no
	// record, such as the end of a transaction. 0 says no more than the records do.
	Next record.Offset

	// AtEnd says that the partition was read up to its last stable offset. A batch
	// without records that is AtEnd says only that.
	AtEnd bool
}

// Len is the number of records.
func (b *Batch) Len() int { return len(b.Offsets) }

// Plan is a whole job: what the DSL builds and the engine runs.
type Plan struct {
	App  string // application id: consumer group and prefix of all internal topics
	Subs []Sub  // Sub.ID is the index
}

// Sub is a sub-topology: the operators between two topics. It has one task per
// partition of its sources.
type Sub struct {
	ID      int
	Sources []Source
	Sinks   []Sink
	Stores  []StoreSpec

	// CoPartitioned says that the task of partition p must see all records of its
	// keys: the sources must then have equal numbers of partitions.
	CoPartitioned bool

	// NewTask makes the task of one partition with the state that cfg's backings
	// hold; [Task.LoadProgress] completes it.
	NewTask func(cfg TaskConfig) (Task, error)
}

// Source is a topic that a sub-topology reads.
type Source struct {
	Topic record.Topic

	// Upstream is the Sub.ID of the sub-topology that writes this topic for this
	// one as a repartition topic, with watermark markers among the records; -1 for
	// a topic of the user's.
	Upstream int

	// Keyed is the user's word that records are partitioned by their key.
	Keyed bool
}

// Repartition says that the topic is internal to the job: the engine creates it.
func (s Source) Repartition() bool { return s.Upstream >= 0 }

// SinkKind says what a sink is for.
type SinkKind int8

const (
	SinkOutput      SinkKind = iota // a stream of records
	SinkTable                       // a table: the newest record of a key replaces the others, so compacted
	SinkRepartition                 // internal: created by the engine, emptied as it is read
	SinkDeadLetter                  // records that a stage could not take
)

// Sink is a topic that a sub-topology writes. A topic occurs once per Sub.
type Sink struct {
	Topic record.Topic
	Kind  SinkKind

	// Window is that of a windowed table, else the zero Spec: such a topic is
	// "compacted + deleted", for it would grow for ever.
	Window window.Spec
}

// StoreSpec is a named store of a sub-topology, one table per task. Its changelog
// is compacted and need not be deleted by age, which would take open windows from
// a job that had stood still for long: a window that is dropped gets a tombstone
// for each of its keys.
type StoreSpec struct {
	Name      string
	Changelog record.Topic // <app>-<name>-changelog, as many partitions as the Sub has tasks
	Key       string       // name of the key's codec
	Value     string       // the aggregate and its accumulator's codec: "count as int64"
	Window    window.Spec  // zero when not windowed
}

// TaskConfig is what the engine gives a task. Slices are indexed like the Sub's.
type TaskConfig struct {
	Partition  record.Partition
	Backings   []state.Backing // per store; nil, or a nil element: empty
	Partitions []int32         // per source: partitions of its topic, 0 when unknown
	Upstream   []int32         // per source: tasks of its Upstream; 0 for a topic of the user's

	// Now is the wall clock at the start; later times come by Tick.
	Now time.Time

	// IdleAfter is how long a partition that is read to its end may be without
	// records until it no longer holds back the watermark. Default 5 s.
	IdleAfter time.Duration

	// MaxAhead bounds how far a record's time may lie ahead of the wall clock;
	// beyond it the record goes the way of its stage's policy. Default 1 h.
	MaxAhead time.Duration
}

// Task is the step of one sub-topology on one partition. Its methods are called
// by one goroutine at a time. Process, Prepare and Tick change open state only:
// Commit makes it the task's, Abort brings everything, counters, watermarks and
// timers included, back to the last Commit.
type Task interface {
	// Process takes a whole batch. An error (a StageError) means that a stage with
	// the policy Stop refused a record, or that an invariant is broken; the
	// transaction must then be aborted.
	Process(b *Batch, out Output) error

	// Tick tells the wall clock, about once a second and before a commit. It says
	// whether the task has something to commit although no record came: windows
	// that are due, or a marker for the tasks downstream.
	Tick(now time.Time) (due bool)

	// Prepare comes once before each commit, after the last Process: it sends
	// pre-aggregates, changed and final results, and watermark markers. The
	// changelog records are Tables' Changes, to be read after it.
	Prepare(out Output) error

	Commit()
	Abort()

	// Tables has one table per Sub.Stores, in that order; always the same ones.
	Tables() []state.Table

	// AppendProgress appends what the task must remember beside its tables as of
	// the transaction that is open: watermarks and timers. It belongs into the
	// commit record and, as of the same commit, into the local store. LoadProgress
	// takes such bytes at the start, after the tables are restored; without any it
	// is not called.
	AppendProgress(dst []byte) []byte
	LoadProgress(b []byte) error

	// Memory is the sum over the tables and the pre-aggregates.
	Memory() Memory

	// Stats is as of the last Commit.
	Stats() Stats
}

// Holder is a Task that may hold records back: it has got them, but what they
// belong to is not whole yet. A commit must not claim them: the input is committed
// only up to the first of them, and a start or an abort reads on from there.
type Holder interface {
	// Held is the first record of a source that is held back, if any is.
	Held(source int) (first record.Offset, some bool)
}

// Memory is what a task holds, for the engine's budget and commit triggers.
type Memory struct {
	OpenKeys   int   // changed keys and pre-aggregates: records that a commit will write
	OpenBytes  int64 // of the open transaction, and held back: freed by a commit or an abort, or the rest of what is held
	DirtyBytes int64 // committed, not on disk: freed by a flush and an eviction
	CacheBytes int64 // all of the tables
}

// Stats counts since the task was made.
type Stats struct {
	Records     int64 // taken by Process, without markers
	Late        int64 // too late for their window
	DeadLetters map[Refusal]int64
	Skipped     int64 // refused, under the policy Skip

	// Misplaced counts sampled records of keyed sources that are not in the
	// partition of their key by Kafka's default partitioner (murmur2): the
	// declaration is false, or the producer has another partitioner.
	Misplaced int64

	// Watermark is the event time up to which windows are complete, NoTimestamp
	// when unknown or when nothing depends on it; HeldBy is the input that holds
	// it back ("click_events/3", "task 2 of click-count-page-minute-repartition").
	Watermark record.Timestamp
	HeldBy    string
}

// Refusal is why a record was not taken.
type Refusal struct {
	Stage  string
	Reason string // decode, error, panic, timestamp, late: bounded, fit for a metric's label
}

// Where a record goes in its topic, beside a partition's number.
const (
	ByKey         record.Partition = -1 // murmur2 of the key, as Kafka's default partitioner; without a key any
	AllPartitions record.Partition = -2 // one record to each: watermark markers
)

// Output takes what a task sends into the open transaction. Key, value and
// headers are given away: the task never writes to them again, and the Output
// may keep them as long as it likes. A nil key or value is Kafka's null. Errors
// of sending are the engine's business: they end the transaction.
type Output interface {
	Send(sink int, to record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header)
}
