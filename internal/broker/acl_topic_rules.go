package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
	"millrace/internal/wire"
)

var topicDenied = kerr.TopicAuthorizationFailed.Code

// topicRules are those of requests about topics.
func topicRules() map[kmsg.Key]rule {
	return map[kmsg.Key]rule{
		kmsg.Metadata:                mayMetadata,
		kmsg.ListOffsets:             ruled(mayListOffsets),
		kmsg.CreateTopics:            ruled(mayCreateTopics),
		kmsg.DeleteTopics:            ruled(mayDeleteTopics),
		kmsg.CreatePartitions:        ruled(mayCreatePartitions),
		kmsg.DeleteRecords:           ruled(mayDeleteRecords),
		kmsg.OffsetForLeaderEpoch:    ruled(mayOffsetForLeaderEpoch),
		kmsg.DescribeTopicPartitions: ruled(mayDescribeTopicPartitions),
	}
}

func (c *conn) mayTopic(o auth.Operation, name string) bool { return c.may(o, auth.Topic, name) }

// mayMetadata keeps out of the request what the client may not describe, or not
// make, and out of the answer what was not asked for by name. The request goes
// on with other bytes: its handler reads them itself.
func mayMetadata(c *conn, req *request, v *verdict) {
	body, err := wire.Decode(req.Header, req.body)
	if err != nil {
		c.end = err
		v.instead = unsaid{}
		return
	}
	ask := body.(*kmsg.MetadataRequest)
	if ask.Topics == nil || len(ask.Topics) == 0 && ask.Version == 0 {
		amend(v, func(resp *kmsg.MetadataResponse) { resp.Topics = c.describable(resp.Topics) })
	} else {
		var denied []kmsg.MetadataRequestTopic
		ask.Topics, denied = part(ask.Topics, func(t kmsg.MetadataRequestTopic) bool { return c.mayAskFor(ask, t) })
		if ask.Version == 0 && len(ask.Topics) == 0 { // none would mean all
			ask.Topics = append(ask.Topics, kmsg.MetadataRequestTopic{Topic: new(string)})
			amend(v, func(resp *kmsg.MetadataResponse) { resp.Topics = nil })
		}
		amend(v, func(resp *kmsg.MetadataResponse) { resp.Topics = append(resp.Topics, deniedTopics(denied)...) })
	}
	amend(v, func(resp *kmsg.MetadataResponse) { c.tellOperations(ask, resp) })
	req.body = ask.AppendTo(nil)
}

// unsaid is the answer to a request that cannot be read: the connection ends.
type unsaid struct{}

func (unsaid) Key() int16 { return metadataKey }

func (unsaid) writeFrame(*conn, int32) error { return nil }

// mayAskFor reports whether the client may hear of the topic, and have it made
// if it is not there yet.
func (c *conn) mayAskFor(ask *kmsg.MetadataRequest, asked kmsg.MetadataRequestTopic) bool {
	t := c.b.catalog.topics.identified(asked.TopicID)
	name := orEmpty(asked.Topic)
	switch {
	case t != nil:
		name = string(t.name)
	case topicID(asked.TopicID) != topicID{}:
		return true // there is none of that ID, as the handler will say
	}
	if !c.mayTopic(auth.Describe, name) {
		return false
	}
	makes := (ask.Version < 4 || ask.AllowAutoTopicCreation) && !c.b.cfg.DisableAutoCreate
	return !makes || t != nil || c.b.catalog.topics.named(name) != nil || c.mayCreate(name)
}

// mayCreate reports whether the client may make the topic.
func (c *conn) mayCreate(name string) bool {
	return c.mayCluster(auth.Create) || c.mayTopic(auth.Create, name)
}

func (c *conn) describable(topics []kmsg.MetadataResponseTopic) []kmsg.MetadataResponseTopic {
	kept, _ := part(topics, func(t kmsg.MetadataResponseTopic) bool { return c.mayTopic(auth.Describe, orEmpty(t.Topic)) })
	return kept
}

// deniedTopics says no; to an ID without the topic's name.
func deniedTopics(asked []kmsg.MetadataRequestTopic) []kmsg.MetadataResponseTopic {
	var topics []kmsg.MetadataResponseTopic
	for _, a := range asked {
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.ErrorCode, t.AuthorizedOperations = a.Topic, topicDenied, notAsked
		if t.TopicID = a.TopicID; topicID(a.TopicID) != (topicID{}) {
			t.Topic = nil
		}
		topics = append(topics, t)
	}
	return topics
}

func (c *conn) tellOperations(ask *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	if ask.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = c.clusterOperations()
	}
	if !ask.IncludeTopicAuthorizedOperations {
		return
	}
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.ErrorCode == 0 {
			t.AuthorizedOperations = c.operations(topicOperations, auth.Topic, orEmpty(t.Topic))
		}
	}
}

