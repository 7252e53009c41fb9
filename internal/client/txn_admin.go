package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// TopicFacts are what a job needs to know of a topic before it starts.
type TopicFacts struct {
	ID         [16]byte // zero when the cluster has no topic ids
	Partitions int32
	Replicas   int // of partition 0
}

// Facts describes topics; without a name, all that are not the cluster's own.
// Those that do not exist are not among the answer. It asks the brokers each
// time: what was just created is seen.
func (a *Admin) Facts(ctx context.Context, topics ...record.Topic) (map[record.Topic]TopicFacts, error) {
	answer, err := askFor(topics).RequestWith(ctx, a.raw)
	if err != nil {
		return nil, a.wrap("describe topics", err, "")
	}
	all := make(map[record.Topic]TopicFacts, len(answer.Topics))
	for _, t := range answer.Topics {
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case isAny(err, kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable) || err == nil && t.IsInternal:
		case err != nil:
			return nil, a.wrap("describe topic "+name, err, "")
		default:
			facts := TopicFacts{ID: t.TopicID, Partitions: int32(len(t.Partitions))}
			if len(t.Partitions) > 0 {
				facts.Replicas = len(t.Partitions[0].Replicas)
			}
			all[record.Topic(name)] = facts
		}
	}
	return all, nil
}

// askFor asks for the metadata of topics; without a name, of all.
func askFor(topics []record.Topic) *kmsg.MetadataRequest {
	request := kmsg.NewPtrMetadataRequest()
	for _, t := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(string(t))
		request.Topics = append(request.Topics, topic)
	}
	return request
}

// Span is the part of a partition's log that a read_committed reader can see.
type Span struct {
	Start  record.Offset
	Stable record.Offset // the last stable offset
}

// ExistingSpans is [Admin.Spans] for topics that were there: it goes on asking
// for those that the brokers do not know, and says [UnknownTopicError] when they
// have not for several seconds.
func (a *Admin) ExistingSpans(ctx context.Context, topics ...record.Topic) (spans map[record.TopicPartition]Span, err error) {
	missing := 0
	err = retry(ctx, func() (err error) {
		var unknown record.Topic
		spans, unknown, err = a.spans(ctx, topics)
		if unknown != "" {
			if missing++; missing >= missingTries {
				return UnknownTopicError{Topic: unknown}
			}
		}
		return err
	})
	return spans, err
}

// Spans are those of every partition of topics.
func (a *Admin) Spans(ctx context.Context, topics ...record.Topic) (map[record.TopicPartition]Span, error) {
	spans, _, err := a.spans(ctx, topics)
	return spans, err
}

// spans also names a topic that the brokers do not know, if that is the error.
func (a *Admin) spans(ctx context.Context, topics []record.Topic) (all map[record.TopicPartition]Span, unknown record.Topic, err error) {
	names := topicNames(topics)
	starts, err := a.client.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, "", a.wrap("list start offsets", err, "")
	}
	stable, err := a.client.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return nil, "", a.wrap("list last stable offsets", err, "")
	}
	all = make(map[record.TopicPartition]Span)
	var faults []error
	stable.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		tp := record.TopicPartition{Topic: record.Topic(end.Topic), Partition: record.Partition(end.Partition)}
		if err := errors.Join(end.Err, start.Err); err != nil {
			if isAny(err, kerr.UnknownTopicOrPartition) {
				unknown = tp.Topic
			}
			faults = append(faults, fmt.Errorf("list offsets of %s: %w", tp, translate(err, a.brokers)))
			return
		}
		all[tp] = Span{Start: record.Offset(start.Offset), Stable: record.Offset(end.Offset)}
	})
	return all, unknown, errors.Join(faults...)
}

// Decided waits until readers see the end of every transaction that is open in
// the partitions now, and returns what they can see. A commit is answered, and
// its offsets are visible, when it is decided; its markers reach one partition
// after the other behind that (KIP-98). So whoever learned of a commit otherwise,
// and wants to read what belongs to it, asks here first. It waits for as long as
// a transaction may be open, or until ctx ends.
func (a *Admin) Decided(ctx context.Context, partitions []record.TopicPartition) (map[record.TopicPartition]Span, error) {
	var topics []record.Topic
	for _, tp := range partitions {
		if !slices.Contains(topics, tp.Topic) {
			topics = append(topics, tp.Topic)
		}
	}
	if len(topics) == 0 {
		return nil, nil // asked for no topics, a broker answers for all
	}
	ends, err := a.client.ListEndOffsets(ctx, topicNames(topics)...)
	if err != nil {
		return nil, a.wrap("list end offsets", err, "")
	}
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		spans, err := a.Spans(ctx, topics...)
		if err != nil {
			return nil, err
		}
		open := slices.IndexFunc(partitions, func(tp record.TopicPartition) bool {
			end, _ := ends.Lookup(string(tp.Topic), int32(tp.Partition))
			return spans[tp].Stable < record.Offset(end.Offset)
		})
		if open < 0 {
			return spans, nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the open transaction of %s to end: %w", partitions[open], ctx.Err())
		}
	}
}

// DeleteRecords drops what lies before the given offsets.
func (a *Admin) DeleteRecords(ctx context.Context, before map[record.TopicPartition]record.Offset) error {
	offsets := make(kadm.Offsets)
	for tp, o := range before {
		offsets.AddOffset(string(tp.Topic), int32(tp.Partition), int64(o), -1)
	}
	answers, err := a.client.DeleteRecords(ctx, offsets)
	if err != nil {
		return a.wrap("delete records", err, "")
	}
	var faults []error
	answers.Each(func(r kadm.DeleteRecordsResponse) {
		if r.Err != nil {
			faults = append(faults, fmt.Errorf("delete records of %s-%d: %w", r.Topic, r.Partition, translate(r.Err, a.brokers)))
		}
	})
	return errors.Join(faults...)
}

// TransactionVersion is the cluster's finalized transaction.version: 2 since
// Kafka 4.0 (KIP-890); 0 where the cluster does not say.
func (a *Admin) TransactionVersion(ctx context.Context) (int16, error) {
	versions, err := a.client.ApiVersions(ctx)
	if err != nil {
		return 0, a.wrap("ask for the cluster's features", err, "")
	}
	lowest := int16(-1)
	for _, v := range versions {
		if v.Err != nil {
			continue
		}
		level := int16(0)
		for _, f := range v.Raw().FinalizedFeatures {
			if f.Name == "transaction.version" {
				level = f.MaxVersionLevel
			}
		}
		if lowest < 0 || level < lowest {
			lowest = level
		}
	}
	return max(lowest, 0), nil
}

// GroupOffsets are the committed offsets of a group, pending ones not included.
// A group that does not exist has none.
func (a *Admin) GroupOffsets(ctx context.Context, group string) (map[record.TopicPartition]record.Offset, error) {
	answers, err := a.client.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, a.wrap("ask for the offsets of group "+group, err, "")
	}
	all := make(map[record.TopicPartition]record.Offset)
	answers.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil && o.At >= 0 {
			all[record.TopicPartition{Topic: record.Topic(o.Topic), Partition: record.Partition(o.Partition)}] = record.Offset(o.At)
		}
	})
	return all, nil
}
