package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// job is one count per user over a topic that is filled before it starts.
type job struct {
	what  string
	keyed bool // the record's key is the user; else the job has to find and re-key it
	users int
}

var countJobs = []job{
	{"count, keyed, 10,000 users", true, 10_000},
	{"count, un-keyed, 10,000 users", false, 10_000},
	{"count, un-keyed, 1,000,000 users", false, 1_000_000},
}

// jobCost is what one run of a job took.
type jobCost struct{ rate, jobCPU, brokerCPU float64 } // events/s, µs per event

// streams measures Kafka Streams (exactly_once_v2, commits every 100 ms, state in
// RocksDB) on a Kafka: the peer of an engine that counts exactly once.
func streams(ctx context.Context, s settings, t *table) error {
	if t.withoutKafka {
		return nil
	}
	for _, j := range countJobs {
		var rate, jobCPU, brokerCPU []float64
		for range s.rounds {
			cost, err := onKafka(ctx, j, s.events, runStreams)
			if err != nil {
				return fmt.Errorf("%s: %w", j.what, err)
			}
			rate, jobCPU, brokerCPU = append(rate, cost.rate), append(jobCPU, cost.jobCPU), append(brokerCPU, cost.brokerCPU)
		}
		t.compare(j.what, "events/s", nil, "Kafka Streams", rate, "-")
		t.compare("the same, CPU of the job per event", "µs", nil, "Kafka Streams", jobCPU, "-")
		t.compare("the same, CPU of the broker per event", "µs", nil, "Kafka", brokerCPU, "-")
	}
	return nil
}

// runJob runs a job over a filled topic to its end and returns the rate in
// events/s and the CPU time of its process.
type runJob func(ctx context.Context, b *target.Broker, j job, events int) (rate float64, cpu time.Duration, err error)

// onKafka fills a new Kafka and runs a job on it.
func onKafka(ctx context.Context, j job, events int, run runJob) (jobCost, error) {
	b, err := target.Start(ctx, target.Options{Kind: target.Kafka})
	if err != nil {
		return jobCost{}, err
	}
	defer b.Close()
	if err := fillClicks(ctx, b, j, events); err != nil {
		return jobCost{}, err
	}
	before, err := target.CPUTime(b.PID())
	if err != nil {
		return jobCost{}, err
	}
	rate, cpu, err := run(ctx, b, j, events)
	if err != nil {
		return jobCost{}, err
	}
	after, err := target.CPUTime(b.PID())
	perEvent := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(events) }
	return jobCost{rate, perEvent(cpu), perEvent(after - before)}, err
}

// fillClicks writes clicks of 62 bytes to 4 partitions, each user's to one.
func fillClicks(ctx context.Context, b *target.Broker, j job, events int) error {
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, topic := range []string{"clicks", "counts"} {
		if err := errors.Join(conn.CreateTopic(topic, 4), conn.AwaitLeaders(topic, 4)); err != nil {
			return err
		}
	}
	const perBatch = 5000
	var pending [4][]probe.Record
	user := 0
	for n := range events {
		// A step that is prime to the number of users: neighbours differ.
		user = (user + 7919) % j.users
		record := probe.Record{Value: fmt.Appendf(nil, `{"user_id":"user_%07d","timestamp":1795431684,"page":"/p"}`, user)}
		if j.keyed {
			record.Key = fmt.Appendf(nil, "user_%07d", user)
		}
		p := user % 4
		if pending[p] = append(pending[p], record); len(pending[p]) == perBatch || n >= events-4 {
			if err := flush(conn, pending[:]); err != nil {
				return err
			}
		}
	}
	return flush(conn, pending[:])
}

func flush(conn *probe.Conn, pending [][]probe.Record) error {
	for p, records := range pending {
		if len(records) == 0 {
			continue
		}
		if _, err := conn.Produce("clicks", int32(p), 1, probe.BuildKeyed(records)); err != nil {
			return err
		}
		pending[p] = records[:0]
	}
	return nil
}

// runStreams runs clients/java/Count.java. Its rate counts from the first event
// read to the last counted; its CPU time is the whole process's.
func runStreams(ctx context.Context, b *target.Broker, j job, events int) (float64, time.Duration, error) {
	java, classPath, err := foreign.Streams()
	if err != nil {
		return 0, 0, err
	}
	dir, err := os.MkdirTemp("", "millrace-streams-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, java, "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classPath,
		"Count", "brokers="+b.Addr, "input=clicks", "output=counts", "id=bench", "dir="+dir,
		fmt.Sprint("keyed=", j.keyed), fmt.Sprint("events=", events))
	cmd.SysProcAttr = target.Orphanless()
	out, err := cmd.Output()
	if err != nil {
		return 0, 0, fmt.Errorf("run Kafka Streams: %w\n%s", err, out)
	}
	var said struct {
		Events, Seconds float64
		CPU             float64 `json:"cpu_seconds"`
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "cpu_seconds") {
			err = json.Unmarshal([]byte(line), &said)
		}
	}
	if err != nil || said.Events != float64(events) {
		return 0, 0, fmt.Errorf("no result of Kafka Streams, which says: %s", out)
	}
	return said.Events / said.Seconds, time.Duration(said.CPU * float64(time.Second)), nil
}
