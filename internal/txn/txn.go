// Package txn decides what becomes of one transactional id, as pure functions:
// each request is a function of the id's state, the time and the request, and
// gives a [Step]. There is no I/O, clock, lock or goroutine; the owner (the
// broker) stores the state of a step before it counts, writes the markers of a
// prepared transaction, and delivers the answers. So a test can run every order
// of requests, crashes and delays.
//
// Most readers need [Txn] and [Step]. The rules are those of Apache Kafka's
// transaction coordinator in both of its versions: version 1 of the protocol
// (KIP-98), and version 2 (KIP-890), under which the end of each transaction
// moves the producer to a new epoch, so that a request that was delayed cannot
// touch a later transaction. Where this package differs on purpose, the comment
// says so. KIP-360 (a producer may recover from errors) and KIP-588 (also from a
// timeout) give further reasons.
package txn

import (
	"cmp"
	"math"
	"slices"

	"millrace/record"
)

// State is where a transactional id stands. The numbers are those that Kafka
// stores.
type State int8

const (
	// Empty has a producer but had no transaction under its epoch yet.
	Empty State = iota
	// Ongoing has a transaction with partitions.
	Ongoing
	// PrepareCommit is decided: whatever happens, its markers will say commit.
	PrepareCommit
	// PrepareAbort is decided: its markers will say abort.
	PrepareAbort
	// CompleteCommit had its last transaction committed in all partitions.
	CompleteCommit
	// CompleteAbort had its last transaction aborted in all partitions.
	CompleteAbort
	// Dead has expired: the owner must look the id up again.
	Dead
)

// String is Kafka's name of the state, as ListTransactions shows it.
func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case Ongoing:
		return "Ongoing"
	case PrepareCommit:
		return "PrepareCommit"
	case PrepareAbort:
		return "PrepareAbort"
	case CompleteCommit:
		return "CompleteCommit"
	case CompleteAbort:
		return "CompleteAbort"
	default:
		return "Dead"
	}
}

// Prepared reports whether a decision was taken whose markers are still due.
func (s State) Prepared() bool { return s == PrepareCommit || s == PrepareAbort }

// Producer is who writes: the id, and how often it was handed on. Of two epochs
// of one id the larger one fences the smaller.
type Producer struct {
	ID    int64
	Epoch int16
}

// FencingEpoch is above that of p, or the largest that there is.
func (p Producer) FencingEpoch() int16 { return min(p.Epoch, math.MaxInt16-1) + 1 }

// None stands for a producer id or epoch that is not there.
const None = -1

// lastEpoch is the largest epoch that a client is given. The one above it is
// kept for fencing that client.
const lastEpoch = math.MaxInt16 - 1

// exhausted reports whether no client may get a later epoch of this id.
func (p Producer) exhausted() bool { return p.Epoch >= lastEpoch }

// Version of the transaction protocol that a client speaks.
type Version int16

const (
	// V1 is Kafka's original protocol, of clients that announce every partition.
	V1 Version = 0
	// V2 is that of KIP-890 part 2: partitions are added by writing to them, and
	// each end of a transaction brings a new epoch.
	V2 Version = 2
)

// Txn is the state of one transactional id: a value, which no method changes.
type Txn struct {
	State State
	// Producer is who may write. Its epoch is None before the first
	// InitProducerID was stored, and while Prepared under V2 already the bumped one.
	Producer Producer
	// PrevID is the producer id before the last change of state; NextID is the one
	// that follows when the markers are written, because the epochs of Producer are
	// used up. None otherwise.
	PrevID, NextID int64
	// LastEpoch is what the same client had before Producer.Epoch, so that it may
	// repeat a request whose answer it did not get. None when a newer client took
	// the id over. Kafka does not store it either.
	LastEpoch int16
	TimeoutMs int32
	// Partitions belong to the transaction, in order and each once; never changed
	// in place, so that states may share it.
	Partitions []record.TopicPartition
	StartedAt  record.Timestamp // of the transaction; NoTimestamp when there was none
	ChangedAt  record.Timestamp // of the state
	Version    Version          // by which the transaction goes
}

// New is a transactional id that nobody has used: its first producer will have
// the given id.
func New(producerID int64, now record.Timestamp) Txn {
	return Txn{
		Producer: Producer{producerID, None}, PrevID: None, NextID: None, LastEpoch: None,
		StartedAt: record.NoTimestamp, ChangedAt: now,
	}
}

// Step is what one request asks of the id's owner. The order matters: first
// append Next where a crash does not lose it, then count it as the id's state;
// an answer leaves when that is durable, and so do the markers of a Prepared
// state. When Next cannot be appended, the step did not happen.
type Step struct {
	Next   Txn
	Store  bool     // Next differs from the state before
	Answer Producer // what the client goes on with
}

// unchanged answers without a change.
func (t Txn) unchanged() Step { return Step{Next: t, Answer: t.afterwards()} }

// become is t in another state.
func (t Txn) become(s State, now record.Timestamp) Txn {
	t.State, t.ChangedAt, t.PrevID = s, now, t.Producer.ID
	return t
}

func (t Txn) stored() Step { return Step{Next: t, Store: true, Answer: t.afterwards()} }

// afterwards is the producer that goes on when the markers of a Prepared state
// are written; in any other state the present one.
func (t Txn) afterwards() Producer {
	if t.NextID >= 0 {
		return Producer{t.NextID, 0}
	}
	return t.Producer
}

// ProducerIDs are those under which the client may have written: that of the
// state, and in a Prepared one also that which follows, because the client knows
// it as soon as the decision is durable.
func (t Txn) ProducerIDs() []int64 {
	if t.NextID >= 0 {
		return []int64{t.Producer.ID, t.NextID}
	}
	return []int64{t.Producer.ID}
}

// check says whether p is the producer of the id.
func (t Txn) check(p Producer) error {
	current := t.Producer
	if t.State.Prepared() {
		current = t.afterwards()
	}
	switch {
	case p.ID != current.ID:
		return ErrUnknownProducer
	case p.Epoch != current.Epoch:
		return ErrFenced
	}
	return nil
}

// Has reports whether the partition belongs to the transaction.
func (t Txn) Has(tp record.TopicPartition) bool {
	_, found := slices.BinarySearchFunc(t.Partitions, tp, ComparePartitions)
	return found
}

// ComparePartitions is the order of [Txn.Partitions].
func ComparePartitions(a, b record.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}
