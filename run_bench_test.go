package millrace_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	"millrace/codec"
	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// BenchmarkCount is the whole of it: an embedded broker with a topic full of
// records, and the count of each key, exactly once, until everything is
// committed. cpu-ns/op is the processor time of broker and job per record.
func BenchmarkCount(b *testing.B) {
	for _, users := range []int{10_000, 1_000_000} {
		for _, keyed := range []bool{true, false} {
			b.Run(fmt.Sprintf("keyed=%v/users=%d", keyed, users), func(b *testing.B) { benchmarkCount(b, keyed, users) })
		}
	}
}

// BenchmarkCommitInterval is the count with commits every 100 ms, and with commits
// as seldom as 4 M records allow. There is no way to run without transactions; the
// difference bounds what exactly-once costs from above, since results and changes
// of state would be sent every 100 ms without them, too. With a hundred users there
// are few of those. At most 5 % is the goal. It wants many records, in pairs:
// -benchtime 10000000x -count 5.
func BenchmarkCommitInterval(b *testing.B) {
	for _, c := range []struct {
		keyed bool
		users int
	}{{true, 100}, {true, 10_000}, {false, 10_000}} {
		for _, interval := range []time.Duration{100 * time.Millisecond, 5 * time.Second} {
			b.Run(fmt.Sprintf("keyed=%v/users=%d/every=%v", c.keyed, c.users, interval), func(b *testing.B) {
				benchmarkCount(b, c.keyed, c.users, millrace.CommitInterval(interval))
			})
		}
	}
}

// idleJob reads nothing: it is run to have its broker.
func idleJob() *millrace.App {
	idle := millrace.New("idle")
	idle.From(millrace.NewTopic("nothing", codec.Bytes, codec.Bytes)).To(millrace.NewTopic("nowhere", codec.Bytes, codec.Bytes))
	return idle
}

func benchmarkCount(b *testing.B, keyed bool, users int, options ...millrace.RunOption) {
	dir := b.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fill := make(chan millrace.Ready, 1)
	filled := make(chan error, 1)
	filling, stop := context.WithCancel(ctx)
	go func() {
		filled <- idleJob().Run(filling, millrace.Embedded(dir), millrace.Listen("localhost:0"), millrace.OnReady(func(r millrace.Ready) { fill <- r }))
	}()
	r := <-fill
	produceClicks(ctx, b, r.Brokers, keyed, users)
	stop()
	if err := <-filled; err != nil {
		b.Fatal(err)
	}

	app := millrace.New("bench")
	if keyed {
		events := millrace.NewTopic("events", codec.Bytes, codec.String).Keyed()
		app.From(events).GroupBy(func(user string) string { return user[:10] }, millrace.RecordKey()).Count("clicks").To(millrace.NewTopic("counts", codec.String, codec.Int64))
	} else {
		events := millrace.NewTopic("events", codec.Bytes, codec.String)
		app.From(events).GroupBy(func(user string) string { return user[:10] }).Count("clicks").To(millrace.NewTopic("counts", codec.String, codec.Int64))
	}
	ready, ended := make(chan millrace.Ready, 1), make(chan error, 1)
	metrics := prometheus.NewRegistry()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	go func() {
		ended <- app.Run(ctx, append(options, millrace.Embedded(dir), millrace.Listen("localhost:0"), millrace.Metrics(metrics), millrace.OnReady(func(r millrace.Ready) { ready <- r }))...)
	}()
	topology, err := app.Build()
	if err != nil {
		b.Fatal(err)
	}
	waitForEnd(ctx, b, (<-ready).Brokers, topology.Plan())
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	reportCommits(b, metrics)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// reportCommits says how many commits there were, and how long one took.
func reportCommits(b *testing.B, metrics *prometheus.Registry) {
	families, err := metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "millrace_job_commit_duration_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			b.ReportMetric(float64(h.GetSampleCount()), "commits")
			b.ReportMetric(1000*h.GetSampleSum()/float64(max(1, h.GetSampleCount())), "ms/commit")
		}
	}
}

// produceClicks sends b.N records of the size of a click.
func produceClicks(ctx context.Context, b *testing.B, brokers []string, keyed bool, users int) {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for range b.N {
		user := fmt.Sprintf("u%09d", rng.IntN(users))
		r := &kgo.Record{Topic: "events", Value: []byte(user + ` {"timestamp":1700000000000,"page":"/home/of/it"}`)}
		if keyed {
			r.Key = []byte(user)
		}
		c.Produce(ctx, r, nil)
	}
	if err := c.Flush(ctx); err != nil {
		b.Fatal(err)
	}
}

// waitForEnd returns when every record is counted and committed.
func waitForEnd(ctx context.Context, b *testing.B, brokers []string, plan *topology.Plan) {
	admin, err := client.NewAdmin(client.Config{Brokers: brokers})
	if err != nil {
		b.Fatal(err)
	}
	defer admin.Close()
	var topics []record.Topic
	for _, sub := range plan.Subs {
		for _, s := range sub.Sources {
			topics = append(topics, s.Topic)
		}
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		committed, err := admin.GroupOffsets(ctx, plan.App)
		if err != nil {
			continue
		}
		spans, err := admin.Spans(ctx, topics...)
		if err != nil || len(spans) == 0 {
			continue
		}
		behind := false
		for tp, span := range spans {
			behind = behind || committed[tp] < span.Stable
		}
		if !behind {
			return
		}
	}
	b.Fatal("the job did not come to the end")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
