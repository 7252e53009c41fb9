package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/target"
)

const (
	latencyUsers = 10_000
	latencyRate  = 10_000 // events a second
	latencyTick  = 10 * time.Millisecond
	latencyWarm  = 5 * time.Second // not measured: rebalances, caches, compilers
	latencyFor   = 15 * time.Second
	// latencyProbe is the pause between single clicks until the first result: a job
	// that starts must not find a backlog, which would be measured too.
	latencyProbe = 200 * time.Millisecond
	// latencyStart bounds the start of a job until its first result. A JVM on a busy
	// machine needs most of it.
	latencyStart = 3 * time.Minute
	// latencyEnd bounds what comes behind the last measured click.
	latencyEnd = time.Minute
)

// latencyRun is what the rounds of one side gave, in ms and MiB.
type latencyRun struct{ p50, p99, rss []float64 }

// latency measures the time from sending a click until a reader of committed
// results has its count, one process of Millrace beside Kafka Streams on Kafka.
func latency(ctx context.Context, s settings, t *table) error {
	for _, keyed := range []bool{true, false} {
		what, goal := "click to committed count, keyed, 10,000/s", "<= 20 ms"
		if !keyed {
			what, goal = "click to committed count, un-keyed, 10,000/s", "<= 40 ms"
		}
		var ours, theirs latencyRun
		var failed error // of the peer: what was measured of ours still counts
		for range s.rounds {
			if err := ours.measure(ctx, keyed, embeddedJob); err != nil {
				return fmt.Errorf("run Millrace: %w", err)
			}
			if !t.withoutKafka && failed == nil {
				failed = theirs.measure(ctx, keyed, streamsJob)
			}
		}
		if failed != nil {
			t.void(what+", Kafka Streams", failed)
		}
		t.compare(what+", p99", "ms", ours.p99, "Kafka Streams", theirs.p99, goal)
		t.compare("the same, p50", "ms", ours.p50, "Kafka Streams", theirs.p50, "-")
		t.compare("the same, RSS of job and broker", "MiB", ours.rss, "Kafka Streams", theirs.rss, "<= 60 MiB")
	}
	return nil
}

// counter is a running job: where clicks go in, and counts come out.
type counter struct {
	addr   string
	output string
	count  func(*kgo.Record) (int, error)
	pids   []int
	stop   func()
	said   func() string // the end of what it has printed, for a report
}

// embeddedJob is one `millrace serve` that computes the one result.
func embeddedJob(ctx context.Context, keyed bool) (*counter, error) {
	args := []string{"--results", "click_counts"}
	if keyed {
		args = append(args, "--keyed")
	}
	b, err := target.Start(ctx, target.Options{Kind: target.Millrace, Args: args})
	if err != nil {
		return nil, err
	}
	return &counter{addr: b.Addr, output: "click_counts", count: clickCount, pids: []int{b.PID()}, stop: b.Close, said: b.LogTail}, nil
}

// streamsJob is clients/java/Count.java on a Kafka of its own.
func streamsJob(ctx context.Context, keyed bool) (*counter, error) {
	b, err := target.Start(ctx, target.Options{Kind: target.Kafka})
	if err != nil {
		return nil, err
	}
	w, err := newStreamsWorker(b.Addr, input{keyed: keyed})
	if err != nil {
		b.Close()
		return nil, err
	}
	var said strings.Builder         // for one reader, when the process has ended
	w.says, w.heap = &said, "-Xmx1g" // its memory is measured: what it needs
	stop := func() {
		w.close()
		b.Close()
	}
	if err = errors.Join(createClicks(ctx, b.Addr, streamsOutput), w.start(ctx)); err != nil {
		stop()
		return nil, err
	}
	output, count := w.results()
	return &counter{addr: b.Addr, output: output, count: count, pids: []int{b.PID(), w.running.Process.Pid}, stop: stop,
		said: func() string { w.kill(); return said.String() }}, nil
}

