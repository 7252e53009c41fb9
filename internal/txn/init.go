package txn

import "millrace/record"

// InitRequest asks for a producer.
type InitRequest struct {
	// Producer is who asks, when a client goes on after an error (KIP-360); its ID
	// is None for a client that has just started.
	Producer  Producer
	TimeoutMs int32
	// FreshID is used if the epochs of the present id are used up; see NeedsID.
	FreshID int64
}

func (r InitRequest) goesOn() bool { return r.Producer.ID != None }

// NeedsID reports whether InitProducerID or EndTxn may need a fresh producer id.
// One that is not needed is lost, which does no harm.
func (t Txn) NeedsID() bool { return t.Producer.exhausted() }

// InitProducerID gives the transactional id to the client that asks, and fences
// every other one.
//
// An Ongoing transaction is aborted first: the step beside ErrConcurrent must be
// carried out, and the same request works when its markers are written.
func (t Txn) InitProducerID(now record.Timestamp, r InitRequest) (Step, error) {
	if r.goesOn() && !t.knows(r.Producer) {
		return Step{}, ErrFenced
	}
	switch {
	case t.State.Prepared():
		return Step{}, ErrConcurrent
	case t.State == Ongoing && r.goesOn() && r.Producer.Epoch != t.Producer.Epoch:
		return Step{}, ErrFenced // Kafka lets a fenced client abort its successor's transaction first
	case t.State == Ongoing:
		return t.Abort(now).stored(), ErrConcurrent
	case t.Producer.exhausted() && (!r.goesOn() || r.Producer.Epoch == t.Producer.Epoch || r.Producer.Epoch == t.LastEpoch):
		return t.rotate(now, r).stored(), nil
	case !r.goesOn():
		return t.advance(now, r, None).stored(), nil
	case t.Producer.Epoch == None || r.Producer.Epoch == t.Producer.Epoch:
		return t.advance(now, r, t.Producer.Epoch).stored(), nil
	case r.Producer.Epoch == t.LastEpoch: // the answer to the same request was lost, or its transaction has timed out
		return t.restart(now, r).stored(), nil
	}
	return Step{}, ErrFenced
}

// knows reports whether p is the id's producer, or was when its epochs ran out.
// An id that has just been made again after its expiry knows everybody.
func (t Txn) knows(p Producer) bool {
	return t.Producer.Epoch == None || p.ID == t.Producer.ID || p.ID == t.PrevID && p.exhausted()
}

func (t Txn) restart(now record.Timestamp, r InitRequest) Txn {
	next := t.become(Empty, now)
	next.TimeoutMs, next.Partitions, next.StartedAt = r.TimeoutMs, nil, record.NoTimestamp
	return next
}

// advance fences the present epoch. last is what the client that asks had.
func (t Txn) advance(now record.Timestamp, r InitRequest, last int16) Txn {
	next := t.restart(now, r)
	next.Producer.Epoch++
	next.LastEpoch = last
	return next
}

// rotate goes on with a fresh producer id.
func (t Txn) rotate(now record.Timestamp, r InitRequest) Txn {
	next := t.restart(now, r)
	next.Producer, next.LastEpoch = Producer{r.FreshID, 0}, None
	if r.goesOn() {
		next.LastEpoch = r.Producer.Epoch
	}
	return next
}