func mayListOffsets(c *conn, req *kmsg.ListOffsetsRequest, v *verdict) {
	var denied []kmsg.ListOffsetsRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.ListOffsetsRequestTopic) bool { return c.mayTopic(auth.Describe, t.Topic) })
	amend(v, func(resp *kmsg.ListOffsetsResponse) {
		for _, t := range denied {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, topicDenied
				rp.Offset, rp.Timestamp, rp.LeaderEpoch = -1, -1, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

func mayOffsetForLeaderEpoch(c *conn, req *kmsg.OffsetForLeaderEpochRequest, v *verdict) {
	var denied []kmsg.OffsetForLeaderEpochRequestTopic
	replica := c.mayCluster(auth.ClusterAction) // who asks for all topics
	req.Topics, denied = part(req.Topics, func(t kmsg.OffsetForLeaderEpochRequestTopic) bool {
		return replica || c.mayTopic(auth.Describe, t.Topic)
	})
	amend(v, func(resp *kmsg.OffsetForLeaderEpochResponse) {
		for _, t := range denied {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.LeaderEpoch, rp.EndOffset = p.Partition, topicDenied, -1, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

func mayCreateTopics(c *conn, req *kmsg.CreateTopicsRequest, v *verdict) {
	var denied []kmsg.CreateTopicsRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.CreateTopicsRequestTopic) bool { return c.mayCreate(t.Topic) })
	amend(v, func(resp *kmsg.CreateTopicsResponse) {
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 && !c.mayTopic(auth.DescribeConfigs, t.Topic) {
				t.Configs, t.NumPartitions, t.ReplicationFactor, t.ConfigErrorCode = nil, -1, -1, topicDenied
			}
		}
		for _, t := range denied {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, topicDenied, textOf(errTopicDenied)
			rt.NumPartitions, rt.ReplicationFactor = -1, -1
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

func mayDeleteTopics(c *conn, req *kmsg.DeleteTopicsRequest, v *verdict) {
	var denied []kmsg.DeleteTopicsResponseTopic
	refuse := func(name *string, id topicID) {
		r := kmsg.NewDeleteTopicsResponseTopic()
		r.Topic, r.TopicID, r.ErrorCode, r.ErrorMessage = name, id, topicDenied, textOf(errTopicDenied)
		denied = append(denied, r)
	}
	all := c.mayCluster(auth.Delete)
	may := func(name string) bool { return all || c.mayTopic(auth.Delete, name) }
	names, deniedNames := part(req.TopicNames, may)
	topics, deniedTopics := part(req.Topics, func(t kmsg.DeleteTopicsRequestTopic) bool {
		if known := c.b.catalog.topics.identified(t.TopicID); known != nil {
			return may(string(known.name))
		}
		return topicID(t.TopicID) != topicID{} || may(orEmpty(t.Topic))
	})
	req.TopicNames, req.Topics = names, topics
	for _, name := range deniedNames {
		refuse(&name, topicID{})
	}
	for _, t := range deniedTopics {
		refuse(t.Topic, t.TopicID)
	}
	amend(v, func(resp *kmsg.DeleteTopicsResponse) { resp.Topics = append(resp.Topics, denied...) })
}

func mayCreatePartitions(c *conn, req *kmsg.CreatePartitionsRequest, v *verdict) {
	var denied []kmsg.CreatePartitionsRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.CreatePartitionsRequestTopic) bool { return c.mayTopic(auth.Alter, t.Topic) })
	amend(v, func(resp *kmsg.CreatePartitionsResponse) {
		for _, t := range denied {
			rt := kmsg.NewCreatePartitionsResponseTopic()
			rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.Topic, topicDenied, textOf(errTopicDenied)
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

func mayDeleteRecords(c *conn, req *kmsg.DeleteRecordsRequest, v *verdict) {
	var denied []kmsg.DeleteRecordsRequestTopic
	req.Topics, denied = part(req.Topics, func(t kmsg.DeleteRecordsRequestTopic) bool { return c.mayTopic(auth.Delete, t.Topic) })
	amend(v, func(resp *kmsg.DeleteRecordsResponse) {
		for _, t := range denied {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.LowWatermark, rp.ErrorCode = p.Partition, -1, topicDenied
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
	})
}

// mayDescribeTopicPartitions names the topics that the client may describe where
// it asks for all, so that the pages, and where the next one begins, are of these.
func mayDescribeTopicPartitions(c *conn, req *kmsg.DescribeTopicPartitionsRequest, v *verdict) {
	if len(req.Topics) > 0 {
		mayDescribeNamedPartitions(c, req, v)
	} else if req.Topics = c.describableTopics(); len(req.Topics) == 0 {
		v.instead = req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
		return
	}
	amend(v, func(resp *kmsg.DescribeTopicPartitionsResponse) {
		for i := range resp.Topics {
			if t := &resp.Topics[i]; t.ErrorCode == 0 {
				t.AuthorizedOperations = c.operations(topicOperations, auth.Topic, orEmpty(t.Topic))
			}
		}
	})
}

func (c *conn) describableTopics() (names []kmsg.DescribeTopicPartitionsRequestTopic) {
	for _, name := range topicNames(c.b.catalog.topics.all()) {
		if c.mayTopic(auth.Describe, name) {
			names = append(names, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
	}
	return names
}

func mayDescribeNamedPartitions(c *conn, req *kmsg.DescribeTopicPartitionsRequest, v *verdict) {
	kept, denied := part(req.Topics, func(t kmsg.DescribeTopicPartitionsRequestTopic) bool { return c.mayTopic(auth.Describe, t.Topic) })
	refusals := func(resp *kmsg.DescribeTopicPartitionsResponse) {
		for _, t := range denied {
			rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
			rt.Topic, rt.ErrorCode, rt.AuthorizedOperations = &t.Topic, topicDenied, notAsked
			resp.Topics = append(resp.Topics, rt)
		}
	}
	if req.Topics = kept; len(kept) > 0 {
		amend(v, refusals)
		return
	}
	resp := req.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	refusals(resp)
	v.instead = resp
}
