package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// settle is how long an idle broker is left alone before its memory is read.
const settle = 3 * time.Second

// starts measures exec to ready on an empty directory, and idle memory.
func starts(ctx context.Context, s settings, t *table) error {
	var ours, theirs, rss, otherRSS []float64
	for range s.rounds {
		took, m, err := startEmpty(ctx, s.kind)
		if err != nil {
			return err
		}
		ours, rss = append(ours, took), append(rss, m.RSS)
		if t.withoutKafka {
			continue
		}
		if took, m, err = startEmpty(ctx, target.Kafka); err != nil {
			return err
		}
		theirs, otherRSS = append(theirs, took), append(otherRSS, m.RSS)
	}
	t.compare("exec to ready, empty", "ms", ours, "Kafka", theirs, "<= 50 ms")
	t.compare("idle RSS, empty", "MiB", rss, "Kafka", otherRSS, "<= 30 MiB")
	info, err := os.Stat(target.Binary())
	if err != nil {
		return err
	}
	t.alone("binary, stripped", "MB", float64(info.Size())/1e6, "<= 30 MB")
	return nil
}

// startEmpty starts a broker twice on one directory, for the first start of a
// Millrace makes its files and that of a Kafka was formatted before, and
// returns the second start in ms.
func startEmpty(ctx context.Context, kind target.Kind) (ms float64, m target.Memory, err error) {
	b, err := target.Start(ctx, target.Options{Kind: kind})
	if err != nil {
		return 0, m, err
	}
	defer b.Close()
	if err := b.Stop(ctx); err != nil {
		return 0, m, err
	}
	if err := b.Start(ctx); err != nil {
		return 0, m, err
	}
	m, err = idle(ctx, b)
	return float64(b.StartTook.Microseconds()) / 1000, m, err
}

func idle(ctx context.Context, b *target.Broker) (target.Memory, error) {
	select {
	case <-ctx.Done():
		return target.Memory{}, ctx.Err()
	case <-time.After(settle):
	}
	return target.MemoryOf(b.PID())
}

const (
	sizedTopic      = "sized"
	sizedPartitions = 100
)

// sizes fills 100 partitions, first a tenth and then all of it, kills the
// broker with SIGKILL at each size, and looks at the start after it.
func sizes(ctx context.Context, s settings, t *table) error {
	b, err := target.Start(ctx, target.Options{Kind: s.kind})
	if err != nil {
		return err
	}
	defer b.Close()
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CreateTopic(sizedTopic, sizedPartitions); err != nil {
		return err
	}
	whole := int64(s.sizeGB) * 1e9
	if err := fill(ctx, b.Addr, 0, whole/10); err != nil {
		return err
	}
	_, small, err := killAndStart(ctx, b, s.rounds)
	if err != nil {
		return err
	}
	if err := fill(ctx, b.Addr, whole/10, whole); err != nil {
		return err
	}
	ready, large, err := killAndStart(ctx, b, s.rounds)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d GB in %d partitions", s.sizeGB, sizedPartitions)
	t.compare("exec to ready after kill -9, "+what, "ms", ready, "", nil, "<= 300 ms (10 GB)")
	t.alone("idle RSS, "+what, "MiB", large.RSS, "<= 100 MiB (10 GB)")
	t.compare("heap, the same against a tenth of it", "MiB", []float64{large.Anonymous}, "a tenth", []float64{small.Anonymous}, "<= 1.1x")
	return nil
}

// fill writes to all partitions in turn until the topic has grown from one
// size to the other. The batches are as large as clients send them.
func fill(ctx context.Context, addr string, from, to int64) error {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	values := make([][]byte, 12_000)
	for i := range values {
		values[i] = fmt.Appendf(nil, `{"user_id":"user_%06d","timestamp":1795431684,"page":"/page"}`, i)
	}
	batch := probe.BuildBatch(values...)
	for partition := int32(0); from < to; partition = (partition + 1) % sizedPartitions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := conn.Produce(sizedTopic, partition, 1, batch); err != nil {
			return err
		}
		from += int64(len(batch))
	}
	return nil
}

// killAndStart returns the times to ready in ms after kill -9, and the memory
// of the last of these processes when idle. Each kill finds unsynced data.
func killAndStart(ctx context.Context, b *target.Broker, rounds int) (ready []float64, m target.Memory, err error) {
	for range rounds {
		if err := fill(ctx, b.Addr, 0, 64<<20); err != nil {
			return nil, m, err
		}
		if err := b.Kill(); err != nil {
			return nil, m, err
		}
		if err := b.Start(ctx); err != nil {
			return nil, m, err
		}
		ready = append(ready, float64(b.StartTook.Microseconds())/1000)
	}
	m, err = idle(ctx, b)
	return ready, m, err
}
