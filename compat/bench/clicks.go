package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"millrace/compat/probe"
)

const (
	// clicksTopic is the input of Millrace's click job.
	clicksTopic = "click_events"
	// clicksPartitions of it; each user's clicks are in one.
	clicksPartitions = 4
)

// input is what clicks a topic is filled with.
type input struct {
	keyed bool // the record's key is the user; else a job has to find and re-key it
	users int
	// aSecond is how many clicks come in a second of event time; 0: all at once, on
	// one page.
	aSecond int
}

const (
	firstClick = 1_795_431_684 // event time of the first, in epoch seconds
	inputPages = 100
)

// user is whose click the n-th is. The step is prime to the number of users:
// neighbours differ, and nobody comes twice before all have come.
func (in input) user(n int) int { return int(int64(n+1) * 7919 % int64(in.users)) }

func userName(user int) []byte { return fmt.Appendf(nil, "user_%07d", user) }

func (in input) click(n int) probe.Record { return in.clickOf(in.user(n), n) }

// clickOf is a user's click, as the n-th of all: recordBytes long.
func (in input) clickOf(user, n int) probe.Record {
	at, page := firstClick, "00"
	if in.aSecond > 0 {
		at, page = firstClick+n/in.aSecond, fmt.Sprintf("%02d", n%inputPages)
	}
	r := probe.Record{Value: fmt.Appendf(nil, `{"user_id":"user_%07d","timestamp":%d,"page":"/%s"}`, user, at, page)}
	if in.keyed {
		r.Key = userName(user)
	}
	return r
}

// createClicks makes the input, and more topics like it.
func createClicks(ctx context.Context, addr string, more ...string) error {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, topic := range append(more, clicksTopic) {
		if err := errors.Join(conn.CreateTopic(topic, clicksPartitions), conn.AwaitLeaders(topic, clicksPartitions)); err != nil {
			return err
		}
	}
	return nil
}

// fillClicks writes the clicks from one number to before the other, all
// partitions at once.
func fillClicks(ctx context.Context, addr string, in input, from, to int) error {
	var filling sync.WaitGroup
	failed := make([]error, clicksPartitions)
	for p := range clicksPartitions {
		filling.Go(func() { failed[p] = fillPartition(ctx, addr, in, p, from, to) })
	}
	filling.Wait()
	return errors.Join(failed...)
}

func fillPartition(ctx context.Context, addr string, in input, partition, from, to int) error {
	conn, err := probe.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	const perBatch = 5000
	records := make([]probe.Record, 0, perBatch)
	for n := from; n < to; n++ {
		if in.user(n)%clicksPartitions == partition {
			records = append(records, in.click(n))
		}
		if len(records) < perBatch && n < to-1 || len(records) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := conn.Produce(clicksTopic, int32(partition), 1, probe.BuildKeyed(records)); err != nil {
			return err
		}
		records = records[:0]
	}
	return nil
}