// measure runs one job under an even load.
func (l *latencyRun) measure(ctx context.Context, keyed bool, start func(context.Context, bool) (*counter, error)) error {
	job, err := start(ctx, keyed)
	if err != nil {
		return err
	}
	defer job.stop()
	clicks := &sentClicks{at: make([][]time.Time, latencyUsers), answered: make(chan struct{})}
	load, stopLoad := context.WithCancel(ctx)
	var sending sync.WaitGroup
	var failed error
	sending.Go(func() { failed = clicks.send(load, job.addr, keyed) })
	took, err := clicks.follow(ctx, job)
	rss := 0.0
	for _, pid := range job.pids {
		m, _ := target.MemoryOf(pid)
		rss += m.RSS
	}
	stopLoad()
	sending.Wait()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("%w; the job says: %s", err, job.said())
	}
	slices.Sort(took)
	ms := func(share float64) float64 { return took[int(float64(len(took)-1)*share)].Seconds() * 1000 }
	l.p50, l.p99, l.rss = append(l.p50, ms(0.5)), append(l.p99, ms(0.99)), append(l.rss, rss)
	return nil
}

// sentClicks are the times at which each user's clicks were sent.
type sentClicks struct {
	answered chan struct{} // closed at the first result
	mu       sync.Mutex
	at       [][]time.Time
}

// send sends single clicks until the first result, then clicks at an even rate
// until ctx ends.
func (c *sentClicks) send(ctx context.Context, addr string, keyed bool) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(clicksTopic), kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(-1), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer client.Close()
	user := 0
	click := func(now time.Time) {
		user = (user + 7919) % latencyUsers
		record := &kgo.Record{Value: fmt.Appendf(nil, `{"user_id":"user_%07d","timestamp":%d,"page":"/p"}`, user, now.Unix())}
		if keyed {
			record.Key = fmt.Appendf(nil, "user_%07d", user)
		}
		c.mu.Lock()
		c.at[user] = append(c.at[user], time.Now())
		c.mu.Unlock()
		client.Produce(ctx, record, nil)
	}
	probes, ticks := time.NewTicker(latencyProbe), time.NewTicker(latencyTick)
	defer probes.Stop()
	defer ticks.Stop()
	for running := c.answered; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-running:
			running = nil
			probes.Stop()
		case now := <-probes.C:
			click(now)
		case now := <-ticks.C:
			if running != nil {
				continue
			}
			for range latencyRate * int(latencyTick) / int(time.Second) {
				click(now)
			}
		}
	}
}

// follow reads committed counts and returns how long each click took that was
// sent within the measured time. A count of n shows the first n clicks of its
// user.
func (c *sentClicks) follow(ctx context.Context, job *counter) ([]time.Duration, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(job.addr), kgo.ConsumeTopics(job.output), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(time.Second), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.MetadataMaxAge(time.Second))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(latencyStart, cancel)
	defer late.Stop()
	var took []time.Duration
	var from, to time.Time // of the clicks that are measured
	shown := make([]int, latencyUsers)
	for to.IsZero() || time.Now().Before(to.Add(time.Second)) {
		records := client.PollFetches(ctx).Records()
		now := time.Now()
		if ctx.Err() != nil {
			if to.IsZero() {
				return nil, fmt.Errorf("no result within %s", latencyStart)
			}
			return nil, fmt.Errorf("results have stopped: %d clicks were measured", len(took))
		}
		if to.IsZero() && len(records) > 0 {
			from, to = now.Add(latencyWarm), now.Add(latencyWarm+latencyFor)
			late.Reset(latencyWarm + latencyFor + latencyEnd)
			close(c.answered)
		}
		for _, r := range records {
			n, err := job.count(r)
			user, err2 := strconv.Atoi(string(r.Key[len("user_"):]))
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
			c.mu.Lock()
			for _, at := range c.at[user][shown[user]:n] {
				if at.After(from) && at.Before(to) {
					took = append(took, now.Sub(at))
				}
			}
			c.mu.Unlock()
			shown[user] = n
		}
	}
	if want := int(latencyFor.Seconds()) * latencyRate; len(took) < want/2 {
		return nil, fmt.Errorf("%d of %d clicks were counted in time", len(took), want)
	}
	return took, nil
}
