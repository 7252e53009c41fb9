package broker

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
	"millrace/record"
)

// mostPartitionsDescribed bounds the partitions of one answer. Kafka's
// max.request.partition.size.limit.
const mostPartitionsDescribed = 2000

// describeTopicPartitions is Metadata in pages: topics by name, as many
// partitions as client and broker allow, and a cursor to where the next page
// begins (KIP-966).
func (b *Broker) describeTopicPartitions(_ *conn, req *kmsg.DescribeTopicPartitionsRequest) reply {
	if req.Cursor != nil && req.Cursor.Partition < 0 {
		return answer(refusedPage(req))
	}
	const perPartition = 160 // bytes, decoded and encoded
	limit := min(max(int(req.ResponsePartitionLimit), 1), mostPartitionsDescribed)
	return b.largeAnswer(perPartition*int64(limit), func() wire.Response {
		page := topicPage{b: b, left: limit, resp: req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)}
		for _, name := range b.namesFrom(req) {
			first := int32(0)
			if req.Cursor != nil && req.Cursor.Topic == name {
				first = req.Cursor.Partition
			}
			if !page.add(name, first, len(req.Topics) > 0) {
				break
			}
		}
		return page.resp
	})
}

// refusedPage names the topics with INVALID_REQUEST: the cursor is none of ours.
func refusedPage(req *kmsg.DescribeTopicPartitionsRequest) response {
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	for _, t := range req.Topics {
		shown := kmsg.NewDescribeTopicPartitionsResponseTopic()
		shown.Topic, shown.ErrorCode = kmsg.StringPtr(t.Topic), kerr.InvalidRequest.Code
		resp.Topics = append(resp.Topics, shown)
	}
	return resp
}

// namesFrom are the topics asked for, or all, from the cursor on.
func (b *Broker) namesFrom(req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, t := range req.Topics {
		names = append(names, t.Topic)
	}
	if len(req.Topics) == 0 {
		names = topicNames(b.catalog.topics.all())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return strings.Compare(name, req.Cursor.Topic) < 0 })
	}
	return names
}

// topicPage is one answer while it is filled.
type topicPage struct {
	b    *Broker
	resp *kmsg.DescribeTopicPartitionsResponse
	left int // partitions that still fit
}

// add shows the topic's partitions from first on; false when the page is full. A
// topic that does not exist is shown only to who named it.
func (p *topicPage) add(name string, first int32, named bool) bool {
	if p.left == 0 {
		p.endAt(name, 0)
		return false
	}
	t := p.b.catalog.topics.named(name)
	if t == nil {
		if named {
			p.resp.Topics = append(p.resp.Topics, unknownTopicPage(name))
		}
		return true
	}
	shown := kmsg.NewDescribeTopicPartitionsResponseTopic()
	shown.Topic, shown.TopicID, shown.IsInternal = &name, t.id, t.internal
	shown.AuthorizedOperations = allOperations(topicOperations)
	count := int32(len(t.logs()))
	end := min(count, first+int32(p.left))
	for i := first; i < end; i++ {
		shown.Partitions = append(shown.Partitions, p.partition(t, i))
	}
	p.resp.Topics = append(p.resp.Topics, shown)
	p.left -= len(shown.Partitions)
	if end < count {
		p.endAt(name, end)
		return false
	}
	return true
}

func unknownTopicPage(name string) kmsg.DescribeTopicPartitionsResponseTopic {
	shown := kmsg.NewDescribeTopicPartitionsResponseTopic()
	shown.Topic, shown.ErrorCode = &name, kerr.UnknownTopicOrPartition.Code
	if record.Topic(name).Validate() != nil {
		shown.ErrorCode = kerr.InvalidTopicException.Code
	}
	return shown
}

func (p *topicPage) partition(t *topic, i int32) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	node := []int32{p.b.cfg.NodeID}
	shown := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	shown.Partition, shown.LeaderID, shown.LeaderEpoch = i, node[0], t.log(i).LeaderEpoch()
	shown.Replicas, shown.ISR = node, node
	shown.EligibleLeaderReplicas, shown.LastKnownELR = []int32{}, []int32{} // not null: nobody is eligible
	return shown
}

func (p *topicPage) endAt(name string, partition int32) {
	next := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
	next.Topic, next.Partition = name, partition
	p.resp.NextCursor = &next
}
