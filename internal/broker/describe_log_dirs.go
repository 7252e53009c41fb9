package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeLogDirs tells how large partitions are in the one data directory. What
// does not exist is left out, as Kafka does.
func (b *Broker) describeLogDirs(_ *conn, req *kmsg.DescribeLogDirsRequest) reply {
	return later(func() response {
		dir := kmsg.NewDescribeLogDirsResponseDir()
		dir.Dir, dir.TotalBytes, dir.UsableBytes = b.cfg.FS.Root(), -1, -1
		if free, err := b.cfg.FS.FreeBytes(); err == nil {
			dir.UsableBytes = free
		}
		if req.Topics == nil {
			for _, t := range b.catalog.topics.all() {
				dir.Topics = append(dir.Topics, t.sizes(nil))
			}
		}
		for _, asked := range req.Topics {
			if t := b.catalog.topics.named(asked.Topic); t != nil {
				dir.Topics = append(dir.Topics, t.sizes(asked.Partitions))
			}
		}
		resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
		resp.Dirs = append(resp.Dirs, dir)
		return resp
	})
}

// sizes describes the given partitions, or all of them when none is given.
func (t *topic) sizes(partitions []int32) kmsg.DescribeLogDirsResponseDirTopic {
	topic := kmsg.NewDescribeLogDirsResponseDirTopic()
	topic.Topic = string(t.name)
	if len(partitions) == 0 {
		for p := range t.logs() {
			partitions = append(partitions, int32(p))
		}
	}
	for _, p := range partitions {
		if l := t.log(p); l != nil {
			topic.Partitions = append(topic.Partitions, kmsg.DescribeLogDirsResponseDirTopicPartition{Partition: p, Size: l.SizeBytes()})
		}
	}
	return topic
}
