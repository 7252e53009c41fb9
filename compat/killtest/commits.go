package killtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/compat/probe"
)

// The groups: one whose member reads and commits what it read, and one without
// members, whose offsets are only counted up.
const (
	memberGroup  = "kill-member"
	counterGroup = "kill-counter"
)

// commits is what the committers were promised: the highest acknowledged
// offset per group and partition.
type commits struct {
	mu      sync.Mutex
	acked   map[string]map[partition]int64
	n       int64
	byGroup map[string]int64
	polls   int64
}

func newCommits() *commits {
	return &commits{acked: map[string]map[partition]int64{memberGroup: {}, counterGroup: {}}, byGroup: map[string]int64{}}
}

func (c *commits) ack(group string, p partition, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked[group][p] = max(c.acked[group][p], offset)
	c.n++
	c.byGroup[group]++
}

func (c *commits) acks() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *commits) of(group string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byGroup[group]
}

// snapshot copies the promises made so far.
func (c *commits) snapshot() map[string]map[partition]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	copied := map[string]map[partition]int64{}
	for group, offsets := range c.acked {
		copied[group] = map[partition]int64{}
		for p, offset := range offsets {
			copied[group][p] = offset
		}
	}
	return copied
}

// check compares promises with what the broker says now: an offset may be
// ahead, by a commit whose answer was lost, and never behind.
func (c *commits) check(conn *probe.Conn, promised map[string]map[partition]int64) error {
	for group, offsets := range promised {
		for p, want := range offsets {
			got, err := committed(conn, group, p)
			if err != nil {
				return err
			}
			if got < want {
				return fmt.Errorf("COMMIT WENT BACK: group %s, %s: %d was acknowledged, the broker says %d", group, p, want, got)
			}
		}
	}
	return nil
}

// committed asks for a committed offset, again while the coordinator loads.
func committed(conn *probe.Conn, group string, p partition) (int64, error) {
	const coordinatorLoading, notCoordinator, unstable = 14, 16, 88
	for deadline := time.Now().Add(progress); ; time.Sleep(10 * time.Millisecond) {
		offset, err := conn.Committed(group, p.Topic, p.Index)
		var refused *probe.Error
		if errors.As(err, &refused) && time.Now().Before(deadline) {
			switch refused.Code {
			case coordinatorLoading, notCoordinator, unstable:
				continue
			}
		}
		return offset, err
	}
}

// countUp commits 1, 2, 3 … for every partition in a group without members.
func countUp(ctx context.Context, addr string, partitions []partition, c *commits) error {
	// Newer versions of the request name topics by their ids.
	client, err := kgo.NewClient(append(quickRetries(addr), kgo.MaxVersions(kversion.V4_0_0()))...)
	if err != nil {
		return err
	}
	defer client.Close()
	for offset := int64(1); ctx.Err() == nil; offset++ {
		answer, err := counterRequest(partitions, offset).RequestWith(ctx, client)
		if err != nil {
			continue // the broker is away; the next one is tried
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode == 0 {
					c.ack(counterGroup, partition{topic.Topic, p.Partition}, offset)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func counterRequest(partitions []partition, offset int64) *kmsg.OffsetCommitRequest {
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group = counterGroup
	request.Generation = -1
	topics := map[string]int{}
	for _, p := range partitions {
		i, known := topics[p.Topic]
		if !known {
			i = len(request.Topics)
			topics[p.Topic] = i
			topic := kmsg.NewOffsetCommitRequestTopic()
			topic.Topic = p.Topic
			request.Topics = append(request.Topics, topic)
		}
		part := kmsg.NewOffsetCommitRequestTopicPartition()
		part.Partition, part.Offset = p.Index, offset
		request.Topics[i].Partitions = append(request.Topics[i].Partitions, part)
	}
	return request
}

// readAndCommit is a group member that reads everything and commits after each
// poll. Between two rebalances its offsets must follow one another.
func readAndCommit(ctx context.Context, addr string, topics []string, c *commits) error {
	next := map[partition]int64{} // poll, and both callbacks run while it does
	forget := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		for topic, indexes := range gone {
			for _, i := range indexes {
				delete(next, partition{topic, i})
			}
		}
	}
	client, err := kgo.NewClient(append(quickRetries(addr),
		kgo.ConsumerGroup(memberGroup), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(50*time.Millisecond),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(forget), kgo.OnPartitionsRevoked(forget), kgo.OnPartitionsLost(forget),
	)...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, 5000)
		if err := follows(fetches, next); err != nil {
			return err
		}
		c.commitPolled(ctx, client, fetches)
		client.AllowRebalance()
	}
	return nil
}

func follows(fetches kgo.Fetches, next map[partition]int64) error {
	for _, r := range fetches.Records() {
		p := partition{r.Topic, r.Partition}
		if want, known := next[p]; known && r.Offset != want {
			return fmt.Errorf("POLL SKIP: the group member got %s %d after %d", p, r.Offset, want-1)
		}
		if l, err := decodeLabel(r.Value); err != nil || l.Topic != p.Topic || l.Partition != p.Index {
			return fmt.Errorf("the group member got at %s %d: %v %+v", p, r.Offset, err, l)
		}
		next[p] = r.Offset + 1
	}
	return nil
}

// commitPolled commits what was polled and notes what the broker promised.
func (c *commits) commitPolled(ctx context.Context, client *kgo.Client, fetches kgo.Fetches) {
	records := fetches.Records()
	if len(records) == 0 {
		return
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for _, r := range records {
		if offsets[r.Topic] == nil {
			offsets[r.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[r.Topic][r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		for _, topic := range answer.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode == 0 {
					c.ack(memberGroup, partition{topic.Topic, p.Partition}, offsets[topic.Topic][p.Partition].Offset)
				}
			}
		}
	})
	c.mu.Lock()
	c.polls++
	c.mu.Unlock()
}
