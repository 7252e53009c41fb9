package millrace_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	"millrace/codec"
)

// BenchmarkLatency sends a record every millisecond to a job on an embedded
// broker, and measures how long each takes until a read_committed consumer has
// its result: one hop for a keyed topic, two when the key is another one.
func BenchmarkLatency(b *testing.B) {
	for _, keyed := range []bool{true, false} {
		name := map[bool]string{true: "keyed", false: "rekeyed"}[keyed]
		b.Run(name, func(b *testing.B) { benchmarkLatency(b, keyed) })
	}
}

func benchmarkLatency(b *testing.B, keyed bool) {
	app := millrace.New("latency")
	newest := func(_, v int64) int64 { return v }
	out := millrace.NewTopic("newest", codec.Int64, codec.Int64)
	if keyed {
		events := millrace.NewTopic("events", codec.Int64, codec.Int64).Keyed()
		app.From(events).GroupBy(func(v int64) int64 { return v % 1000 }, millrace.RecordKey()).Reduce("newest", newest).To(out)
	} else {
		events := millrace.NewTopic("events", codec.Bytes, codec.Int64)
		app.From(events).GroupBy(func(v int64) int64 { return v % 1000 }).Reduce("newest", newest).To(out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, millrace.Embedded(b.TempDir()), millrace.Listen("localhost:0"), millrace.OnReady(func(r millrace.Ready) { ready <- r }))
	}()
	c, err := kgo.NewClient(kgo.SeedBrokers((<-ready).Brokers...), kgo.ConsumeTopics("newest"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	sent := make([]time.Time, b.N+1)
	took := make([]time.Duration, 0, b.N)
	send := func(i int) {
		key, value := binary.BigEndian.AppendUint64(nil, uint64(i%1000)), binary.BigEndian.AppendUint64(nil, uint64(i))
		sent[i] = time.Now()
		c.Produce(ctx, &kgo.Record{Topic: "events", Key: key, Value: value}, nil)
	}
	send(0)
	receive(ctx, c, func(int) bool { return true }) // everything is up
	b.ResetTimer()
	go func() {
		for i := 1; i <= b.N; i++ {
			send(i)
			time.Sleep(time.Millisecond)
		}
	}()
	receive(ctx, c, func(i int) bool {
		took = append(took, time.Since(sent[i]))
		return i == b.N
	})
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// receive hands over results until done.
func receive(ctx context.Context, c *kgo.Client, done func(int) bool) {
	for over := false; !over; {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if v, err := codec.Int64.Decode(r.Value); err == nil && done(int(v)) {
				over = true
			}
		})
	}
}
