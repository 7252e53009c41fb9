package frames

import (
	"context"
	"fmt"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// bystander is an honest client during the attack: it writes numbered records
// to a topic of its own, one at a time.
type bystander struct {
	broker  *target.Broker
	written int64
	maxRSS  float64
	slowest time.Duration
}

const bystanderTopic = "bystander"

func newBystander(ctx context.Context, b *target.Broker) (*bystander, error) {
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return &bystander{broker: b}, conn.CreateTopic(bystanderTopic, 1)
}

// served asks which requests are worth damaging.
func (by *bystander) served(ctx context.Context) (map[int16]probe.Versions, error) {
	conn, err := probe.Dial(ctx, by.broker.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Served()
}

// watch works until ctx ends, and complains when the broker dies, grows, or
// keeps it waiting.
func (by *bystander) watch(ctx context.Context) error {
	conn, err := probe.Dial(ctx, by.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for ctx.Err() == nil {
		began := time.Now()
		offset, err := conn.Produce(bystanderTopic, 0, -1, probe.BuildBatch(fmt.Appendf(nil, "%d", by.written)))
		took := time.Since(began)
		switch {
		case err != nil:
			return fmt.Errorf("a bystander was refused: %w", err)
		case offset != by.written:
			return fmt.Errorf("a bystander's record %d got offset %d", by.written, offset)
		case took > bystanderLimit:
			return fmt.Errorf("a bystander waited %s for an answer", took)
		}
		by.written++
		by.slowest = max(by.slowest, took)
		if by.maxRSS, err = by.rss(); err != nil {
			return err
		}
		select {
		case <-by.broker.Exited():
			return fmt.Errorf("the broker ended")
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (by *bystander) rss() (float64, error) {
	m, err := target.MemoryOf(by.broker.PID())
	if err == nil && m.RSS > rssLimit {
		err = fmt.Errorf("the broker grew to %.0f MiB", m.RSS)
	}
	return max(by.maxRSS, m.RSS), err
}

// verify reads the bystander's records back: the attack changed none.
func (by *bystander) verify(ctx context.Context) error {
	conn, err := probe.Dial(ctx, by.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	next := int64(0)
	err = conn.ReadAll(bystanderTopic, 0, 0, func(b probe.Batch) error {
		records, err := b.Records()
		for _, r := range records {
			if want := fmt.Sprint(next); string(r.Value) != want || r.Offset != next {
				return fmt.Errorf("the bystander's offset %d holds %q", r.Offset, r.Value)
			}
			next++
		}
		return err
	})
	if err == nil && next != by.written {
		err = fmt.Errorf("the bystander wrote %d records and finds %d", by.written, next)
	}
	return err
}
