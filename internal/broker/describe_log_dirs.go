package broker

import (
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// describeLogDirs tells how large partitions are in the one data directory. What
// does not exist is left out, as Kafka does.
func (b *Broker) describeLogDirs(_ *conn, req *kmsg.DescribeLogDirsRequest) reply {
	const perTopic, perPartition = 128, 64 // bytes, decoded and encoded
	size := int64(0)
	asked := b.askedLogDirs(req.Topics)
	for _, a := range asked {
		size += perTopic + perPartition*int64(len(a.partitions))
	}
	return b.largeAnswer(size, func() wire.Response {
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir, dir.TotalBytes, dir.UsableBytes = b.cfg.FS.Root(), -1, -1
		if free, err := b.cfg.FS.FreeBytes(); err == nil {
			dir.UsableBytes = free
		}
		for _, a := range asked {
			dir.Topics = append(dir.Topics, a.sizes())
		}
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		resp.Dirs = append(resp.Dirs, dir)
		return resp
	})
}

// askedTopic is some partitions of one topic.
type askedTopic struct {
	topic      *topic
	partitions []int32
}

// askedLogDirs is what exists of what was asked for, each partition once; null
// instead of topics means everything.
func (b *Broker) askedLogDirs(topics []kmsg.DescribeLogDirsRequestTopic) []askedTopic {
	var asked []askedTopic
	if topics == nil {
		for _, t := range b.catalog.topics.all() {
			asked = append(asked, askedTopic{t, t.indexes()})
		}
		return asked
	}
	partitions := map[string][]int32{}
	for _, named := range topics {
		partitions[named.Topic] = append(partitions[named.Topic], named.Partitions...)
	}
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		if t := b.catalog.topics.named(name); t != nil {
			asked = append(asked, askedTopic{t, distinct(partitions[name])})
		}
	}
	return asked
}

// indexes are the topic's partitions.
func (t *topic) indexes() []int32 {
	all := make([]int32, len(t.logs()))
	for p := range all {
		all[p] = int32(p)
	}
	return all
}

func (a askedTopic) sizes() kmsg.DescribeLogDirsResponseDirTopic {
	topic := kmsg.NewDescribeLogDirsResponseDirTopic()
	topic.Topic = string(a.topic.name)
	for _, p := range a.partitions {
		if l := a.topic.log(p); l != nil {
			topic.Partitions = append(topic.Partitions, kmsg.DescribeLogDirsResponseDirTopicPartition{Partition: p, Size: l.SizeBytes()})
		}
	}
	return topic
}
