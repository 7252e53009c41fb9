package broker

import "github.com/twmb/franz-go/pkg/kmsg"

// offsetForLeaderEpoch tells a client where an epoch that it has seen ends here,
// so that it notices a log that was cut (F6, KIP-320).
func (b *Broker) offsetForLeaderEpoch(_ *conn, req *kmsg.OffsetForLeaderEpochRequest) reply {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, topic := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = topic.Topic
		for _, p := range topic.Partitions {
			r := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			r.Partition, r.LeaderEpoch, r.EndOffset = p.Partition, -1, -1
			l, err := b.partition(topic.Topic, p.Partition)
			if err == nil {
				err = checkEpoch(l, p.CurrentLeaderEpoch)
			}
			if r.ErrorCode = codeOf(err); err == nil {
				epoch, end := l.OffsetForEpoch(p.LeaderEpoch)
				r.LeaderEpoch, r.EndOffset = epoch, int64(end)
			}
			rt.Partitions = append(rt.Partitions, r)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return answer(resp)
}
