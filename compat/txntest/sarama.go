package txntest

import (
	"context"
	"errors"
	"time"

	"github.com/IBM/sarama"

	"millrace/compat/history"
)

// saramaProducer is a producer of sarama, which knows the first protocol only.
// The library has no contexts: its own timeouts and retries bound every call.
type saramaProducer struct{ producer sarama.SyncProducer }

func openSarama(_ context.Context, addr, id string, timeout time.Duration) (Producer, error) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Transaction.ID, config.Producer.Transaction.Timeout = id, timeout
	config.Producer.Transaction.Retry.Backoff = 20 * time.Millisecond
	config.Producer.Idempotent, config.Net.MaxOpenRequests = true, 1
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes, config.Producer.Return.Errors = true, true
	config.Producer.Retry.Max, config.Producer.Retry.Backoff = 50, 20*time.Millisecond
	config.Metadata.Retry.Backoff = 20 * time.Millisecond
	config.Net.DialTimeout, config.Net.ReadTimeout = 2*time.Second, 5*time.Second
	producer, err := sarama.NewSyncProducer([]string{addr}, config)
	if err != nil {
		return nil, err
	}
	return &saramaProducer{producer}, nil
}

func (s *saramaProducer) Begin(context.Context) error { return s.producer.BeginTxn() }

func (s *saramaProducer) Send(_ context.Context, records []Record) ([]int64, error) {
	messages := make([]*sarama.ProducerMessage, len(records))
	for i, r := range records {
		messages[i] = &sarama.ProducerMessage{Topic: r.Topic, Partition: r.Index, Value: sarama.ByteEncoder(r.Value)}
	}
	err := s.producer.SendMessages(messages)
	failed := map[*sarama.ProducerMessage]bool{}
	var refused sarama.ProducerErrors
	if errors.As(err, &refused) {
		for _, e := range refused {
			failed[e.Msg] = true
		}
	}
	offsets := make([]int64, len(records))
	for i, m := range messages {
		offsets[i] = m.Offset
		if err != nil && (len(refused) == 0 || failed[m]) {
			offsets[i] = -1
		}
	}
	return offsets, err
}

func (s *saramaProducer) Stage(_ context.Context, staged history.Staged) error {
	return s.producer.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{
		staged.Partition.Topic: {{Partition: staged.Partition.Index, Offset: staged.Offset, LeaderEpoch: -1}},
	}, staged.Group)
}

func (s *saramaProducer) Commit(context.Context) error { return s.producer.CommitTxn() }

func (s *saramaProducer) Abort(context.Context) error { return s.producer.AbortTxn() }

func (s *saramaProducer) Close() { s.producer.Close() }
