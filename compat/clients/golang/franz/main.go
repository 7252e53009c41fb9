// Command franz is the client program for twmb/franz-go: see ../../README.md.
package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"millrace/compat/clients/golang/line"
)

func main() { line.Main(produce, consume) }

// security are the options of a secured broker, none of another.
func security() ([]kgo.Opt, error) {
	l, err := line.Security()
	if err != nil || l.Mechanism == "" {
		return nil, err
	}
	auth := scram.Auth{User: l.User, Pass: l.Password}
	mechanism := plain.Auth{User: l.User, Pass: l.Password}.AsMechanism()
	switch l.Mechanism {
	case "SCRAM-SHA-256":
		mechanism = auth.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		mechanism = auth.AsSha512Mechanism()
	}
	options := []kgo.Opt{kgo.SASL(mechanism)}
	if l.TLS != nil {
		options = append(options, kgo.DialTLSConfig(l.TLS))
	}
	return options, nil
}

func produce(ctx context.Context, p line.Produce) error {
	options, err := security()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(p.Broker), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		return err
	}
	defer client.Close()
	for n := p.First; n < p.First+p.Count; n++ {
		client.Produce(ctx, &kgo.Record{Topic: p.Topic, Value: line.Click(n)}, func(r *kgo.Record, err error) {
			line.Acked(n, r.Partition, r.Offset, err)
		})
		time.Sleep(p.Pace)
	}
	return client.Flush(ctx)
}

func consume(ctx context.Context, c line.Consume) error {
	options, err := security()
	if err != nil {
		return err
	}
	options = append(options,
		kgo.SeedBrokers(c.Broker),
		kgo.ConsumerGroup(c.Group),
		kgo.ConsumeTopics(c.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, added map[string][]int32) {
			line.Assigned(added[c.Topic])
		}),
	)
	if c.Session > 0 {
		options = append(options, kgo.SessionTimeout(c.Session), kgo.HeartbeatInterval(c.Session/3))
	}
	if c.Instance != "" {
		options = append(options, kgo.InstanceID(c.Instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	for read := 0; c.Count == 0 || read < c.Count; {
		fetches := client.PollRecords(ctx, max(0, c.Count-read))
		if ctx.Err() != nil {
			break
		}
		for _, r := range fetches.Records() {
			if err := line.Read(r.Value, r.Partition, r.Offset); err != nil {
				return err
			}
			client.MarkCommitRecords(r)
			read++
		}
	}
	final, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return client.CommitMarkedOffsets(final)
}
