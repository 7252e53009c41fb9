package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
)

// endsByV2 is the first EndTxn version of transaction.version 2.
const endsByV2 = 5

// endTxn takes the decision about a transaction. The answer leaves when that is
// durable: from then on the transaction is decided, whatever happens. The markers
// follow the answer.
func (x *txns) endTxn(c *conn, req *kmsg.EndTxnRequest) reply {
	here := c.here
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ProducerID, resp.ProducerEpoch = txn.None, txn.None
		p, andThen, err := x.end(ctx, req, here)
		if resp.ErrorCode = txnCodeOf(err, req.Version >= txnKnowsFenced); err == nil {
			resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
		}
		if andThen != nil {
			return decided{resp, andThen}, nil
		}
		return resp, nil
	}
}

// decided is the answer about a decision that is durable, and what is done when it
// has left. The connection that asked for the decision does it: that spares waking
// a goroutine, and the client's next request waits for the markers anyway.
type decided struct {
	*kmsg.EndTxnResponse
	andThen func()
}

func (d decided) writeFrame(c *conn, correlationID int32) error {
	err := c.writeMessage(d.EndTxnResponse, correlationID)
	d.andThen()
	return err
}

// end returns when the decision is durable. If here, and if the request has made
// it, its markers are left to andThen.
func (x *txns) end(ctx context.Context, req *kmsg.EndTxnRequest, here bool) (p txn.Producer, andThen func(), err error) {
	r := txn.EndRequest{Producer: txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Commit: req.Commit}
	if req.Version >= endsByV2 {
		r.Version = txn.V2
	}
	lt, err := x.named(req.TransactionalID)
	if err != nil {
		return p, nil, err
	}
	var step txn.Step
	var began int64
	w, err := lt.do(ctx, func() error {
		if err := lt.freshen(&r.FreshID); err != nil {
			return err
		}
		began = lt.mu.began
		if step, err = lt.mu.txn.EndTxn(x.now(), r); err != nil || !step.Store {
			return err
		}
		return lt.prepare(step.Next, here)
	})
	if err != nil {
		return p, nil, err
	}
	if step.Store && here {
		andThen = func() { x.finishHere(lt, step.Next) }
	}
	if andThen != nil && x.b.cfg.txnFaults.earlyMarkers {
		andThen()
		andThen = nil
	}
	if err := lt.wait(w); err != nil {
		return p, nil, err
	}
	if step.Store && len(step.Next.Partitions) > 0 {
		x.counts.answered.Add(1)
		x.counts.rounds.Add(x.b.store.SyncRounds() - began)
	}
	return step.Answer, andThen, nil
}
