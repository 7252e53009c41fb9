package millrace_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	"millrace/codec"
)

// BenchmarkLatency sends 10,000 records a second of 10,000 users to a job on an
// embedded broker, and measures how long each takes until a read_committed
// consumer has its result: one hop for a keyed topic, two when the key is another
// one. The first second is not measured: it holds the start of clients and tasks.
func BenchmarkLatency(b *testing.B) {
	for _, keyed := range []bool{true, false} {
		name := map[bool]string{true: "keyed", false: "rekeyed"}[keyed]
		b.Run(name, func(b *testing.B) { benchmarkLatency(b, keyed) })
	}
}

const (
	latencyUsers  = 10_000
	latencyBatch  = 10 // records in each millisecond
	latencyWarmUp = 10_000
)

// latencyJob keeps the newest value of each user.
func latencyJob(keyed bool) *millrace.App {
	app := millrace.New("latency")
	newest := func(_, v int64) int64 { return v }
	user := func(v int64) int64 { return v % latencyUsers }
	out := millrace.NewTopic("newest", codec.Int64, codec.Int64)
	if keyed {
		events := millrace.NewTopic("events", codec.Int64, codec.Int64).Keyed()
		app.From(events).GroupBy(user, millrace.RecordKey()).Reduce("newest", newest).To(out)
	} else {
		events := millrace.NewTopic("events", codec.Bytes, codec.Int64)
		app.From(events).GroupBy(user).Reduce("newest", newest).To(out)
	}
	return app
}

func benchmarkLatency(b *testing.B, keyed bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
	go func() {
		ended <- latencyJob(keyed).Run(ctx, millrace.Embedded(b.TempDir()), millrace.Listen("localhost:0"), millrace.OnReady(func(r millrace.Ready) { ready <- r }))
	}()
	c, err := kgo.NewClient(kgo.SeedBrokers((<-ready).Brokers...), kgo.ConsumeTopics("newest"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	last := latencyWarmUp + b.N
	sent := make([]time.Time, last+1)
	took := make([]time.Duration, 0, b.N)
	go func() {
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for i := 0; i <= last; i++ {
			if i%latencyBatch == 0 {
				<-ticks.C
			}
			key, value := binary.BigEndian.AppendUint64(nil, uint64(i%latencyUsers)), binary.BigEndian.AppendUint64(nil, uint64(i))
			sent[i] = time.Now()
			c.Produce(ctx, &kgo.Record{Topic: "events", Key: key, Value: value}, nil)
		}
	}()
	// A user's later value may come in the place of an earlier one, but no value is
	// lost at the end.
	receive(ctx, c, func(i int) bool { return i >= latencyWarmUp-latencyUsers/2 })
	b.ResetTimer()
	before := cpu(b)
	receive(ctx, c, func(i int) bool {
		if i > latencyWarmUp {
			took = append(took, time.Since(sent[i]))
		}
		return i == last
	})
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	slices.Sort(took)
	for _, share := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*share/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", share))
	}
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "max-ms")
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
