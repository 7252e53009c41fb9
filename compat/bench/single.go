package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// manyProducers is how many producers share the disk in the group commit row.
const manyProducers = 64

// singles measures producers that send one record, wait for acks=all, and send
// the next: alone, beside a bare fdatasync of the same size on the same disk,
// and 64 at once.
func singles(ctx context.Context, s settings, t *table) error {
	broker, err := target.Start(ctx, target.Options{Kind: s.kind})
	if err != nil {
		return err
	}
	defer broker.Close()
	conn, err := probe.Dial(ctx, broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CreateTopic("single", 1); err != nil {
		return err
	}
	if err := conn.CreateTopic("many", 1); err != nil {
		return err
	}
	if err := conn.CreateTopic("spread", manyProducers); err != nil {
		return err
	}
	var syncs, acks, alone, together, apart []float64
	for range s.rounds {
		p50, err := fdatasyncs(broker.Dir, s.singles)
		if err != nil {
			return err
		}
		syncs = append(syncs, p50)
		p50, rate, err := oneAtATime(ctx, broker.Addr, "single", 0, s.singles)
		if err != nil {
			return err
		}
		acks, alone = append(acks, p50), append(alone, rate)
		rate, err = atOnce(ctx, broker.Addr, "many", false, s.singles)
		if err != nil {
			return err
		}
		together = append(together, rate)
		rate, err = atOnce(ctx, broker.Addr, "spread", true, s.singles)
		if err != nil {
			return err
		}
		apart = append(apart, rate)
	}
	t.compare("one producer, one record at a time, acks=all, p50", "µs", acks, "fdatasync", syncs, "<= 1.5x")
	t.compare("64 such producers, one partition", "records/s", together, "one", alone, ">= 20x")
	t.compare("64 such producers, 64 partitions", "records/s", apart, "one", alone, "-")
	return nil
}

// click is one record of the usual size, as a batch.
func click() []byte { return probe.BuildBatch(make([]byte, recordBytes)) }

// fdatasyncs appends as many bytes as one record takes and syncs, n times, and
// returns the median in µs.
func fdatasyncs(dir string, n int) (float64, error) {
	f, err := os.Create(filepath.Join(dir, "fdatasync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	bytes, took := click(), make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(bytes); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	return micros(took), nil
}

func micros(took []time.Duration) float64 {
	slices.Sort(took)
	return float64(took[len(took)/2].Nanoseconds()) / 1000
}

// oneAtATime returns the median latency in µs and the rate of one producer.
func oneAtATime(ctx context.Context, addr, topic string, partition int32, n int) (p50, rate float64, err error) {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	batch, took := click(), make([]time.Duration, n)
	began := time.Now()
	for i := range took {
		sent := time.Now()
		if _, err := conn.Produce(topic, partition, -1, batch); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(sent)
	}
	return micros(took), float64(n) / time.Since(began).Seconds(), nil
}

// atOnce returns the rate of many producers together.
func atOnce(ctx context.Context, addr, topic string, spread bool, n int) (float64, error) {
	var group sync.WaitGroup
	failed := make(chan error, manyProducers)
	began := time.Now()
	for i := range int32(manyProducers) {
		group.Go(func() {
			partition := int32(0)
			if spread {
				partition = i
			}
			if _, _, err := oneAtATime(ctx, addr, topic, partition, n); err != nil {
				failed <- fmt.Errorf("producer %d: %w", i, err)
			}
		})
	}
	group.Wait()
	rate := float64(n*manyProducers) / time.Since(began).Seconds()
	select {
	case err := <-failed:
		return 0, err
	default:
		return rate, nil
	}
}
