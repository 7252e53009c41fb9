package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// toHighWatermark in DeleteRecords means all that readers can see now.
const toHighWatermark = -1

// deleteRecords moves the start of logs forward; the new start is durable when
// the answer names it.
func (b *Broker) deleteRecords(_ *conn, req *kmsg.DeleteRecordsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				start, err := b.deleteBefore(topic.Topic, p.Partition, record.Offset(p.Offset))
				r := kmsg.NewDeleteRecordsResponseTopicPartition()
				r.Partition, r.LowWatermark, r.ErrorCode = p.Partition, int64(start), codeOf(err)
				rt.Partitions = append(rt.Partitions, r)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	})
}

func (b *Broker) deleteBefore(topic string, partition int32, before record.Offset) (start record.Offset, err error) {
	t, err := b.catalog.ownedByClients(topic)
	if err != nil {
		return -1, err
	}
	l, err := t.partition(partition)
	if err != nil {
		return -1, err
	}
	if !l.Config().Deletes() {
		return -1, refused(kerr.PolicyViolation, fmt.Sprintf("topic %s has cleanup.policy=compact: its records are deleted by tombstones, or set compact,delete", topic))
	}
	if before == toHighWatermark {
		before = l.HighWatermark()
	}
	if start, err = l.DeleteRecords(before); err != nil {
		return -1, err
	}
	return start, nil
}
