package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// deleteTopics removes topics with their records and their groups' offsets. What
// the answer calls deleted does not come back after a crash.
func (b *Broker) deleteTopics(_ *conn, req *kmsg.DeleteTopicsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		faults := b.catalog.remove(req.TopicNames)
		for i, name := range req.TopicNames {
			err := faults[i]
			if err == nil {
				b.groups.topicDeleted(record.Topic(name))
			}
			r := kmsg.NewDeleteTopicsResponseTopic()
			r.Topic, r.ErrorCode, r.ErrorMessage = kmsg.StringPtr(name), codeOf(err), textOf(err)
			resp.Topics = append(resp.Topics, r)
		}
		return resp
	})
}
