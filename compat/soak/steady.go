package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

const (
	steadyTopic = "steady"
	// steadyPause gives about 200 batches a second, with retention by size, so
	// that disk use is bounded while segments come and go.
	steadyPause  = 5 * time.Millisecond
	steadyRetain = 64 << 20
	sampleEvery  = 10 * time.Second
	// warmUp samples are not judged: caches and pools fill.
	warmUp = 6
	// slack is what may be growth by chance: a third and these absolutes.
	slackMiB     = 24
	slackFDs     = 16
	slackThreads = 8
)

// sample is a broker's footprint at one moment.
type sample struct{ rss, fds, threads float64 }

// steady is a broker under even load for the whole soak.
type steady struct {
	broker  *target.Broker
	cancel  context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex
	samples []sample
	written int64
	err     error
}

func startSteady(ctx context.Context, o target.Options) (*steady, error) {
	b, err := target.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	conn, err := probe.Dial(ctx, b.Addr)
	if err == nil {
		defer conn.Close()
		err = conn.CreateTopic(steadyTopic, 1,
			"retention.bytes", strconv.Itoa(steadyRetain), "segment.bytes", strconv.Itoa(steadyRetain/8))
	}
	if err != nil {
		b.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &steady{broker: b, cancel: cancel}
	s.done.Go(func() { s.fail(s.load(ctx)) })
	s.done.Go(func() { s.fail(s.watch(ctx)) })
	return s, nil
}

func (s *steady) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// load writes and reads, with a new connection now and then.
func (s *steady) load(ctx context.Context) error {
	values := make([][]byte, 50)
	for i := range values {
		values[i] = make([]byte, 62)
	}
	batch := probe.BuildBatch(values...)
	for ctx.Err() == nil {
		conn, err := probe.Dial(ctx, s.broker.Addr)
		if err != nil {
			return err
		}
		for range 1000 {
			if ctx.Err() != nil {
				break
			}
			if err := s.step(conn, batch); err != nil {
				conn.Close()
				return err
			}
			time.Sleep(steadyPause)
		}
		conn.Close()
	}
	return nil
}

func (s *steady) step(conn *probe.Conn, batch []byte) error {
	base, err := conn.Produce(steadyTopic, 0, -1, batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	want := s.written
	s.written += 50
	s.mu.Unlock()
	if base != want {
		return fmt.Errorf("steady load: batch got offset %d, want %d", base, want)
	}
	f, err := conn.Fetch(steadyTopic, 0, base, 1<<20)
	if err != nil {
		return err
	}
	batches, err := probe.Batches(f.Raw)
	if err != nil {
		return err
	}
	if len(batches) == 0 || batches[0].Base != base {
		return fmt.Errorf("steady load: offset %d is acknowledged and cannot be read", base)
	}
	return nil
}

func (s *steady) watch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.broker.Exited():
			return fmt.Errorf("the broker under steady load ended:\n%s", s.broker.LogTail())
		case <-time.After(sampleEvery):
		}
		m, err := target.MemoryOf(s.broker.PID())
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.samples = append(s.samples, sample{m.RSS, count(s.broker.PID(), "fd"), count(s.broker.PID(), "task")})
		s.mu.Unlock()
	}
}

// count counts the entries of a folder of /proc/PID.
func count(pid int, folder string) float64 {
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), folder))
	if err != nil {
		return 0
	}
	return float64(len(entries))
}

// stop ends the broker, whatever became of it.
func (s *steady) stop() {
	s.cancel()
	s.done.Wait()
	s.broker.Close()
}

// verdict stops the load and compares the first third of the samples with the
// last: what grows without bound shows as growth here.
func (s *steady) verdict() error {
	s.cancel()
	s.done.Wait()
	if s.err != nil {
		return s.err
	}
	samples := s.samples[min(warmUp, len(s.samples)):]
	if len(samples) < 6 {
		fmt.Printf("steady: %d records; %d samples are too few to judge growth\n", s.written, len(samples))
		return nil
	}
	third := len(samples) / 3
	first, last := mean(samples[:third]), mean(samples[len(samples)-third:])
	fmt.Printf("steady: %d records; RSS %.0f -> %.0f MiB, descriptors %.0f -> %.0f, threads %.0f -> %.0f\n",
		s.written, first.rss, last.rss, first.fds, last.fds, first.threads, last.threads)
	switch {
	case grew(first.rss, last.rss, slackMiB):
		return fmt.Errorf("LEAK: RSS grew from %.0f to %.0f MiB", first.rss, last.rss)
	case grew(first.fds, last.fds, slackFDs):
		return fmt.Errorf("LEAK: descriptors grew from %.0f to %.0f", first.fds, last.fds)
	case grew(first.threads, last.threads, slackThreads):
		return fmt.Errorf("LEAK: threads grew from %.0f to %.0f", first.threads, last.threads)
	}
	return nil
}

func grew(first, last, slack float64) bool { return last > first*4/3+slack }

func mean(samples []sample) sample {
	var sum sample
	for _, s := range samples {
		sum.rss += s.rss
		sum.fds += s.fds
		sum.threads += s.threads
	}
	n := float64(len(samples))
	return sample{sum.rss / n, sum.fds / n, sum.threads / n}
}
