package client

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Topic is a topic with the sums over its partitions.
type Topic struct {
	Name       record.Topic
	Internal   bool
	Partitions []PartitionInfo // ascending
	Replicas   int             // of partition 0
	SizeBytes  int64           // on one replica each; -1 when the cluster does not say
}

// Records is the number of offsets between start and end, all partitions
// together. Compaction and transactions leave gaps, so it is an upper bound.
func (t Topic) Records() int64 {
	var sum int64
	for _, p := range t.Partitions {
		sum += int64(p.End - p.Start)
	}
	return sum
}

// PartitionInfo is one partition's place and extent.
type PartitionInfo struct {
	Partition record.Partition
	Leader    int32 // -1 when there is none
	Replicas  []int32
	InSync    []int32
	Start     record.Offset
	End       record.Offset // the high watermark
	SizeBytes int64         // -1 when the cluster does not say
}

// Setting is one topic configuration.
type Setting struct {
	Name      string
	Value     string
	Sensitive bool // then Value is empty
	Default   bool // not set on this topic
}

// Topics lists all topics by name; internal ones (__consumer_offsets) only if asked.
func (a *Admin) Topics(ctx context.Context, internal bool) ([]Topic, error) {
	list := a.client.ListTopics
	if internal {
		list = a.client.ListTopicsWithInternal
	}
	details, err := list(ctx)
	if err != nil {
		return nil, a.wrap("list topics", err, "")
	}
	return a.extents(ctx, details)
}

// Topic describes one topic and its settings. [UnknownTopicError] when it is not there.
func (a *Admin) Topic(ctx context.Context, name record.Topic) (Topic, []Setting, error) {
	details, err := a.client.ListTopicsWithInternal(ctx, string(name))
	if err != nil {
		return Topic{}, nil, a.wrap("describe topic", err, "")
	}
	if err := details[string(name)].Err; err != nil {
		return Topic{}, nil, a.topicError(ctx, "describe topic", name, err, "")
	}
	topics, err := a.extents(ctx, details)
	if err != nil {
		return Topic{}, nil, err
	}
	if len(topics) != 1 {
		return Topic{}, nil, UnknownTopicError{Topic: name}
	}
	settings, err := a.settings(ctx, name)
	return topics[0], settings, err
}

func (a *Admin) extents(ctx context.Context, details kadm.TopicDetails) ([]Topic, error) {
	names := details.Names()
	if len(names) == 0 {
		return nil, nil
	}
	starts, err := a.client.ListStartOffsets(ctx, names...)
	if shardErrors(err) != nil {
		return nil, a.wrap("list start offsets", err, "")
	}
	ends, err := a.client.ListEndOffsets(ctx, names...)
	if shardErrors(err) != nil {
		return nil, a.wrap("list end offsets", err, "")
	}
	sizes := a.sizes(ctx, details)
	topics := make([]Topic, 0, len(names))
	for _, d := range details.Sorted() {
		if d.Err == nil {
			topics = append(topics, topicOf(d, starts, ends, sizes))
		}
	}
	return topics, nil
}

func topicOf(d kadm.TopicDetail, starts, ends kadm.ListedOffsets, sizes map[record.TopicPartition]int64) Topic {
	t := Topic{Name: record.Topic(d.Topic), Internal: d.IsInternal}
	for _, p := range d.Partitions.Sorted() {
		info := PartitionInfo{
			Partition: record.Partition(p.Partition),
			Leader:    p.Leader,
			Replicas:  p.Replicas,
			InSync:    p.ISR,
			Start:     listed(starts, d.Topic, p.Partition),
			End:       listed(ends, d.Topic, p.Partition),
			SizeBytes: -1,
		}
		if size, ok := sizes[record.TopicPartition{Topic: t.Name, Partition: info.Partition}]; ok {
			info.SizeBytes = size
		}
		t.Replicas = len(p.Replicas)
		if info.SizeBytes < 0 || t.SizeBytes < 0 {
			t.SizeBytes = -1
		} else {
			t.SizeBytes += info.SizeBytes
		}
		t.Partitions = append(t.Partitions, info)
	}
	return t
}

func listed(offsets kadm.ListedOffsets, topic string, partition int32) record.Offset {
	if o, ok := offsets.Lookup(topic, partition); ok && o.Err == nil {
		return record.Offset(max(o.Offset, 0))
	}
	return 0
}

// sizes asks for log directory sizes. Clusters may refuse; a listing without
// sizes is still a listing.
func (a *Admin) sizes(ctx context.Context, details kadm.TopicDetails) map[record.TopicPartition]int64 {
	set := make(kadm.TopicsSet)
	details.EachPartition(func(p kadm.PartitionDetail) { set.Add(p.Topic, p.Partition) })
	dirs, err := a.client.DescribeAllLogDirs(ctx, set)
	if shardErrors(err) != nil {
		return nil
	}
	sizes := make(map[record.TopicPartition]int64)
	dirs.Each(func(dir kadm.DescribedLogDir) {
		dir.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			tp := record.TopicPartition{Topic: record.Topic(p.Topic), Partition: record.Partition(p.Partition)}
			sizes[tp] = max(sizes[tp], p.Size)
		})
	})
	return sizes
}

