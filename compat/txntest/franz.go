package txntest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/compat/history"
	"millrace/compat/probe"
)

// franz is a producer of franz-go. Offsets are staged by requests of its own:
// the library's session would need a member of a group.
type franz struct {
	client *kgo.Client
	id     string
	first  bool // the first transaction protocol
	// Those of the transaction that was committed last.
	lastID    int64
	lastEpoch int16
	ended     bool
}

// quickRetries are the settings of a client whose broker is back within
// milliseconds.
func quickRetries(addr string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(addr),
		kgo.RetryBackoffFn(func(int) time.Duration { return 15 * time.Millisecond }),
		kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.DialTimeout(2 * time.Second),
	}
}

func openFranz(ctx context.Context, addr, id string, timeout time.Duration) (Producer, error) {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	served, err := conn.Served()
	if err != nil {
		return nil, err
	}
	const firstOfSecondProtocol = 5
	return newFranz(ctx, addr, id, timeout, served[int16(kmsg.EndTxn)].Max < firstOfSecondProtocol)
}

// openFranzV1 speaks no newer versions than those of Kafka 3.7, the last release
// without the second protocol.
func openFranzV1(ctx context.Context, addr, id string, timeout time.Duration) (Producer, error) {
	return newFranz(ctx, addr, id, timeout, true, kgo.MaxVersions(kversion.V3_7_0()))
}

func newFranz(ctx context.Context, addr, id string, timeout time.Duration, first bool, more ...kgo.Opt) (Producer, error) {
	client, err := kgo.NewClient(append(append(quickRetries(addr),
		kgo.TransactionalID(id), kgo.TransactionTimeout(timeout),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordDeliveryTimeout(timeout), kgo.UnknownTopicRetries(-1),
		// What is sent together leaves together, in one request.
		kgo.ManualFlushing(),
	), more...)...)
	if err != nil {
		return nil, err
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return &franz{client: client, id: id, first: first}, nil
}

func (f *franz) Begin(context.Context) error { return f.client.BeginTransaction() }

func (f *franz) Send(ctx context.Context, records []Record) ([]int64, error) {
	offsets := make([]int64, len(records))
	failed := make([]error, len(records))
	var answers sync.WaitGroup
	for i, r := range records {
		offsets[i] = -1
		answers.Add(1)
		f.client.Produce(ctx, &kgo.Record{Topic: r.Topic, Partition: r.Index, Value: r.Value}, func(r *kgo.Record, err error) {
			if failed[i] = err; err == nil {
				offsets[i] = r.Offset
			}
			answers.Done()
		})
	}
	flushed := f.client.Flush(ctx)
	answers.Wait()
	return offsets, errors.Join(append(failed, flushed)...)
}

func (f *franz) Stage(ctx context.Context, s history.Staged) error {
	id, epoch, err := f.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	if f.first {
		if err := f.addGroup(ctx, s.Group, id, epoch); err != nil {
			return err
		}
	}
	request := kmsg.NewPtrTxnOffsetCommitRequest()
	request.TransactionalID, request.Group = f.id, s.Group
	request.ProducerID, request.ProducerEpoch = id, epoch
	request.Generation = -1
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic = s.Partition.Topic
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset, partition.LeaderEpoch = s.Partition.Index, s.Offset, -1
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	return again(ctx, func() error {
		answer, err := request.RequestWith(ctx, f.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
	})
}

func (f *franz) addGroup(ctx context.Context, group string, id int64, epoch int16) error {
	request := kmsg.NewPtrAddOffsetsToTxnRequest()
	request.TransactionalID, request.ProducerID, request.ProducerEpoch, request.Group = f.id, id, epoch, group
	return again(ctx, func() error {
		answer, err := request.RequestWith(ctx, f.client)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(answer.ErrorCode)
	})
}

// again repeats a request while the broker asks for it, as libraries do.
func again(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (f *franz) Commit(ctx context.Context) error {
	id, epoch, err := f.client.ProducerID(ctx)
	if err != nil {
		return err
	}
	f.lastID, f.lastEpoch = id, epoch
	err = f.client.EndTransaction(ctx, kgo.TryCommit)
	f.ended = err == nil
	return err
}

// Late sends what a network may deliver after the end of a transaction: a record
// of it, and its end once more, turned round. The second protocol has given the
// present transaction another epoch, so both must be refused.
func (f *franz) Late(ctx context.Context, r Record) error {
	if f.first || !f.ended {
		return nil
	}
	produce := kmsg.NewPtrProduceRequest()
	produce.TransactionID, produce.Acks, produce.TimeoutMillis = &f.id, -1, 5000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = r.Topic
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Partition = r.Index
	partition.Records = probe.BuildTransactional(probe.Sequence{ProducerID: f.lastID, Epoch: f.lastEpoch, First: 1000}, r.Value)
	topic.Partitions = append(topic.Partitions, partition)
	produce.Topics = append(produce.Topics, topic)
	// Version 12 still names topics, and 13 does not.
	const secondProtocol = 12
	produce.SetVersion(secondProtocol)
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = f.id, f.lastID, f.lastEpoch, false
	for _, broker := range f.client.DiscoveredBrokers() {
		if answer, err := broker.Request(ctx, produce); err == nil {
			if code := answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code == 0 {
				return errors.New("LATE: a record of an ended transaction was accepted")
			}
		}
		if answer, err := broker.Request(ctx, end); err == nil && answer.(*kmsg.EndTxnResponse).ErrorCode == 0 {
			return errors.New("LATE: the abort of a committed transaction was accepted")
		}
	}
	return nil
}

func (f *franz) Abort(ctx context.Context) error {
	return f.client.EndTransaction(ctx, kgo.TryAbort)
}

func (f *franz) Close() { f.client.Close() }
