package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// clicksTopic is the input of Millrace's click job.
const clicksTopic = "click_events"

// job is one count per user over a topic that is filled before it starts.
type job struct {
	what  string
	keyed bool // the record's key is the user; else the job has to find and re-key it
	users int
	// Against Kafka Streams.
	rateGoal, cpuGoal string
}

// countEvents bounds the events of one job: Kafka Streams counts 80,000 a second of
// a million users, and has that one job to do in each round.
const countEvents = 1_500_000

// countWithin bounds one job. One that needs longer is void, and the others go on.
const countWithin = time.Minute

var countJobs = []job{
	{"count, keyed, 10,000 users", true, 10_000, ">= 4x", "<= 0.067x"},
	{"count, un-keyed, 10,000 users", false, 10_000, ">= 8x", "<= 0.05x"},
	{"count, un-keyed, 1,000,000 users", false, 1_000_000, ">= 8x", "<= 0.067x"},
}

// jobCosts are what the runs of a job took, in events/s and µs per event.
type jobCosts struct{ rate, jobCPU, brokerCPU, cpu []float64 }

// counts measures Millrace's count per user on a Kafka beside that of Kafka
// Streams: exactly once, commits every 100 ms, state on disk.
func counts(ctx context.Context, s settings, t *table) error {
	if t.withoutKafka {
		return nil
	}
	if !target.HasFlag("serve", "results") {
		foreign.LeaveOut("Millrace's count on a Kafka", errors.New("millrace serve has no flag --results"))
	}
	events := min(s.events, countEvents)
	for _, j := range countJobs {
		var ours, theirs jobCosts
		var failed error // of the peer: what was measured of ours still counts
		for range s.rounds {
			if err := ours.measure(ctx, j, events, runMillrace); err != nil {
				return fmt.Errorf("%s: %w", j.what, err)
			}
			if failed == nil {
				failed = theirs.measure(ctx, j, events, runStreams)
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

// runJob runs a job over a filled topic to its end and returns the rate in
// events/s and the CPU time of its process.
type runJob func(ctx context.Context, b *target.Broker, j job, events int) (rate float64, cpu time.Duration, err error)

// measure fills a new Kafka and runs a job on it. A run that gives no rate is one
// that is left out.
func (c *jobCosts) measure(ctx context.Context, j job, events int, run runJob) error {
	b, err := target.Start(ctx, target.Options{Kind: target.Kafka})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := fillClicks(ctx, b, j, events); err != nil {
		return err
	}
	before, err := target.CPUTime(b.PID())
	if err != nil {
		return err
	}
	rate, cpu, err := run(ctx, b, j, events)
	if err != nil || rate == 0 {
		return err
	}
	after, err := target.CPUTime(b.PID())
	perEvent := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(events) }
	c.rate, c.jobCPU = append(c.rate, rate), append(c.jobCPU, perEvent(cpu))
	c.brokerCPU, c.cpu = append(c.brokerCPU, perEvent(after-before)), append(c.cpu, perEvent(after-before+cpu))
	return err
}

// runMillrace runs `millrace serve --brokers` with that one result. Its rate counts from the
// first count that is answered to the last; its CPU time is the whole process's.
func runMillrace(ctx context.Context, b *target.Broker, j job, events int) (float64, time.Duration, error) {
	if !target.HasFlag("serve", "results") {
		return 0, 0, nil
	}
	args := []string{"--results", "click_counts"}
	if j.keyed {
		args = append(args, "--keyed")
	}
	began := time.Now()
	node, err := target.Start(ctx, target.Options{Kind: target.Millrace, Brokers: b.Addr, Args: args})
	if err != nil {
		return 0, 0, err
	}
	defer node.Close()
	for seen := 0; ; {
		clicks, err := answeredClicks(ctx, node)
		if err != nil {
			return 0, 0, err
		}
		if seen == 0 && clicks > 0 {
			began, seen = time.Now(), clicks
		}
		if clicks >= events {
			cpu, err := target.CPUTime(node.PID())
			// What the first answer held was counted before the clock began.
			return float64(clicks-seen) / time.Since(began).Seconds(), cpu, err
		}
		if time.Since(began) > countWithin {
			return 0, 0, fmt.Errorf("%d of %d clicks are counted after %s\n%s", clicks, events, countWithin, node.LogTail())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// answeredClicks asks the query API how many clicks are counted; 0 while it
// cannot say.
func answeredClicks(ctx context.Context, node *target.Broker) (int, error) {
	answer, err := get(ctx, node, "/v1/counts")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var said struct{ Clicks int }
	if answer.StatusCode != http.StatusOK {
		return 0, nil
	}
	return said.Clicks, json.NewDecoder(answer.Body).Decode(&said)
}

// fillClicks writes clicks of 62 bytes to 4 partitions, each user's to one.
func fillClicks(ctx context.Context, b *target.Broker, j job, events int) error {
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, topic := range []string{clicksTopic, "counts"} {
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
		if _, err := conn.Produce(clicksTopic, int32(p), 1, probe.BuildKeyed(records)); err != nil {
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
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, java, "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classPath,
		"Count", "brokers="+b.Addr, "input="+clicksTopic, "output=counts", "id=bench", "dir="+dir,
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
