package broker

import (
	"context"
	"errors"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
	"millrace/record"
)

// notAsked stands for authorized operations that nobody asked for.
const notAsked = math.MinInt32

// metadata names the node, and the topics with their partitions. A topic that a
// client asks about and that does not exist is made, if client and broker allow
// it; it is durable before the answer names it (W5, R19).
func (b *Broker) metadata(c *conn, req *request) reply {
	var ask wire.MetadataRequest
	if err := ask.Decode(req.Header, req.body); err != nil {
		return refuse(err)
	}
	names := make([]string, len(ask.Topics)) // the frame ends with this call
	for i, name := range ask.Topics {
		names[i] = string(name)
	}
	autoCreate := ask.AllowAutoTopicCreation && !b.cfg.DisableAutoCreate
	return func(context.Context) (response, error) {
		resp := kmsg.NewPtrMetadataResponse()
		resp.Version = ask.Version
		resp.Brokers = []kmsg.MetadataResponseBroker{b.brokerAsSeenBy(c)}
		resp.ClusterID = kmsg.StringPtr(b.ClusterID())
		resp.ControllerID = b.cfg.NodeID
		resp.AuthorizedOperations = notAsked
		if ask.IncludeClusterAuthorizedOperations {
			resp.AuthorizedOperations = allOperations(clusterOperations)
		}
		if ask.AllTopics {
			for _, t := range b.catalog.topics.all() {
				resp.Topics = append(resp.Topics, b.describeTopic(t, ask.IncludeTopicAuthorizedOperations))
			}
			return resp, nil
		}
		faults := map[string]error{}
		if autoCreate {
			faults = b.createMissing(names)
		}
		for _, name := range names {
			resp.Topics = append(resp.Topics, b.metadataOf(name, faults[name], ask.IncludeTopicAuthorizedOperations))
		}
		return resp, nil
	}
}

func (b *Broker) brokerAsSeenBy(c *conn) kmsg.MetadataResponseBroker {
	node := kmsg.NewMetadataResponseBroker()
	node.NodeID = b.cfg.NodeID
	node.Host, node.Port = c.advertised()
	return node
}

// createMissing makes the topics among names that do not exist and could, in one
// round of syncs. It returns why some could not be made.
func (b *Broker) createMissing(names []string) map[string]error {
	var specs []topicSpec
	wanted := map[string]bool{}
	for _, name := range names {
		if wanted[name] || b.catalog.topics.named(name) != nil || record.Topic(name).Validate() != nil || reservedName(name) {
			continue
		}
		wanted[name] = true
		specs = append(specs, topicSpec{name: record.Topic(name), partitions: b.cfg.DefaultPartitions})
	}
	faults := map[string]error{}
	if len(specs) == 0 {
		return faults
	}
	for i, err := range b.catalog.create(specs) {
		if err != nil && !errors.Is(err, errTopicExists) { // another connection was first
			faults[string(specs[i].name)] = err
			b.complaints.warn("a topic could not be auto-created", "topic", specs[i].name, "error", err)
		}
	}
	return faults
}

// metadataOf describes the topic or says why there is none.
func (b *Broker) metadataOf(name string, fault error, operations bool) kmsg.MetadataResponseTopic {
	if t := b.catalog.topics.named(name); t != nil {
		return b.describeTopic(t, operations)
	}
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic = &name
	topic.AuthorizedOperations = notAsked
	switch {
	case record.Topic(name).Validate() != nil:
		topic.ErrorCode = kerr.InvalidTopicException.Code
	case fault != nil:
		topic.ErrorCode = codeOf(fault)
	default:
		topic.ErrorCode = kerr.UnknownTopicOrPartition.Code
	}
	return topic
}

func (b *Broker) describeTopic(t *topic, operations bool) kmsg.MetadataResponseTopic {
	name := string(t.name)
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic, topic.TopicID, topic.IsInternal = &name, t.id, t.internal
	topic.AuthorizedOperations = notAsked
	if operations {
		topic.AuthorizedOperations = allOperations(topicOperations)
	}
	node := []int32{b.cfg.NodeID}
	logs := t.logs()
	topic.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(logs))
	for p, l := range logs {
		topic.Partitions[p] = kmsg.MetadataResponseTopicPartition{
			Partition: int32(p), Leader: b.cfg.NodeID, LeaderEpoch: l.LeaderEpoch(), Replicas: node, ISR: node, OfflineReplicas: []int32{},
		}
	}
	return topic
}

// Operations in Kafka's ACL numbering that a client without restrictions may do.
var (
	topicOperations   = []kmsg.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDelete, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs}
	clusterOperations = []kmsg.ACLOperation{kmsg.ACLOperationCreate, kmsg.ACLOperationClusterAction, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs, kmsg.ACLOperationIdempotentWrite, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe}
)

// allOperations is the bit field of operations.
func allOperations(operations []kmsg.ACLOperation) int32 {
	var bits int32
	for _, o := range operations {
		bits |= 1 << o
	}
	return bits
}
