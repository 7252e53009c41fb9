package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/target"
)

// job is one count per user over a topic that is filled before it starts.
type job struct {
	what string
	in   input
	// events of a run, as a share of EVENTS. Kafka Streams counts 80,000 a second of
	// a million users, and has that one job to do in each round.
	percent int
	// Against Kafka Streams.
	rateGoal, cpuGoal string
}

var countJobs = []job{
	{"count, keyed, 10,000 users", input{keyed: true, users: 10_000}, 200, ">= 4x", "<= 0.067x"},
	{"count, un-keyed, 10,000 users", input{users: 10_000}, 200, ">= 8x", "<= 0.05x"},
	{"count, un-keyed, 1,000,000 users", input{users: 1_000_000}, 60, ">= 8x", "<= 0.067x"},
}

// warmEvents are counted by the same job before those that are measured.
//
// A Kafka that has just started spends some two seconds of CPU on compiling the
// code behind fetches, groups and transactions, whoever the client is, and a JVM
// job as much again: at 1.5 M events that was 1.4 µs of CPU per event, more than
// all the rest of a job that counts 5 M events a second. So each side's own job
// first counts some events on its broker, is stopped in order and started again
// on its own state, a consumer has read everything once meanwhile, and there are so
// many events that the new start, which does count, is little.
const warmEvents = 1_000_000

// settleCPU is how long a broker is left alone before the clock begins: what it
// does behind its answers is not the job's.
const settleCPU = 2 * time.Second

// countWithin bounds one job with all that belongs to it. One that needs longer is void, and the
// others go on.
const countWithin = 5 * time.Minute

// jobCosts are what the runs of a job took, in events/s, µs per event and
// commits.
type jobCosts struct{ rate, jobCPU, brokerCPU, cpu, commits []float64 }

// counts measures Millrace's count per user on a Kafka beside that of Kafka
// Streams: exactly once, commits every 100 ms, state on disk.
func counts(ctx context.Context, s settings, t *table) error {
	if t.withoutKafka {
		return nil
	}
	for _, j := range countJobs {
		var ours, theirs jobCosts
		var failed error // of the peer: what was measured of ours still counts
		events := s.events * j.percent / 100
		for range s.rounds {
			if err := ours.measure(ctx, j.in, events, millraces(onlyCounts)); err != nil {
				return fmt.Errorf("%s: %w", j.what, err)
			}
			if failed == nil {
				failed = theirs.measure(ctx, j.in, events, streams)
			}
		}
		if failed != nil {
			t.void(j.what+", Kafka Streams", failed)
		}
		t.compare(j.what, "events/s", ours.rate, "Kafka Streams", theirs.rate, j.rateGoal)
		t.compare("the same, CPU of job and broker per event", "µs", ours.cpu, "Kafka Streams", theirs.cpu, j.cpuGoal)
		t.compare("the same, of the job alone", "µs", ours.jobCPU, "Kafka Streams", theirs.jobCPU, "-")
		t.compare("the same, of the broker alone", "µs", ours.brokerCPU, "Kafka Streams", theirs.brokerCPU, "-")
	}
	return nil
}

// measure runs a job on a new Kafka and takes its costs.
func (c *jobCosts) measure(ctx context.Context, in input, events int, start workers) error {
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	b, err := target.Start(ctx, target.Options{Kind: target.Kafka})
	if err != nil {
		return err
	}
	defer b.Close()
	w, err := start(b.Addr, in)
	if err != nil {
		return err
	}
	defer w.close()
	warm := min(warmEvents, events)
	if err := warmUp(ctx, b, w, in, warm, warm+events); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	before, err := target.CPUTime(b.PID())
	if err != nil {
		return err
	}
	u, err := w.run(ctx, warm, warm+events)
	if err != nil {
		return err
	}
	after, err := target.CPUTime(b.PID())
	c.add(u, after-before, events)
	return err
}

// warmUp lets a job count the first clicks, and a consumer read all of them once.
func warmUp(ctx context.Context, b *target.Broker, w worker, in input, warm, all int) error {
	if err := createClicks(ctx, b.Addr, streamsOutput); err != nil {
		return err
	}
	if err := fillClicks(ctx, b.Addr, in, 0, warm); err != nil {
		return err
	}
	if _, err := w.run(ctx, 0, warm); err != nil {
		return err
	}
	if err := fillClicks(ctx, b.Addr, in, warm, all); err != nil {
		return err
	}
	_, err := franzConsume(ctx, b, clicksTopic, all, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	time.Sleep(settleCPU)
	return err
}

// add notes a run and what it took of its broker.
func (c *jobCosts) add(u usage, broker time.Duration, events int) {
	perEvent := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(events) }
	c.rate, c.commits = append(c.rate, u.rate), append(c.commits, u.commits)
	c.jobCPU, c.brokerCPU = append(c.jobCPU, perEvent(u.cpu)), append(c.brokerCPU, perEvent(broker))
	c.cpu = append(c.cpu, perEvent(broker+u.cpu))
}
