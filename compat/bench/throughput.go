package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// recordBytes is the size of a click as JSON.
const recordBytes = 62

// side is one of the brokers that are compared, with what its rounds gave.
type side struct {
	name    string
	broker  *target.Broker
	configs []string // of its topics
	consume bool     // reading is measured too

	produced, produceCPU []float64
	javaRead, javaCPU    []float64
	franzRead, franzCPU  []float64
}

// throughput measures the JVM's own load tools and franz-go against each side,
// one side after the other in each round.
func throughput(ctx context.Context, s settings, t *table) error {
	millrace, err := target.Start(ctx, target.Options{Kind: s.kind})
	if err != nil {
		return err
	}
	defer millrace.Close()
	ours := &side{name: "Millrace", broker: millrace, consume: true}
	sides := []*side{ours}
	plain, flushed := &side{}, &side{}
	if !t.withoutKafka {
		kafka, err := target.Start(ctx, target.Options{Kind: target.Kafka})
		if err != nil {
			return err
		}
		defer kafka.Close()
		plain = &side{name: "Kafka", broker: kafka, consume: true}
		flushed = &side{name: "Kafka that syncs", broker: kafka, configs: []string{"flush.messages", "1"}}
		sides = append(sides, plain, flushed)
	}
	for round := range s.rounds {
		for _, side := range sides {
			if err := side.round(ctx, s.events, round); err != nil {
				return fmt.Errorf("%s, round %d: %w", side.name, round+1, err)
			}
		}
	}
	t.compare("produce, JVM, 62 B, acks=all, linger 5 ms", "records/s", ours.produced, "Kafka", plain.produced, ">= 0.9x")
	t.compare("the same against Kafka with flush.messages=1", "records/s", ours.produced, "Kafka", flushed.produced, ">= 5x")
	t.compare("produce, broker CPU per record", "µs", ours.produceCPU, "Kafka", plain.produceCPU, "<= 1x, aim 0.5x")
	t.compare("consume, JVM", "records/s", ours.javaRead, "Kafka", plain.javaRead, ">= 1x")
	t.compare("consume, franz-go", "records/s", ours.franzRead, "Kafka", plain.franzRead, ">= 1x")
	t.compare("consume, JVM, broker CPU per record", "µs", ours.javaCPU, "Kafka", plain.javaCPU, "<= 0.06 µs")
	t.compare("consume, franz-go, broker CPU per record", "µs", ours.franzCPU, "Kafka", plain.franzCPU, "<= 0.06 µs")
	return nil
}

// round produces to a new topic, and reads it back with both consumers.
func (s *side) round(ctx context.Context, events, round int) error {
	topic := fmt.Sprintf("bench-%s-%d", strings.ReplaceAll(s.name, " ", "-"), round)
	conn, err := probe.Dial(ctx, s.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CreateTopic(topic, 4, s.configs...); err != nil {
		return err
	}
	rate, cpu, err := s.metered(events, func() (float64, error) { return javaProduce(ctx, s.broker, topic, events) })
	if err != nil {
		return err
	}
	s.produced, s.produceCPU = append(s.produced, rate), append(s.produceCPU, cpu)
	if err := counted(conn, topic, events); err != nil {
		return err
	}
	if !s.consume {
		return nil
	}
	rate, cpu, err = s.metered(events, func() (float64, error) { return javaConsume(ctx, s.broker, topic, events) })
	if err != nil {
		return err
	}
	s.javaRead, s.javaCPU = append(s.javaRead, rate), append(s.javaCPU, cpu)
	rate, cpu, err = s.metered(events, func() (float64, error) { return franzConsume(ctx, s.broker, topic, events) })
	s.franzRead, s.franzCPU = append(s.franzRead, rate), append(s.franzCPU, cpu)
	return err
}

// metered runs do and returns its rate with the broker's CPU in µs per record.
func (s *side) metered(events int, do func() (float64, error)) (rate, micros float64, err error) {
	before, err := target.CPUTime(s.broker.PID())
	if err != nil {
		return 0, 0, err
	}
	if rate, err = do(); err != nil {
		return 0, 0, err
	}
	after, err := target.CPUTime(s.broker.PID())
	return rate, float64((after - before).Nanoseconds()) / 1000 / float64(events), err
}

// counted voids a run that did not store exactly what was sent.
func counted(conn *probe.Conn, topic string, want int) error {
	total := int64(0)
	for p := range int32(4) {
		end, err := conn.Offset(topic, p, probe.Latest)
		if err != nil {
			return err
		}
		total += end
	}
	if total != int64(want) {
		return fmt.Errorf("%s holds %d records, want %d", topic, total, want)
	}
	return nil
}

// runWithin bounds one run of one tool.
const runWithin = 5 * time.Minute

func java(ctx context.Context, tool string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	java, classPath, err := foreign.Kafka()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, java, append([]string{"-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", classPath, "org.apache.kafka.tools." + tool}, args...)...)
	cmd.SysProcAttr = target.Orphanless()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", tool, err, out)
	}
	return string(out), nil
}

var sentLine = regexp.MustCompile(`(?m)^(\d+) records sent, ([0-9.]+) records/sec .*99\.9th\.?$`)

func javaProduce(ctx context.Context, b *target.Broker, topic string, events int, more ...string) (float64, error) {
	out, err := java(ctx, "ProducerPerformance", append([]string{"--bootstrap-server", b.Addr, "--topic", topic,
		"--num-records", strconv.Itoa(events), "--record-size", strconv.Itoa(recordBytes), "--throughput", "-1",
		"--command-property", "acks=all", "linger.ms=5"}, more...)...)
	if err != nil {
		return 0, err
	}
	m := sentLine.FindStringSubmatch(out)
	if m == nil || m[1] != strconv.Itoa(events) {
		return 0, fmt.Errorf("ProducerPerformance says: %s", out)
	}
	return strconv.ParseFloat(m[2], 64)
}

// javaConsume returns the rate without the time of the group's rebalance.
func javaConsume(ctx context.Context, b *target.Broker, topic string, events int) (float64, error) {
	out, err := java(ctx, "ConsumerPerformance", "--bootstrap-server", b.Addr, "--topic", topic,
		"--num-records", strconv.Itoa(events), "--hide-header", "--timeout", "30000")
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Split(lines[len(lines)-1], ", ")
	if len(fields) != 10 || fields[4] != strconv.Itoa(events) {
		return 0, fmt.Errorf("ConsumerPerformance says: %s", out)
	}
	return strconv.ParseFloat(fields[9], 64)
}

func franzConsume(ctx context.Context, b *target.Broker, topic string, events int, more ...kgo.Opt) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100 * time.Millisecond)}, more...)...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	began, seen := time.Now(), 0
	for seen < events {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("franz-go read %d of %d records: %w", seen, events, err)
		}
		var refused error
		fetches.EachError(func(_ string, _ int32, err error) { refused = errors.Join(refused, err) })
		if refused != nil {
			return 0, refused
		}
		seen += fetches.NumRecords()
	}
	if seen != events {
		return 0, fmt.Errorf("franz-go read %d records, want %d", seen, events)
	}
	return float64(events) / time.Since(began).Seconds(), nil
}
