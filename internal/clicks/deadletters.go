package clicks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"millrace"
	"millrace/internal/client"
	"millrace/record"
)

// DeadLetterTopic has the events that the job refused: their bytes as they came,
// with headers that say why and where from.
const DeadLetterTopic = Topic + "-dlq"

// MaxDeadLetters is how many refused events are listed: the newest. All of them
// are counted by reason.
const MaxDeadLetters = 1000

// DeadLetter is one event that could not be counted, by place and reason. The
// event itself is in the log, where Topic, Partition and Offset find it, and in
// the dead letter topic.
type DeadLetter struct {
	record.TopicPartition
	Offset    record.Offset
	Timestamp record.Timestamp // of the record, not of the event
	Reason    string
	Detail    string
}

// deadLetters is a ring of the newest refused events.
type deadLetters struct {
	mu struct {
		sync.Mutex
		ring     []DeadLetter
		added    int64
		byReason map[string]int64
	}
}

func newDeadLetters() *deadLetters {
	d := new(deadLetters)
	d.forget()
	return d
}

func (d *deadLetters) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.ring, d.mu.added, d.mu.byReason = nil, 0, make(map[string]int64)
}

func (d *deadLetters) add(l DeadLetter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mu.ring) < MaxDeadLetters {
		d.mu.ring = append(d.mu.ring, l)
	} else {
		d.mu.ring[d.mu.added%MaxDeadLetters] = l
	}
	d.mu.added++
	d.mu.byReason[l.Reason]++
}

func (d *deadLetters) total() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.added
}

// newest is a copy of the n newest, newest first.
func (d *deadLetters) newest(n int) []DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	n = min(n, len(d.mu.ring))
	letters := make([]DeadLetter, n)
	for i := range n {
		letters[i] = d.mu.ring[(d.mu.added-1-int64(i))%MaxDeadLetters]
	}
	return letters
}

// FollowDeadLetters reads the dead letter topic until ctx ends. A cluster that
// is away is waited for, and a topic that was made anew is read anew.
func (j *Job) FollowDeadLetters(ctx context.Context, config client.Config, logger *slog.Logger) error {
	for {
		err := j.readDeadLetters(ctx, config)
		if ctx.Err() != nil {
			return nil
		}
		logger.Warn("dead letters are read anew", "job", JobName, "err", err)
		j.dead.forget()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

func (j *Job) readDeadLetters(ctx context.Context, config client.Config) error {
	config.Group = ""
	consumer, err := client.NewConsumer(config, client.Subscription{Topics: []record.Topic{DeadLetterTopic}})
	if err != nil {
		return err
	}
	defer consumer.Close()
	for {
		batches, err := consumer.Poll(ctx)
		for _, b := range batches {
			for i := range b.Records {
				j.dead.add(deadLetterOf(&b.Records[i]))
			}
		}
		if _, moved := errors.AsType[*client.PositionError](err); err != nil && !moved { // retention has removed some
			return fmt.Errorf("read %s: %w", DeadLetterTopic, err)
		}
	}
}

// deadLetterOf reads what the headers say. A letter that another program has put
// there is listed by its own place.
func deadLetterOf(r *record.Record) DeadLetter {
	l := DeadLetter{TopicPartition: r.TopicPartition, Offset: r.Offset, Timestamp: r.Timestamp, Reason: "unknown"}
	for _, h := range r.Headers {
		switch h.Key {
		case millrace.HeaderReason:
			l.Reason = string(h.Value)
		case millrace.HeaderError:
			l.Detail = string(h.Value)
		case millrace.HeaderSource:
			if tp, offset, ok := parseSource(string(h.Value)); ok {
				l.TopicPartition, l.Offset = tp, offset
			}
		}
	}
	return l
}

// parseSource reads "topic/partition/offset".
func parseSource(text string) (tp record.TopicPartition, offset record.Offset, ok bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return tp, 0, false
	}
	p, partitionErr := strconv.ParseInt(parts[1], 10, 32)
	o, offsetErr := strconv.ParseInt(parts[2], 10, 64)
	return record.TopicPartition{Topic: record.Topic(parts[0]), Partition: record.Partition(p)}, record.Offset(o), partitionErr == nil && offsetErr == nil
}
