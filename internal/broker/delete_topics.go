package broker

import (
	"cmp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// deleteTopics removes topics with their records and their groups' offsets. What
// the answer calls deleted does not come back after a crash.
func (b *Broker) deleteTopics(_ *conn, req *kmsg.DeleteTopicsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
		refs, twice := b.topicsToDelete(req)
		for _, ref := range twice {
			resp.Topics = append(resp.Topics, deletionResult(ref, errTopicTwice))
		}
		removed, faults := b.catalog.remove(refs)
		for i, ref := range refs {
			r := deletionResult(ref, faults[i])
			if t := removed[i]; t != nil && faults[i] == nil {
				b.groups.topicDeleted(t.name)
				r.Topic, r.TopicID = kmsg.StringPtr(string(t.name)), t.id
			}
			resp.Topics = append(resp.Topics, r)
		}
		return resp
	})
}

var errTopicTwice = refused(kerr.InvalidRequest, "the topic is named more than once")

func deletionResult(ref topicRef, err error) kmsg.DeleteTopicsResponseTopic {
	r := kmsg.NewDeleteTopicsResponseTopic()
	if ref.name != "" {
		r.Topic = &ref.name
	}
	r.TopicID, r.ErrorCode, r.ErrorMessage = ref.id, codeOf(err), textOf(err)
	return r
}

// topicsToDelete is what the request names, from version 6 by name or by ID, and
// which of it more than once: that is not deleted, as in Kafka.
func (b *Broker) topicsToDelete(req *kmsg.DeleteTopicsRequest) (once, twice []topicRef) {
	named := map[topicRef][]topicRef{} // by what they mean
	var order []topicRef
	for _, ref := range topicRefs(req) {
		meant := ref
		if t := b.catalog.topics.identified(ref.id); t != nil && ref.name == "" {
			meant = topicRef{name: string(t.name)}
		}
		if named[meant] == nil {
			order = append(order, meant)
		}
		named[meant] = append(named[meant], ref)
	}
	for _, meant := range order {
		refs := named[meant]
		if len(refs) == 1 {
			once = append(once, refs[0])
			continue
		}
		all := topicRef{}
		for _, ref := range refs {
			all.name, all.id = cmp.Or(all.name, ref.name), cmp.Or(all.id, ref.id)
		}
		twice = append(twice, all)
	}
	return once, twice
}

func topicRefs(req *kmsg.DeleteTopicsRequest) []topicRef {
	var refs []topicRef
	for _, name := range req.TopicNames {
		refs = append(refs, topicRef{name: name})
	}
	for _, t := range req.Topics {
		refs = append(refs, topicRef{name: orEmpty(t.Topic), id: t.TopicID})
	}
	return refs
}
