// Package history judges what transactional clients saw of a broker. It knows
// nothing of brokers or clients: a recorder hands it every transaction with the
// outcome that its client was told, everything that readers got, and every
// committed offset that was observed; Check returns each broken promise. The
// kinds of faults follow Jepsen's Kafka workload. The two things most callers
// need are History and Check.
package history

import "fmt"

// Partition is a place that records lie in.
type Partition struct {
	Topic string
	Index int32
}

func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// ID names one record for ever: who wrote it, in which of its lives, in which
// of that life's transactions, and as the how manieth record of it. The fields
// are in the order in which a writer counts them up.
type ID struct {
	Writer int // one transactional id
	Life   int // one producer of that transactional id, newer lives fence older ones
	Txn    int
	N      int
}

func (id ID) String() string {
	return fmt.Sprintf("writer %d life %d transaction %d record %d", id.Writer, id.Life, id.Txn, id.N)
}

// before is the order in which a writer sends.
func (id ID) before(other ID) bool {
	switch {
	case id.Life != other.Life:
		return id.Life < other.Life
	case id.Txn != other.Txn:
		return id.Txn < other.Txn
	}
	return id.N < other.N
}

// Time is a tick of the recorder's own clock, which counts events. Zero is
// never: no event has it.
type Time int64

// Outcome is what the client knows about the end of a transaction.
type Outcome int

// The outcomes. Unknown: a commit was asked for, and the answer was lost.
// Aborted: no commit was ever asked for, or it was by a producer that was
// already fenced; such a transaction must never become visible.
const (
	Unknown Outcome = iota
	Committed
	Aborted
)

func (o Outcome) String() string { return [...]string{"unknown", "committed", "aborted"}[o] }

// Write is one record that a transaction sent.
type Write struct {
	ID        ID
	Partition Partition
	Offset    int64 // where the broker said that it lies; -1 when it did not say
}

// Staged is an offset that a transaction commits for a group.
type Staged struct {
	Group     string
	Partition Partition
	Offset    int64
}

// Txn is one transaction as its client saw it.
type Txn struct {
	Writer, Life, Seq int
	Writes            []Write
	Staged            []Staged
	CommitSent        Time // 0: a commit was never asked for
	Ended             Time // when the outcome was known; 0 while it is not
	Outcome           Outcome
	// Fenced is when a newer life of the same transactional id was answered, if
	// that was before CommitSent. Said is what the client was told all the same.
	Fenced Time
	Said   Outcome
}

func (t *Txn) String() string {
	return fmt.Sprintf("writer %d life %d transaction %d (%s)", t.Writer, t.Life, t.Seq, t.Outcome)
}

// Seen is one record where a reader found it.
type Seen struct {
	Offset int64
	ID     ID
}

// Poll is one record that a running reader was given.
type Poll struct {
	Partition Partition
	Seen
	At Time
}

// Reader is everything that one running reader was given, in its order.
type Reader struct {
	Name      string
	Committed bool // reads committed transactions only
	Polls     []Poll
}

// Observed is a group's committed offset as asked for with the requirement that
// no transaction is undecided about it. The answer holds at some moment between
// Asked and Answered. Offset -1 is none.
type Observed struct {
	Group           string
	Partition       Partition
	Offset          int64
	Asked, Answered Time
}

// History is all that is known of one run, which has come to rest: every
// transaction is decided.
type History struct {
	Txns      []*Txn
	Readers   []Reader
	Offsets   []Observed
	Committed map[Partition][]Seen // the last reading of committed transactions, by offset
	All       map[Partition][]Seen // the last reading of everything, by offset
	Final     []Observed           // the last committed offsets
}

// Kind is one sort of broken promise.
type Kind string

// The kinds.
const (
	Lost       Kind = "LOST WRITE"     // acknowledged or committed, and not there
	AbortedGot Kind = "ABORTED READ"   // visible although its transaction never committed
	Early      Kind = "EARLY READ"     // visible before its commit was asked for
	Torn       Kind = "TORN"           // one part of a transaction came to be and another did not
	Duplicate  Kind = "DUPLICATE"      // one record at two offsets
	Moved      Kind = "MOVED"          // not where it was acknowledged or written to
	WentBack   Kind = "WENT BACK"      // a committed offset, or a reader
	Reordered  Kind = "REORDERED"      // records of one writer in another order than sent
	Skipped    Kind = "SKIPPED"        // a running reader was not given a record
	Changed    Kind = "CHANGED"        // two readings of one offset differ
	Zombie     Kind = "ZOMBIE"         // a fenced producer was told that it committed
	Unknowable Kind = "UNKNOWN RECORD" // a record that nobody wrote
)

// Fault is one broken promise, with what shows it.
type Fault struct {
	Kind Kind
	Text string
}

func (f Fault) String() string { return string(f.Kind) + ": " + f.Text }
