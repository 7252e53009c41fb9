package txn

import (
	"time"

	"millrace/record"
)

// EndRequest commits or aborts the transaction.
type EndRequest struct {
	Producer Producer
	Commit   bool
	Version  Version
	// FreshID is used if the epochs of the present id are used up; see NeedsID.
	FreshID int64
}

// prepared and completed are the states that the decision leads to.
func (r EndRequest) prepared() State {
	if r.Commit {
		return PrepareCommit
	}
	return PrepareAbort
}

func (r EndRequest) completed() State { return completed(r.prepared()) }

func completed(prepared State) State {
	if prepared == PrepareCommit {
		return CompleteCommit
	}
	return CompleteAbort
}

// EndTxn takes the decision. The answer holds the producer of the next
// transaction; it is true once Next is durable, although the markers are not
// written yet.
func (t Txn) EndTxn(now record.Timestamp, r EndRequest) (Step, error) {
	if r.Version < V2 {
		return t.endV1(now, r)
	}
	return t.endV2(now, r)
}

// endV1 goes by state alone: a request that repeats an earlier one looks like
// the end of the present transaction, if there is one. That is the weakness of
// this version (KIP-890 tells it at length).
func (t Txn) endV1(now record.Timestamp, r EndRequest) (Step, error) {
	switch {
	case r.Producer.ID != t.Producer.ID:
		return Step{}, ErrUnknownProducer
	case r.Producer.Epoch != t.Producer.Epoch:
		return Step{}, ErrFenced
	}
	switch t.State {
	case Ongoing:
		next := t.become(r.prepared(), now)
		next.Version = V1
		return next.stored(), nil
	case r.prepared():
		return Step{}, ErrConcurrent
	case r.completed():
		return t.unchanged(), nil
	}
	return Step{}, ErrState
}

// endV2 tells a repeated request by its epoch, which was left behind.
func (t Txn) endV2(now record.Timestamp, r EndRequest) (Step, error) {
	if t.ended(r.Producer) {
		return t.repeated(r)
	}
	if err := t.check(r.Producer); err != nil {
		return Step{}, err
	}
	switch {
	case t.State.Prepared():
		return Step{}, ErrConcurrent
	case t.State == Ongoing:
		return t.prepareV2(now, r).stored(), nil
	case !r.Commit:
		// The client cannot know whether what it wrote has arrived, so an abort of
		// nothing is legal, and fences what may still be under way.
		next := t.prepareV2(now, r)
		next.StartedAt = now
		return next.stored(), nil
	}
	return Step{}, ErrState
}

// ended reports whether the last transaction was that of p, and is decided.
func (t Txn) ended(p Producer) bool {
	switch t.State {
	case PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort:
		// The epoch that is kept for fencing is not given out: such a client must ask
		// for a new id.
		bumped := p.ID == t.Producer.ID && p.Epoch+1 == t.Producer.Epoch && t.afterwards().Epoch <= lastEpoch
		rotated := p.ID == t.PrevID && p.ID != t.Producer.ID && p.Epoch == lastEpoch && t.Producer.Epoch == 0
		return bumped || rotated
	}
	return false
}

// repeated answers a request whose first answer was lost.
func (t Txn) repeated(r EndRequest) (Step, error) {
	switch t.State {
	case r.prepared():
		return Step{}, ErrConcurrent
	case r.completed():
		return t.unchanged(), nil
	}
	return Step{}, ErrState
}

func (t Txn) prepareV2(now record.Timestamp, r EndRequest) Txn {
	next := t.bump(t.become(r.prepared(), now))
	next.NextID = None
	if t.Producer.exhausted() {
		next.NextID = r.FreshID
	}
	return next
}

func (t Txn) bump(next Txn) Txn {
	next.LastEpoch = t.Producer.Epoch
	next.Producer.Epoch = t.Producer.FencingEpoch()
	next.Version = V2
	return next
}

// Abort is t with its Ongoing transaction aborted by the broker: because of its
// timeout, or for a newer client. The epoch is bumped, so that what its producer
// still sends is refused; the producer itself may ask for the new epoch if
// nobody else has (KIP-588).
func (t Txn) Abort(now record.Timestamp) Txn {
	return t.bump(t.become(PrepareAbort, now))
}

// Complete is t when all markers of its decision are durable.
func (t Txn) Complete(now record.Timestamp) Txn {
	next := t.become(completed(t.State), now)
	next.Producer, next.NextID, next.Partitions = t.afterwards(), None, nil
	return next
}

// Overdue reports whether the transaction has lasted longer than its client allowed.
func (t Txn) Overdue(now record.Timestamp) bool {
	return t.State == Ongoing && int64(now)-int64(t.StartedAt) >= int64(t.TimeoutMs)
}

// Expired reports whether the id was not used for so long that it may be forgotten.
func (t Txn) Expired(now record.Timestamp, retention time.Duration) bool {
	switch t.State {
	case Empty, CompleteCommit, CompleteAbort:
		return int64(now)-int64(t.ChangedAt) >= retention.Milliseconds()
	}
	return false
}
