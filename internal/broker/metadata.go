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

// firstMetadataByID is the first Metadata version that may ask by topic ID. The
// IDs stand in the answers, and the place for them in requests, from 10 on.
const firstMetadataByID = 12

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
	call := metadataCall{b: b, c: c, ask: ask, autoCreate: ask.AllowAutoTopicCreation && !b.cfg.DisableAutoCreate}
	call.collect()
	return call.run
}

// metadataCall is one Metadata request on its way.
type metadataCall struct {
	b          *Broker
	c          *conn
	ask        wire.MetadataRequest
	names      []string
	ids        []topicID // when there are any, names do not count (KIP-516)
	refused    bool      // a topic is asked for in no way that the version has
	autoCreate bool
}

// collect copies out of the frame, which ends with the handler, what is asked for.
func (call *metadataCall) collect() {
	for i, name := range call.ask.Topics {
		id := topicID{}
		if len(call.ask.IDs) > 0 {
			id = *call.ask.IDs[i]
		}
		byID := id != topicID{}
		if !byID && name == nil || (byID || name == nil) && call.ask.Version < firstMetadataByID {
			call.refused = true
		}
		call.names = append(call.names, string(name))
		if byID {
			call.ids = append(call.ids, id)
		}
	}
	call.ask.Topics, call.ask.IDs = nil, nil
	call.names, call.ids = distinct(call.names), distinct(call.ids)
	if len(call.ids) > 0 && !call.refused {
		call.names = nil
	}
}

// run is the reply.
func (call *metadataCall) run(ctx context.Context) (response, error) {
	b := call.b
	var topics []*topic
	var faults map[string]error
	switch {
	case call.refused:
		return b.largeAnswer(int64(len(call.names)+len(call.ids))*metadataTopicBytes, call.refusal)(ctx)
	case call.ask.AllTopics:
		topics = b.catalog.topics.all()
	case call.autoCreate:
		faults = b.createMissing(call.names)
	}
	for _, name := range call.names {
		if t := b.catalog.topics.named(name); t != nil {
			topics = append(topics, t)
		}
	}
	for _, id := range call.ids {
		if t := b.catalog.topics.identified(id); t != nil {
			topics = append(topics, t)
		}
	}
	return b.largeAnswer(metadataBytes(topics), func() wire.Response { return call.build(topics, faults) })(ctx)
}

// refusal answers everything that was asked for with INVALID_REQUEST.
func (call *metadataCall) refusal() wire.Response {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version, resp.AuthorizedOperations = call.ask.Version, notAsked
	refuse := func(name string, id topicID) {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID = &name, id
		topic.ErrorCode, topic.AuthorizedOperations = kerr.InvalidRequest.Code, notAsked
		resp.Topics = append(resp.Topics, topic)
	}
	for _, name := range call.names {
		if name != "" || len(call.ids) == 0 {
			refuse(name, topicID{})
		}
	}
	for _, id := range call.ids {
		refuse("", id)
	}
	return resp
}

const metadataTopicBytes = 512 // about what a topic without partitions takes, decoded and encoded

// metadataBytes is about what the answer holds, decoded and encoded.
func metadataBytes(topics []*topic) int64 {
	const perPartition = 160
	total := int64(0)
	for _, t := range topics {
		total += metadataTopicBytes + perPartition*int64(len(t.logs()))
	}
	return total
}

func (call *metadataCall) build(topics []*topic, faults map[string]error) wire.Response {
	b := call.b
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = call.ask.Version
	resp.Brokers = []kmsg.MetadataResponseBroker{b.brokerAsSeenBy(call.c)}
	resp.ClusterID = kmsg.StringPtr(b.ClusterID())
	resp.ControllerID = b.cfg.NodeID
	resp.AuthorizedOperations = notAsked
	if call.ask.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = allOperations(clusterOperations)
	}
	found := make(map[string]bool, len(topics))
	foundIDs := make(map[topicID]bool, len(call.ids))
	for _, t := range topics {
		found[string(t.name)], foundIDs[t.id] = true, true
		resp.Topics = append(resp.Topics, b.describeTopic(t, call.ask.IncludeTopicAuthorizedOperations))
	}
	for _, name := range call.names {
		if !found[name] {
			resp.Topics = append(resp.Topics, noTopic(name, faults[name]))
		}
	}
	for _, id := range call.ids {
		if !foundIDs[id] {
			resp.Topics = append(resp.Topics, noTopicID(id))
		}
	}
	return resp
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

// noTopic says why there is none of that name.
func noTopic(name string, fault error) kmsg.MetadataResponseTopic {
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

// noTopicID says that there is none of that ID.
func noTopicID(id topicID) kmsg.MetadataResponseTopic {
	topic := kmsg.NewMetadataResponseTopic()
	topic.TopicID, topic.ErrorCode = id, codeOf(errTopicIDUnknown)
	topic.AuthorizedOperations = notAsked
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
