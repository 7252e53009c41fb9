package counttest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/compat/oracle"
)

// The topics of the click job.
const (
	resultTopic     = "click_counts"
	deadLetterTopic = "click_events-dlq"
	changelogTopic  = "click-count-user-clicks-changelog"
)

func seeds(brokers string) []string { return strings.Split(brokers, ",") }

// readAll hands every committed record of a topic to visit, each partition's in
// order, up to where the topic is stable when the call begins. A topic that does
// not exist is empty. Nobody may be inside a transaction.
func readAll(ctx context.Context, brokers, topic string, visit func(*kgo.Record) error) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds(brokers)...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := stableEnds(ctx, client, topic)
	if err != nil {
		return err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]bool{}
	for p, end := range ends {
		if end > 0 {
			from[p], left[p] = kgo.NewOffset().AtStart(), true
		}
	}
	if len(from) > 0 {
		client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		for _, r := range fetches.Records() {
			if r.Offset+1 >= ends[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() || r.Offset >= ends[r.Partition] {
				continue
			}
			if err := visit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// stableEnds returns where each partition of a topic is stable up to; none for a
// topic that does not exist.
func stableEnds(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	ask := kmsg.NewPtrMetadataRequest()
	named := kmsg.NewMetadataRequestTopic()
	named.Topic = &topic
	ask.Topics = append(ask.Topics, named)
	metadata, err := ask.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	list := kmsg.NewPtrListOffsetsRequest()
	list.ReplicaID, list.IsolationLevel = -1, 1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for _, p := range metadata.Topics[0].Partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = p.Partition, -1
		asked.Partitions = append(asked.Partitions, partition)
	}
	if len(asked.Partitions) == 0 {
		return nil, nil
	}
	list.Topics = append(list.Topics, asked)
	answer, err := list.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("end of %s-%d: %w", topic, p.Partition, err)
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}

// collect reads everything that the oracle wants but the journal and the answers.
func collect(ctx context.Context, brokers string) (oracle.Evidence, error) {
	e := oracle.Evidence{Outputs: map[string][]int64{}, Answers: map[string]int64{}}
	err := readAll(ctx, brokers, inputTopic, func(r *kgo.Record) error {
		e.Input = append(e.Input, oracle.Stored{Place: oracle.Place{Partition: r.Partition, Offset: r.Offset}, Value: r.Value})
		return nil
	})
	if err != nil {
		return e, err
	}
	err = readAll(ctx, brokers, resultTopic, func(r *kgo.Record) error {
		user, clicks, err := result(r)
		e.Outputs[user] = append(e.Outputs[user], clicks)
		return err
	})
	if err != nil {
		return e, err
	}
	err = readAll(ctx, brokers, deadLetterTopic, func(r *kgo.Record) error {
		at, err := source(r)
		e.DeadLetters = append(e.DeadLetters, at)
		return err
	})
	if err != nil {
		return e, err
	}
	e.Changelog, err = fold(ctx, brokers)
	return e, err
}

// result is one committed count.
func result(r *kgo.Record) (user string, clicks int64, err error) {
	var said struct {
		User   string `json:"user_id"`
		Clicks int64  `json:"clicks"`
	}
	if err := json.Unmarshal(r.Value, &said); err != nil || said.User != string(r.Key) {
		return "", 0, fmt.Errorf("%s-%d at %d: key %q, value %q", resultTopic, r.Partition, r.Offset, r.Key, r.Value)
	}
	return said.User, said.Clicks, nil
}

// follower reads committed counts while the faults happen.
type follower struct {
	mu     sync.Mutex
	counts map[string][]int64
	n      int
}

// run follows until ctx ends. What the brokers' absence causes is no error.
func (f *follower) run(ctx context.Context, brokers string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds(brokers)...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(resultTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		for _, r := range client.PollFetches(ctx).Records() {
			user, clicks, err := result(r)
			if err != nil {
				return err
			}
			f.mu.Lock()
			f.counts[user] = append(f.counts[user], clicks)
			f.n++
			f.mu.Unlock()
		}
	}
	return nil
}

// seen is how many counts were given so far.
func (f *follower) seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *follower) snapshot() map[string][]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	copied := map[string][]int64{}
	for user, counts := range f.counts {
		copied[user] = slices.Clone(counts)
	}
	return copied
}

// source is the place that a dead letter names: topic/partition/offset.
func source(r *kgo.Record) (oracle.Place, error) {
	for _, h := range r.Headers {
		if h.Key != "millrace.source" {
			continue
		}
		parts := strings.Split(string(h.Value), "/")
		if len(parts) != 3 || parts[0] != inputTopic {
			break
		}
		partition, err1 := strconv.ParseInt(parts[1], 10, 32)
		offset, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil {
			return oracle.Place{Partition: int32(partition), Offset: offset}, nil
		}
	}
	return oracle.Place{}, fmt.Errorf("dead letter at %s-%d %d names no source: %v", r.Topic, r.Partition, r.Offset, r.Headers)
}

// fold reads the state's changelog: the last value of each user, a count in
// eight bytes, big endian. Keys that begin with 0xff are no user's: no text
// begins so.
func fold(ctx context.Context, brokers string) (map[string]int64, error) {
	counts := map[string]int64{}
	err := readAll(ctx, brokers, changelogTopic, func(r *kgo.Record) error {
		switch {
		case len(r.Key) > 0 && r.Key[0] == 0xff:
		case r.Value == nil:
			delete(counts, string(r.Key))
		case len(r.Value) == 8:
			counts[string(r.Key)] = int64(binary.BigEndian.Uint64(r.Value))
		default:
			return fmt.Errorf("%s-%d at %d: key %q holds %x, want eight bytes", changelogTopic, r.Partition, r.Offset, r.Key, r.Value)
		}
		return nil
	})
	return counts, err
}

// answer asks the query API for one user's clicks; 0 for a user that it has
// never seen.
func answer(ctx context.Context, base, user string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/counts/users/"+url.PathEscape(user), nil)
	if err != nil {
		return 0, err
	}
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(got.Body, 1<<16))
	if err != nil || got.StatusCode == http.StatusNotFound {
		return 0, err
	}
	var said struct{ Clicks int64 }
	if err := json.Unmarshal(raw, &said); err != nil || got.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s: %s", request.URL, got.Status, raw)
	}
	return said.Clicks, nil
}
