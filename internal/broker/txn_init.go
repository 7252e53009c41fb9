package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
)

// knowsFenced are the versions from which on clients know PRODUCER_FENCED
// (KIP-588); older ones are told INVALID_PRODUCER_EPOCH.
const (
	initKnowsFenced = 4
	txnKnowsFenced  = 2 // AddPartitionsToTxn, AddOffsetsToTxn and EndTxn
)

// initProducerID makes a client the producer of its transactional id and fences
// every other one. A client without a transactional id gets a producer id.
func (x *txns) initProducerID(c *conn, req *kmsg.InitProducerIDRequest) reply {
	if req.TransactionalID == nil {
		return x.b.initProducerID(c, req)
	}
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = txn.None, txn.None
		p, err := x.initialize(ctx, req)
		if resp.ErrorCode = txnCodeOf(err, req.Version >= initKnowsFenced); err == nil {
			resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
		}
		return resp, nil
	}
}

func (x *txns) initialize(ctx context.Context, req *kmsg.InitProducerIDRequest) (txn.Producer, error) {
	r := txn.InitRequest{
		Producer:  txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch},
		TimeoutMs: req.TransactionTimeoutMillis,
	}
	if req.Version < initContinues {
		r.Producer = txn.Producer{ID: txn.None, Epoch: txn.None}
	}
	switch {
	case *req.TransactionalID == "":
		return txn.Producer{}, refused(kerr.InvalidRequest, "the transactional id is empty")
	case (r.Producer.ID == txn.None) != (r.Producer.Epoch == txn.None):
		return txn.Producer{}, refused(kerr.InvalidRequest, "a producer id needs its epoch, and the other way round")
	case r.TimeoutMs <= 0 || int64(r.TimeoutMs) > maxTransactionTimeout.Milliseconds():
		return txn.Producer{}, txn.ErrTimeout
	}
	for {
		lt, err := x.findOrCreate(*req.TransactionalID)
		if err != nil {
			return txn.Producer{}, err
		}
		p, err := x.initializeAt(ctx, lt, r)
		if err != errIDGone { // it expired just now: this makes it anew
			return p, err
		}
	}
}

func (x *txns) initializeAt(ctx context.Context, lt *liveTxn, r txn.InitRequest) (answer txn.Producer, err error) {
	w, err := lt.do(ctx, func() error {
		if err := lt.freshen(&r.FreshID); err != nil {
			return err
		}
		step, err := lt.mu.txn.InitProducerID(x.now(), r)
		answer = step.Answer
		return lt.take(step, err)
	})
	if err == nil {
		err = w.wait(x.b)
	}
	return answer, err
}

// initContinues is the first InitProducerId version by which a client goes on
// after an error (KIP-360).
const initContinues = 3

// freshen gets a producer id if the present one's epochs are used up.
func (lt *liveTxn) freshen(id *int64) (err error) {
	*id = txn.None
	if lt.mu.txn.NeedsID() {
		*id, err = lt.shard.x.b.producerIDs.take()
	}
	return err
}
