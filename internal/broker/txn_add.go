package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/txn"
	"millrace/record"
)

// addsInBatches is the first AddPartitionsToTxn version that carries several
// transactions, and whose answer has codes that older clients do not know.
const addsInBatches = 4

// addPartitions brings partitions into transactions, by request of clients of
// version 1, or only looks whether they are in (VerifyOnly).
func (x *txns) addPartitions(_ *conn, req *kmsg.AddPartitionsToTxnRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.AddPartitionsToTxnResponse)
		if req.Version < addsInBatches {
			one := kmsg.AddPartitionsToTxnRequestTransaction{
				TransactionalID: req.TransactionalID, ProducerID: req.ProducerID, ProducerEpoch: req.ProducerEpoch,
			}
			for _, t := range req.Topics {
				one.Topics = append(one.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: t.Topic, Partitions: t.Partitions})
			}
			for _, t := range x.addTo(ctx, one, req.Version).Topics {
				rt := kmsg.AddPartitionsToTxnResponseTopic{Topic: t.Topic}
				for _, p := range t.Partitions {
					rt.Partitions = append(rt.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
				}
				resp.Topics = append(resp.Topics, rt)
			}
			return resp, nil
		}
		for _, one := range req.Transactions {
			resp.Transactions = append(resp.Transactions, x.addTo(ctx, one, req.Version))
		}
		return resp, nil
	}
}

// addTo adds to one transaction: all of the partitions or none.
func (x *txns) addTo(ctx context.Context, req kmsg.AddPartitionsToTxnRequestTransaction, version int16) kmsg.AddPartitionsToTxnResponseTransaction {
	resp := kmsg.NewAddPartitionsToTxnResponseTransaction()
	resp.TransactionalID = req.TransactionalID
	var partitions []record.TopicPartition
	missing := false
	for _, t := range req.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			code := codeOf(x.mayAdd(t.Topic, p))
			missing = missing || code != 0
			partitions = append(partitions, record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p)})
			rt.Partitions = append(rt.Partitions, kmsg.AddPartitionsToTxnResponseTransactionTopicPartition{Partition: p, ErrorCode: code})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	code := kerr.OperationNotAttempted.Code
	if !missing {
		code = txnCodeOf(x.add(ctx, req, partitions), version >= txnKnowsFenced)
	}
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			if t.Partitions[i].ErrorCode == 0 {
				t.Partitions[i].ErrorCode = code
			}
		}
	}
	return resp
}

func (x *txns) mayAdd(topic string, partition int32) error {
	if topic == transactionsTopic {
		return fmt.Errorf("%w: %s", errTopicInternal, topic)
	}
	_, err := x.b.partition(topic, partition)
	return err
}

func (x *txns) add(ctx context.Context, req kmsg.AddPartitionsToTxnRequestTransaction, partitions []record.TopicPartition) error {
	p := txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	if req.VerifyOnly {
		return x.verify(ctx, req.TransactionalID, p, partitions)
	}
	return x.join(ctx, req.TransactionalID, txn.AddRequest{Producer: p, Partitions: partitions, Version: txn.V1})
}

// join adds partitions and waits until that is durable.
func (x *txns) join(ctx context.Context, id string, r txn.AddRequest) error {
	lt, err := x.named(id)
	if err != nil {
		return err
	}
	w, err := lt.do(ctx, func() error {
		step, err := lt.mu.txn.AddPartitions(x.now(), r)
		if err == nil && step.Store {
			err = lt.storeLater(step.Next, false)
		}
		return err
	})
	if err == nil {
		err = lt.wait(w)
	}
	return err
}

func (x *txns) verify(ctx context.Context, id string, p txn.Producer, partitions []record.TopicPartition) error {
	lt, err := x.named(id)
	if err != nil {
		return err
	}
	_, err = lt.do(ctx, func() error {
		for _, tp := range partitions {
			if err := lt.mu.txn.Verify(p, tp); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// named is the id of a request about a transaction.
func (x *txns) named(id string) (*liveTxn, error) {
	if id == "" {
		return nil, refused(kerr.InvalidRequest, "the transactional id is empty")
	}
	if lt := x.find(id); lt != nil {
		return lt, nil
	}
	return nil, txn.ErrUnknownProducer
}

// addOffsets brings a group's partition of the offsets topic into a transaction.
func (x *txns) addOffsets(_ *conn, req *kmsg.AddOffsetsToTxnRequest) reply {
	return func(ctx context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.AddOffsetsToTxnResponse)
		resp.ErrorCode = txnCodeOf(x.addGroup(ctx, req), req.Version >= txnKnowsFenced)
		return resp, nil
	}
}

func (x *txns) addGroup(ctx context.Context, req *kmsg.AddOffsetsToTxnRequest) error {
	if req.Group == "" {
		return errNoGroupID
	}
	s, err := x.b.groups.ensureShard(req.Group)
	if err != nil {
		return err
	}
	return x.join(ctx, req.TransactionalID, txn.AddRequest{
		Producer:   txn.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch},
		Partitions: []record.TopicPartition{s.log.TP()}, Version: txn.V1,
	})
}
