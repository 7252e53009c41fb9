package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
	"millrace/record"
)

// stagesByV2 is the first TxnOffsetCommit version of transaction.version 2, under
// which the group need not have been added before.
const stagesByV2 = 5

// txnOffsetCommit stages a group's positions: they count when the transaction
// commits. The answer leaves when they are durable (T1).
func (x *txns) txnOffsetCommit(_ *conn, req *kmsg.TxnOffsetCommitRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := txnOffsetCommitResponse(req)
		if err := x.stage(ctx, req, resp); err != nil {
			code := stageCodeOf(err)
			for _, t := range resp.Topics {
				for i := range t.Partitions {
					if t.Partitions[i].ErrorCode == 0 {
						t.Partitions[i].ErrorCode = code
					}
				}
			}
		}
		return resp, nil
	}
}

// txnOffsetCommitResponse has a place for the result of every partition asked for.
func txnOffsetCommitResponse(req *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// stage writes the offsets while the id is held, so that no decision about the
// transaction comes in between; then it waits for the sync.
func (x *txns) stage(ctx context.Context, req *kmsg.TxnOffsetCommitRequest, resp *kmsg.TxnOffsetCommitResponse) error {
	if req.Group == "" {
		return errNoGroupID
	}
	s, err := x.b.groups.ensureShard(req.Group)
	if err != nil {
		return err
	}
	lt, err := x.named(req.TransactionalID)
	if err != nil {
		return err
	}
	if err := lt.lockSettled(ctx); err != nil {
		return err
	}
	sc := &stagedCommit{req: req, resp: resp}
	staged, err := s.stageOffsets(sc, func() error {
		return lt.admit(sc.producer(), []record.TopicPartition{s.log.TP()}, req.Version >= stagesByV2)
	})
	joined := lt.mu.written
	lt.mu.Unlock()
	if err != nil {
		return err
	}
	x.b.store.SyncHere(s.log, lt.shard.log)
	if err := joined.wait(x.b); err != nil {
		return err
	}
	return staged.wait(x.b)
}

// admit says whether the producer may write to the partitions. Under version 2
// that brings them into the transaction; the caller starts the sync, and what is
// written must wait for written as well. The caller holds mu, and the state is
// not Prepared.
func (lt *liveTxn) admit(p txn.Producer, partitions []record.TopicPartition, implicit bool) error {
	if implicit {
		step, err := lt.mu.txn.AddPartitions(lt.shard.x.now(), txn.AddRequest{Producer: p, Partitions: partitions, Version: txn.V2})
		if err == nil && step.Store {
			err = lt.storeLater(step.Next, false)
		}
		return err
	}
	for _, tp := range partitions {
		if err := lt.mu.txn.Verify(p, tp); err != nil {
			return err
		}
	}
	return nil
}
