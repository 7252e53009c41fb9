package killtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The writers: even numbers are idempotent, odd ones are not.
const writers = 4

func idempotent(writer int32) bool { return writer%2 == 0 }

// inFlight bounds what one writer has sent and not yet had acknowledged.
const inFlight = 200

// quickRetries are the settings of a client whose broker is back within
// milliseconds.
func quickRetries(addr string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(addr),
		kgo.RetryBackoffFn(func(int) time.Duration { return 15 * time.Millisecond }),
		kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.DialTimeout(2 * time.Second),
		kgo.UnknownTopicRetries(-1),
	}
}

// write produces records of one writer, acks=all, until ctx ends, and notes
// every acknowledgement. A record that the client gives up on is an error: it
// retries for ever unless the broker refuses.
func write(ctx context.Context, addr string, writer int32, partitions []partition, j *journal) error {
	options := append(quickRetries(addr),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(inFlight),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if !idempotent(writer) {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	var mu sync.Mutex
	var refused error
	for seq := int64(0); ctx.Err() == nil; seq++ {
		p := partitions[int(seq)%len(partitions)]
		l := label{writer, seq, p.Topic, p.Index}
		client.Produce(ctx, &kgo.Record{Topic: p.Topic, Partition: p.Index, Value: l.encode()}, func(r *kgo.Record, err error) {
			if err == nil {
				j.ack(ack{id{writer, seq}, p, r.Offset})
				return
			}
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				mu.Lock()
				defer mu.Unlock()
				refused = fmt.Errorf("writer %d: record %d: %w", writer, seq, err)
			}
		})
		mu.Lock()
		err := refused
		mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
