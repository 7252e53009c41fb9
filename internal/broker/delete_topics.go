package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteTopics removes topics with their records and their groups' offsets. What
// the answer calls deleted does not come back after a crash.
func (b *Broker) deleteTopics(_ *conn, req *kmsg.DeleteTopicsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		refs := topicsToDelete(req)
		removed, faults := b.catalog.remove(refs)
		for i, ref := range refs {
			r := kmsg.NewDeleteTopicsResponseTopic()
			if ref.name != "" {
				r.Topic = &ref.name
			}
			r.TopicID, r.ErrorCode, r.ErrorMessage = ref.id, codeOf(faults[i]), textOf(faults[i])
			if t := removed[i]; t != nil && faults[i] == nil {
				b.groups.topicDeleted(t.name)
				r.Topic, r.TopicID = kmsg.StringPtr(string(t.name)), t.id
			}
			resp.Topics = append(resp.Topics, r)
		}
		return resp
	})
}

// topicsToDelete is what the request names: from version 6 by name or by ID.
func topicsToDelete(req *kmsg.DeleteTopicsRequest) []topicRef {
	var refs []topicRef
	for _, name := range req.TopicNames {
		refs = append(refs, topicRef{name: name})
	}
	for _, t := range req.Topics {
		refs = append(refs, topicRef{name: orEmpty(t.Topic), id: t.TopicID})
	}
	return refs
}
