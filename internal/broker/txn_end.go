package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
)

// endsByV2 is the first EndTxn version of transaction.version 2.
const endsByV2 = 5

// endTxn takes the decision about a transaction. The answer leaves when that is
// durable: from then on the transaction is decided, whatever happens.
func (x *txns) endTxn(_ *conn, req *kmsg.EndTxnRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ProducerID, resp.ProducerEpoch = txn.None, txn.None
		p, err := x.end(ctx, req)
		if resp.ErrorCode = txnCodeOf(err, req.Version >= txnKnowsFenced); err == nil {
			resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
		}
		return resp, nil
	}
}

func (x *txns) end(ctx context.Context, req *kmsg.EndTxnRequest) (txn.Producer, error) {
	r := txn.EndRequest{Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Commit: req.Commit}
	if req.Version >= endsByV2 {
		r.Version = txn.V2
	}
	lt, err := x.named(req.TransactionalID)
	if err != nil {
		return txn.Producer{}, err
	}
	var step txn.Step
	var began int64
	w, err := lt.do(ctx, func() error {
		if err := lt.freshen(&r.FreshID); err != nil {
			return err
		}
		began = lt.mu.began
		step, err = lt.mu.txn.EndTxn(x.now(), r)
		return lt.take(step, err)
	})
	if err == nil {
		err = w.wait(x.b)
	}
	if err == nil && step.Store && len(step.Next.Partitions) > 0 {
		x.counts.answered.Add(1)
		x.counts.rounds.Add(x.b.store.SyncRounds() - began)
	}
	return step.Answer, err
}