func (a *Admin) settings(ctx context.Context, name record.Topic) ([]Setting, error) {
	described, err := a.client.DescribeTopicConfigs(ctx, string(name))
	if err != nil {
		return nil, a.wrap("describe topic settings", err, "")
	}
	var settings []Setting
	for _, resource := range described {
		if resource.Err != nil {
			return nil, a.wrap("describe topic settings", resource.Err, resource.ErrMessage)
		}
		for _, c := range resource.Configs {
			settings = append(settings, Setting{
				Name:      c.Key,
				Value:     c.MaybeValue(),
				Sensitive: c.Sensitive,
				Default:   c.Source != kmsg.ConfigSourceDynamicTopicConfig,
			})
		}
	}
	slices.SortFunc(settings, func(x, y Setting) int { return strings.Compare(x.Name, y.Name) })
	return settings, nil
}

// TopicSpec is a topic to create.
type TopicSpec struct {
	Name       record.Topic
	Partitions int // 0 is the cluster's default
	Replicas   int // 0 is the cluster's default
	Settings   map[string]string
}

// CreateTopic creates t. [ErrTopicExists] when it is there already.
func (a *Admin) CreateTopic(ctx context.Context, t TopicSpec) error {
	if err := t.Name.Validate(); err != nil {
		return errors.Join(ErrRefused, err)
	}
	partitions, replicas, settings := t.forKafka()
	responses, err := a.client.CreateTopics(ctx, partitions, replicas, settings, string(t.Name))
	if err != nil {
		return a.wrap("create topic", err, "")
	}
	r := responses[string(t.Name)]
	return a.wrap("create topic "+string(t.Name), r.Err, r.ErrMessage)
}

// forKafka is t as Kafka's protocol has it.
func (t TopicSpec) forKafka() (partitions int32, replicas int16, settings map[string]*string) {
	partitions, replicas = -1, -1 // "the cluster's default" since Kafka 2.4
	if t.Partitions > 0 {
		partitions = int32(t.Partitions)
	}
	if t.Replicas > 0 {
		replicas = int16(t.Replicas)
	}
	settings = make(map[string]*string, len(t.Settings))
	for name, value := range t.Settings {
		settings[name] = &value
	}
	return partitions, replicas, settings
}

// DeleteTopic deletes a topic and everything in it.
func (a *Admin) DeleteTopic(ctx context.Context, name record.Topic) error {
	responses, err := a.client.DeleteTopics(ctx, string(name))
	if err != nil {
		return a.wrap("delete topic", err, "")
	}
	r := responses[string(name)]
	return a.topicError(ctx, "delete topic "+string(name), name, r.Err, r.ErrMessage)
}

// AddPartitions raises the number of partitions of a topic to total.
func (a *Admin) AddPartitions(ctx context.Context, name record.Topic, total int) error {
	responses, err := a.client.UpdatePartitions(ctx, total, string(name))
	if err != nil {
		return a.wrap("add partitions", err, "")
	}
	r := responses[string(name)]
	return a.topicError(ctx, "add partitions to "+string(name), name, r.Err, r.ErrMessage)
}

// AlterTopic sets and unsets settings of a topic; the others stay as they are.
func (a *Admin) AlterTopic(ctx context.Context, name record.Topic, set map[string]string, unset []string) error {
	var changes []kadm.AlterConfig
	for key, value := range set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	for _, key := range unset {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	responses, err := a.client.AlterTopicConfigs(ctx, changes, string(name))
	if err != nil {
		return a.wrap("alter topic", err, "")
	}
	for _, r := range responses {
		if r.Err != nil {
			return a.topicError(ctx, "alter topic "+string(name), name, r.Err, r.ErrMessage)
		}
	}
	return nil
}

// Offsets are the start and end of each partition of a topic.
func (a *Admin) Offsets(ctx context.Context, name record.Topic) ([]PartitionInfo, error) {
	details, err := a.client.ListTopicsWithInternal(ctx, string(name))
	if err != nil {
		return nil, a.wrap("list offsets", err, "")
	}
	if err := details[string(name)].Err; err != nil {
		return nil, a.topicError(ctx, "list offsets", name, err, "")
	}
	starts, err := a.client.ListStartOffsets(ctx, string(name))
	if err != nil {
		return nil, a.wrap("list start offsets", err, "")
	}
	ends, err := a.client.ListEndOffsets(ctx, string(name))
	if err != nil {
		return nil, a.wrap("list end offsets", err, "")
	}
	return topicOf(details[string(name)], starts, ends, nil).Partitions, nil
}

// topicError is wrap, with a suggestion when the topic does not exist.
func (a *Admin) topicError(ctx context.Context, doing string, name record.Topic, err error, brokerMessage string) error {
	if !isAny(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID) {
		return a.wrap(doing, err, brokerMessage)
	}
	unknown := UnknownTopicError{Topic: name}
	if details, listErr := a.client.ListTopics(ctx); listErr == nil {
		unknown.Nearest = record.Topic(Nearest(string(name), details.Names()))
	}
	return unknown
}
