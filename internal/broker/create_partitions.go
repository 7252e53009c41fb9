package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createPartitions lets topics grow. Records stay where they are, so a key may
// go to another partition from then on.
func (b *Broker) createPartitions(_ *conn, req *kmsg.CreatePartitionsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		asked := countNames(req.Topics, func(t kmsg.CreatePartitionsRequestTopic) string { return t.Topic })
		for _, topic := range req.Topics {
			var err error
			if asked[topic.Topic] > 1 {
				err = refused(kerr.InvalidRequest, fmt.Sprintf("topic %s occurs more than once in the request", topic.Topic))
			} else {
				err = b.growTopic(topic, req.ValidateOnly)
			}
			r := kmsg.NewCreatePartitionsResponseTopic()
			r.Topic, r.ErrorCode, r.ErrorMessage = topic.Topic, codeOf(err), textOf(err)
			resp.Topics = append(resp.Topics, r)
		}
		return resp
	})
}

func (b *Broker) growTopic(topic kmsg.CreatePartitionsRequestTopic, validateOnly bool) error {
	if topic.Assignment != nil {
		t := b.catalog.topics.named(topic.Topic)
		if t != nil && len(topic.Assignment) != int(topic.Count)-len(t.logs()) {
			return refused(kerr.InvalidReplicaAssignment, fmt.Sprintf("topic %s: %d partitions are assigned, but %d are to be added", topic.Topic, len(topic.Assignment), int(topic.Count)-len(t.logs())))
		}
		for _, a := range topic.Assignment {
			if err := b.checkReplicas(a.Replicas); err != nil {
				return err
			}
		}
	}
	return b.catalog.addPartitions(topic.Topic, int(topic.Count), validateOnly)
}
