package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

const (
	// Each compacted topic gets compactedBytes over compactedKeys keys.
	compactedBytes   = 256 << 20
	compactedKeys    = 20_000
	compactedSegment = 32 << 20
	// compactedEnd is what is left on disk when the cleaner is done: the active
	// segment, which it leaves alone, and one record per key.
	compactedEnd = compactedSegment + 8<<20
	// compactWithin bounds the wait for the cleaner.
	compactWithin = 3 * time.Minute
	// quietFor is how long the producer is measured without compaction.
	quietFor = 3 * time.Second
)

// compaction fills compacted topics whose cleaning is held back, lets the
// cleaner go, and measures its cost, and what a producer feels of it.
func compaction(ctx context.Context, s settings, t *table) error {
	var ours, theirs compactRun
	for range s.rounds {
		if err := ours.measure(ctx, s.kind); err != nil {
			return err
		}
		if t.withoutKafka {
			continue
		}
		if err := theirs.measure(ctx, target.Kafka); err != nil {
			return err
		}
	}
	t.compare("compaction, input per CPU second of the broker", "MB/s", ours.rate, "Kafka", theirs.rate, ">= 100 MB/s")
	t.compare("produce p99, one record at a time, while compacting", "µs", ours.during, "without", ours.without, "<= 3x")
	if !t.withoutKafka {
		t.compare("the same of Kafka against itself", "µs", theirs.during, "without", theirs.without, "-")
	}
	return nil
}

// compactRun is what the rounds of one side gave.
type compactRun struct{ rate, during, without []float64 }

// measure compacts one topic alone, for the CPU, and one beside a producer.
func (r *compactRun) measure(ctx context.Context, kind target.Kind) error {
	b, err := target.Start(ctx, target.Options{Kind: kind, Properties: []string{"log.cleaner.backoff.ms=200"}})
	if err != nil {
		return err
	}
	defer b.Close()
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := errors.Join(conn.CreateTopic("beside", 1), conn.AwaitLeaders("beside", 1)); err != nil {
		return err
	}
	for _, topic := range []string{"alone", "loaded"} {
		if err := fillCompacted(conn, topic); err != nil {
			return err
		}
	}
	cpu, err := compactAlone(b, conn, "alone")
	if err != nil {
		return err
	}
	r.rate = append(r.rate, (compactedBytes-compactedSegment)/1e6/cpu.Seconds())
	without, err := sendUntil(conn, time.Now(), after(quietFor))
	if err != nil {
		return err
	}
	during, err := compactLoaded(b, conn, "loaded")
	if err != nil {
		return err
	}
	r.without, r.during = append(r.without, without), append(r.during, during)
	return nil
}

// compactAlone returns the broker's CPU time from the moment that the cleaner
// may work until it is done.
func compactAlone(b *target.Broker, conn *probe.Conn, topic string) (time.Duration, error) {
	before, err := target.CPUTime(b.PID())
	if err != nil {
		return 0, err
	}
	if err := conn.AlterTopic(topic, "min.compaction.lag.ms", "0"); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(compactWithin); ; time.Sleep(10 * time.Millisecond) {
		if sizeOf(b, topic) <= compactedEnd {
			after, err := target.CPUTime(b.PID())
			return after - before, err
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: %d MB of %s are left after %s", b.Kind, sizeOf(b, topic)/1e6, topic, compactWithin)
		}
	}
}

// compactLoaded returns the p99 of a producer from the first sign of the cleaner
// until it is done.
func compactLoaded(b *target.Broker, conn *probe.Conn, topic string) (float64, error) {
	if err := conn.AlterTopic(topic, "min.compaction.lag.ms", "0"); err != nil {
		return 0, err
	}
	deadline := time.Now().Add(compactWithin)
	for !cleaning(b, topic) && sizeOf(b, topic) > compactedEnd && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	return sendUntil(conn, deadline, func() bool { return sizeOf(b, topic) <= compactedEnd })
}

func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// sendUntil sends one record after the other until enough says so, which is
// asked now and then, and returns the p99 in µs.
func sendUntil(conn *probe.Conn, deadline time.Time, enough func() bool) (float64, error) {
	batch := click()
	var took []time.Duration
	for n := 0; n%32 != 0 || !enough(); n++ {
		began := time.Now()
		if _, err := conn.Produce("beside", 0, -1, batch); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
		if n > 1_000_000 && time.Now().After(deadline) {
			return 0, fmt.Errorf("the cleaner is not done")
		}
	}
	if len(took) < 100 {
		return 0, fmt.Errorf("only %d records were sent meanwhile: that is no p99", len(took))
	}
	slices.Sort(took)
	return float64(took[len(took)*99/100].Nanoseconds()) / 1000, nil
}

func fillCompacted(conn *probe.Conn, topic string) error {
	err := conn.CreateTopic(topic, 1, "cleanup.policy", "compact", "segment.bytes", fmt.Sprint(compactedSegment),
		"min.cleanable.dirty.ratio", "0.01", "min.compaction.lag.ms", "3600000")
	if err := errors.Join(err, conn.AwaitLeaders(topic, 1)); err != nil {
		return err
	}
	value := make([]byte, 100)
	key := 0
	for written := 0; written < compactedBytes; {
		records := make([]probe.Record, 5000)
		for i := range records {
			// A step that is prime to the number of keys: neighbours differ.
			key = (key + 7919) % compactedKeys
			records[i] = probe.Record{Key: fmt.Appendf(nil, "user_%05d", key), Value: value}
		}
		batch := probe.BuildKeyed(records)
		if _, err := conn.Produce(topic, 0, 1, batch); err != nil {
			return err
		}
		written += len(batch)
	}
	return nil
}

// sizeOf is the size of a topic's logs on disk.
func sizeOf(b *target.Broker, topic string) int64 {
	files, _ := filepath.Glob(filepath.Join(b.DataDir, topic+"-0", "*.log"))
	total := int64(0)
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			total += info.Size()
		}
	}
	return total
}

// cleaning says whether the cleaner is writing: both brokers name what they
// write .cleaned, as the format on disk has it.
func cleaning(b *target.Broker, topic string) bool {
	files, _ := filepath.Glob(filepath.Join(b.DataDir, topic+"-0", "*.cleaned"))
	return len(files) > 0
}
