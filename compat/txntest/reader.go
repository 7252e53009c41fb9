package txntest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/compat/history"
)

// reader follows all topics while the broker is killed under it.
type reader struct {
	journal *journal
	mu      sync.Mutex
	seen    history.Reader
	ends    map[history.Partition]int64 // last offset given
}

func newReader(j *journal, committed bool) *reader {
	name := "a read_uncommitted reader"
	if committed {
		name = "a read_committed reader"
	}
	return &reader{journal: j, seen: history.Reader{Name: name, Committed: committed}, ends: map[history.Partition]int64{}}
}

// run reads until ctx ends. An error is a record that is not the test's, or not
// in its place; what the broker's absence causes is no error.
func (r *reader) run(ctx context.Context, addr string, topics []string) error {
	options := append(quickRetries(addr), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if r.seen.Committed {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		for _, record := range client.PollFetches(ctx).Records() {
			if err := r.note(record); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) note(record *kgo.Record) error {
	at := history.Partition{Topic: record.Topic, Index: record.Partition}
	id, sentTo, err := decode(record.Value)
	if err == nil && sentTo != at {
		err = fmt.Errorf("it was sent to %s", sentTo)
	}
	if err != nil {
		return fmt.Errorf("%s was given %s %d: %w", r.seen.Name, at, record.Offset, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends[at] = record.Offset
	r.seen.Polls = append(r.seen.Polls, history.Poll{
		Partition: at, Seen: history.Seen{Offset: record.Offset, ID: id}, At: r.journal.tick(),
	})
	return nil
}

// reached says whether the reader was given the last record of each partition.
func (r *reader) reached(final map[history.Partition][]history.Seen) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, seen := range final {
		if len(seen) > 0 && r.ends[p] < seen[len(seen)-1].Offset {
			return false
		}
	}
	return true
}

// observe asks for the stable committed offset of each group in turn until ctx
// ends.
func observe(ctx context.Context, addr string, groups []string, at history.Partition, j *journal) error {
	client, err := newObserver(addr)
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		for _, group := range groups {
			if o, ok := stableOffset(ctx, client, group, at, j); ok {
				j.observed(o)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(15 * time.Millisecond):
		}
	}
	return nil
}

// newObserver is a client that names topics by their names: newer versions of
// the request name them by their ids.
func newObserver(addr string) (*kgo.Client, error) {
	return kgo.NewClient(append(quickRetries(addr), kgo.MaxVersions(kversion.V4_0_0()))...)
}

// stableOffset asks once. There is no answer while the broker is away, while it
// loads the group, and while a transaction is undecided about the offset.
func stableOffset(ctx context.Context, client *kgo.Client, group string, at history.Partition, j *journal) (history.Observed, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request := kmsg.NewPtrOffsetFetchRequest()
	request.RequireStable = true
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic, topic.Partitions = at.Topic, []int32{at.Index}
	asked.Topics = append(asked.Topics, topic)
	request.Groups = append(request.Groups, asked)
	o := history.Observed{Group: group, Partition: at, Asked: j.tick()}
	answer, err := request.RequestWith(ctx, client)
	o.Answered = j.tick()
	if err != nil || len(answer.Groups) != 1 || answer.Groups[0].ErrorCode != 0 ||
		len(answer.Groups[0].Topics) != 1 || len(answer.Groups[0].Topics[0].Partitions) != 1 {
		return o, false
	}
	p := answer.Groups[0].Topics[0].Partitions[0]
	o.Offset = p.Offset
	return o, p.ErrorCode == 0
}
