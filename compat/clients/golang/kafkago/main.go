// Command kafkago is the client program for segmentio/kafka-go: see
// ../../README.md. It has no static membership, and no hook that tells of a
// rebalance.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/segmentio/kafka-go"

	"millrace/compat/clients/golang/line"
)

func main() { line.Main(produce, consume) }

// produce differs from the library's defaults in three points: acks, because
// its default of none acknowledges nothing; creation of the topic; and no batch
// of one second's patience per record.
func produce(ctx context.Context, p line.Produce) error {
	writer := &kafka.Writer{
		Addr:                   kafka.TCP(p.Broker),
		Topic:                  p.Topic,
		RequiredAcks:           kafka.RequireAll,
		AllowAutoTopicCreation: true,
		BatchTimeout:           5 * time.Millisecond,
		Completion: func(messages []kafka.Message, err error) {
			for _, m := range messages {
				line.Acked(m.WriterData.(int), int32(m.Partition), m.Offset, err)
			}
		},
	}
	for n := p.First; n < p.First+p.Count; n++ {
		// A first write finds the topic still being created; the library
		// leaves that retry to its caller.
		for ctx.Err() == nil {
			err := writer.WriteMessages(ctx, kafka.Message{Value: line.Click(n), WriterData: n})
			if errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.LeaderNotAvailable) {
				time.Sleep(50 * time.Millisecond)
				continue
			}
			if err != nil {
				line.Acked(n, 0, 0, err)
			}
			break
		}
		time.Sleep(p.Pace)
	}
	return writer.Close()
}

func consume(ctx context.Context, c line.Consume) error {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:           []string{c.Broker},
		Topic:             c.Topic,
		GroupID:           c.Group,
		StartOffset:       kafka.FirstOffset,
		SessionTimeout:    c.Session,
		HeartbeatInterval: c.Session / 3,
		MaxWait:           200 * time.Millisecond,
		// Without it a consumer that joins before the topic exists, or sees
		// partitions arrive, keeps what it found first.
		WatchPartitionChanges: true,
	})
	for read := 0; c.Count == 0 || read < c.Count; {
		m, err := reader.FetchMessage(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil { // after three attempts to reach the broker
			fmt.Fprintln(os.Stderr, "fetch:", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		read++
		if err := line.Read(m.Value, int32(m.Partition), m.Offset); err != nil {
			return err
		}
		// ReadMessage would drop the record when its commit fails while the
		// broker is away; the next commit covers this one.
		if err := reader.CommitMessages(ctx, m); err != nil {
			fmt.Fprintln(os.Stderr, "commit:", err)
		}
	}
	return reader.Close()
}
