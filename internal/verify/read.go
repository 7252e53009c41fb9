package verify

import (
	"context"
	"fmt"

	"millrace/internal/client"
	"millrace/record"
)

// reader follows one topic from its start, as read_committed.
type reader struct {
	topic    record.Topic
	admin    *client.Admin
	consumer *client.Consumer
	next     map[record.Partition]record.Offset // where reading goes on
	last     map[record.Partition]record.Offset // of the newest record read
	read     int64
}

func newReader(config client.Config, admin *client.Admin, topic record.Topic) (*reader, error) {
	config.ReadUncommitted = false
	config.Group, config.InstanceID = "", ""
	consumer, err := client.NewConsumer(config, client.Subscription{Topics: []record.Topic{topic}})
	if err != nil {
		return nil, err
	}
	return &reader{topic: topic, admin: admin, consumer: consumer,
		next: make(map[record.Partition]record.Offset), last: make(map[record.Partition]record.Offset)}, nil
}

func (r *reader) close() { r.consumer.Close() }

// spans are what a read_committed reader can see of the topic now.
func (r *reader) spans(ctx context.Context) (map[record.Partition]client.Span, error) {
	all, err := r.admin.Spans(ctx, r.topic)
	if err != nil {
		return nil, err
	}
	spans := make(map[record.Partition]client.Span, len(all))
	for tp, s := range all {
		spans[tp.Partition] = s
	}
	return spans, nil
}

// readTo reads on until everything below the spans' ends was given to each. It
// may read further; each sees those records too, once.
func (r *reader) readTo(ctx context.Context, spans map[record.Partition]client.Span, each func(*record.Record), progress func(done, of int64)) error {
	for {
		left := r.left(spans)
		if progress != nil {
			progress(r.read, r.read+left)
		}
		if left == 0 {
			return nil
		}
		batches, err := r.consumer.Poll(ctx)
		for _, b := range batches {
			for i := range b.Records {
				each(&b.Records[i])
				r.last[b.Partition] = b.Records[i].Offset
				r.read++
			}
			r.next[b.Partition] = b.Next
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", r.topic, err)
		}
	}
}

// left is how many offsets are to be read.
func (r *reader) left(spans map[record.Partition]client.Span) int64 {
	left := int64(0)
	for p, s := range spans {
		left += int64(max(0, s.Stable-max(s.Start, r.next[p])))
	}
	return left
}
