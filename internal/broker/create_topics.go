package broker

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Topics of the broker's own, under Kafka's names.
const (
	offsetsTopic      = "__consumer_offsets"
	transactionsTopic = "__transaction_state"
)

// reservedName reports whether only the broker itself makes topics of that name.
func reservedName(name string) bool { return name == offsetsTopic || name == transactionsTopic }

// createTopics makes topics; each is durable when the answer says so. All topics
// of one request share their syncs.
func (b *Broker) createTopics(_ *conn, req *kmsg.CreateTopicsRequest) reply {
	return later(func() response {
		specs := make([]topicSpec, len(req.Topics))
		faults := make([]error, len(req.Topics))
		asked := countNames(req.Topics, func(t kmsg.CreateTopicsRequestTopic) string { return t.Topic })
		for i, topic := range req.Topics {
			specs[i], faults[i] = b.specOf(topic)
			if asked[topic.Topic] > 1 {
				faults[i] = refused(kerr.InvalidRequest, fmt.Sprintf("topic %s occurs more than once in the request", topic.Topic))
			}
		}
		b.catalog.createSound(specs, faults, req.ValidateOnly)
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for i, topic := range req.Topics {
			resp.Topics = append(resp.Topics, b.createdTopic(topic.Topic, specs[i], faults[i]))
		}
		return resp
	})
}

// countNames counts how often each name occurs.
func countNames[T any](items []T, name func(T) string) map[string]int {
	counts := make(map[string]int, len(items))
	for _, item := range items {
		counts[name(item)]++
	}
	return counts
}

// createSound makes those of the specs that have no fault yet, or only checks
// whether they could be made, and fills in the faults that this meets.
func (c *catalog) createSound(specs []topicSpec, faults []error, validateOnly bool) {
	var sound []topicSpec
	var at []int
	for i := range specs {
		if faults[i] == nil {
			sound, at = append(sound, specs[i]), append(at, i)
		}
	}
	do := c.create
	if validateOnly {
		do = c.admit
	}
	for j, err := range do(sound) {
		faults[at[j]] = err
	}
}

// specOf checks what the client wants.
func (b *Broker) specOf(topic kmsg.CreateTopicsRequestTopic) (topicSpec, error) {
	spec := topicSpec{name: record.Topic(topic.Topic), settings: map[string]string{}}
	if err := spec.name.Validate(); err != nil {
		return spec, refusedBy(kerr.InvalidTopicException, err)
	}
	if reservedName(topic.Topic) {
		return spec, refused(kerr.InvalidTopicException, fmt.Sprintf("topic %s belongs to the broker, which makes it when it is needed", topic.Topic))
	}
	var err error
	if spec.partitions, err = b.partitionsOf(topic); err != nil {
		return spec, err
	}
	for _, config := range topic.Configs {
		if config.Value == nil {
			return spec, refused(kerr.InvalidConfig, fmt.Sprintf("topic config %s has no value", config.Name))
		}
		spec.settings[config.Name] = *config.Value
	}
	if err := checkTopicSettings(spec.settings); err != nil {
		return spec, refusedBy(kerr.InvalidConfig, err)
	}
	return spec, nil
}

// partitionsOf is how many partitions the topic is to have, once they could all
// live on this one node.
func (b *Broker) partitionsOf(topic kmsg.CreateTopicsRequestTopic) (int, error) {
	if len(topic.ReplicaAssignment) > 0 {
		return b.assignedPartitions(topic)
	}
	switch {
	case topic.NumPartitions < -1 || topic.NumPartitions == 0:
		return 0, refused(kerr.InvalidPartitions, fmt.Sprintf("topic %s with %d partitions: use at least 1, or -1 for the default of %d", topic.Topic, topic.NumPartitions, b.cfg.DefaultPartitions))
	case topic.ReplicationFactor < -1 || topic.ReplicationFactor == 0:
		return 0, refused(kerr.InvalidReplicationFactor, fmt.Sprintf("topic %s with replication factor %d: use 1, or -1 for the default", topic.Topic, topic.ReplicationFactor))
	case topic.ReplicationFactor > 1 && !b.cfg.ClampReplication:
		return 0, refused(kerr.InvalidReplicationFactor, fmt.Sprintf("topic %s with replication factor %d: this broker is one node; use 1 or -1, or start it with replication clamped", topic.Topic, topic.ReplicationFactor))
	case topic.NumPartitions == -1:
		return b.cfg.DefaultPartitions, nil
	}
	return int(topic.NumPartitions), nil
}

// assignedPartitions checks an assignment of replicas by the client.
func (b *Broker) assignedPartitions(topic kmsg.CreateTopicsRequestTopic) (int, error) {
	if topic.NumPartitions != -1 || topic.ReplicationFactor != -1 {
		return 0, refused(kerr.InvalidRequest, fmt.Sprintf("topic %s: with a replica assignment, partitions and replication factor must both be -1", topic.Topic))
	}
	seen := make([]bool, len(topic.ReplicaAssignment))
	for _, a := range topic.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(seen) || seen[a.Partition] {
			return 0, refused(kerr.InvalidReplicaAssignment, fmt.Sprintf("topic %s: the assigned partitions must be 0 to %d, each once", topic.Topic, len(seen)-1))
		}
		seen[a.Partition] = true
		if err := b.checkReplicas(a.Replicas); err != nil {
			return 0, err
		}
	}
	return len(seen), nil
}

// checkReplicas says why one partition cannot live on these nodes.
func (b *Broker) checkReplicas(nodes []int32) error {
	alone := len(nodes) == 1 && nodes[0] == b.cfg.NodeID
	if alone || b.cfg.ClampReplication && slices.Contains(nodes, b.cfg.NodeID) {
		return nil
	}
	return refused(kerr.InvalidReplicaAssignment, fmt.Sprintf("replicas %v: the only node of this broker is %d", nodes, b.cfg.NodeID))
}

func (b *Broker) createdTopic(name string, spec topicSpec, fault error) kmsg.CreateTopicsResponseTopic {
	topic := kmsg.NewCreateTopicsResponseTopic()
	topic.Topic = name
	topic.ErrorCode, topic.ErrorMessage = codeOf(fault), textOf(fault)
	topic.NumPartitions, topic.ReplicationFactor = -1, -1
	if fault != nil {
		return topic
	}
	if t := b.catalog.topics.named(name); t != nil {
		topic.TopicID = t.id
	}
	topic.NumPartitions, topic.ReplicationFactor = int32(spec.partitions), 1
	for _, s := range topicSettings {
		value, source := s.effective(spec.settings)
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsResponseTopicConfig{Name: s.name, Value: &value, Source: int8(source)})
	}
	return topic
}
