package millrace_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	clickjob "millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/internal/engine"
)

// BenchmarkClickJob is the whole click job, and its count per user alone, over the
// same clicks: 10,000 users who click once a second each, on 100 pages. Broker and
// job are in this process, and cpu-ns/op is what both take for a click. The four
// results may take 2.5 times what the one takes.
//
// The fixed costs of a job that starts want some millions of clicks: run it with
// -benchtime 5000000x.
func BenchmarkClickJob(b *testing.B) {
	for _, keyed := range []bool{true, false} {
		for _, results := range [][]clickjob.Result{{clickjob.UserCounts}, clickjob.Results()} {
			b.Run(fmt.Sprintf("keyed=%v/results=%d", keyed, len(results)), func(b *testing.B) {
				benchmarkClickJob(b, clickjob.Options{Results: results, Keyed: keyed})
			})
		}
	}
}

func benchmarkClickJob(b *testing.B, options clickjob.Options) {
	ctx := b.Context()
	brokers := embeddedBroker(b)
	produceEvents(ctx, b, brokers, string(clickjob.Topic), options.Keyed)
	job, err := clickjob.New(options)
	if err != nil {
		b.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	e, err := engine.New(engine.Options{
		Plan: *job.Topology().Plan(), Client: client.Config{Brokers: brokers}, Dir: b.TempDir(), Registerer: metrics,
	})
	if err != nil {
		b.Fatal(err)
	}
	job.Topology().Attach(e)
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	go func() { ended <- e.Run(running) }()
	waitForEnd(ctx, b, brokers, job.Topology().Plan())
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	reportCommits(b, metrics)
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// embeddedBroker runs a broker in this process until the benchmark ends.
func embeddedBroker(b *testing.B) []string {
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
	go func() {
		ended <- idleJob().Run(ctx, millrace.Embedded(b.TempDir()), millrace.Listen("localhost:0"), millrace.OnReady(func(r millrace.Ready) { ready <- r }))
	}()
	select {
	case r := <-ready:
		b.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
		return r.Brokers
	case err := <-ended:
		stop()
		b.Fatal(err)
		return nil
	}
}

// produceEvents sends b.N click events.
func produceEvents(ctx context.Context, b *testing.B, brokers []string, topic string, keyed bool) {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(100_000), kgo.DefaultProduceTopic(topic))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const users, pages = 10_000, 100
	first := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for n := range b.N {
		user := fmt.Sprintf("user_%07d", n*7919%users) // neighbours differ
		r := &kgo.Record{Value: clickjob.Event(user, fmt.Sprintf("/%02d", n%pages), first.Add(time.Duration(n/users)*time.Second), false)}
		if keyed {
			r.Key = []byte(user)
		}
		c.Produce(ctx, r, nil)
	}
	if err := c.Flush(ctx); err != nil {
		b.Fatal(err)
	}
}
