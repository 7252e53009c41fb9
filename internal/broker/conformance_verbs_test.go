package broker_test

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The verbs of the conformance scripts: each sends one request about one thing.

// patience bounds the waits for what a real Kafka does behind its answers.
const patience = 15 * time.Second

func createTopic(s *session, name string, partitions int32) {
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, topic)
	if do[*kmsg.CreateTopicsResponse](s, 4, req).Topics[0].ErrorCode == 0 {
		settle(s, name, partitions)
	}
}

func deleteTopic(s *session, name string) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{name}
	if do[*kmsg.DeleteTopicsResponse](s, 4, req).Topics[0].ErrorCode == 0 {
		settle(s, name, 0)
	}
}

func createPartitions(s *session, name string, count int32) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	topic := kmsg.NewCreatePartitionsRequestTopic()
	topic.Topic, topic.Count = name, count
	req.Topics = append(req.Topics, topic)
	if do[*kmsg.CreatePartitionsResponse](s, 2, req).Topics[0].ErrorCode == 0 {
		settle(s, name, count)
	}
}

// settle waits until the broker itself has seen the topic's new partition
// count: a real Kafka answers before its brokers have. Ours needs one look.
func settle(s *session, name string, partitions int32) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		topic := kmsg.NewListOffsetsRequestTopic()
		topic.Topic = name
		for i := range max(partitions, 1) {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = i, -1, -1
			topic.Partitions = append(topic.Partitions, p)
		}
		req.Topics = append(req.Topics, topic)
		settled := true
		for _, p := range send[*kmsg.ListOffsetsResponse](s, 7, req).Topics[0].Partitions {
			settled = settled && (p.ErrorCode == 0) == (partitions > 0) && p.ErrorCode != kerr.NotLeaderForPartition.Code
		}
		if settled {
			return
		}
	}
	s.t.Fatalf("topic %s never reached %d partitions", name, partitions)
}

// findCoordinator waits until the broker coordinates the group.
func findCoordinator(s *session, group string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = group
		probe := kmsg.NewPtrOffsetFetchRequest()
		probe.Group = group
		if send[*kmsg.FindCoordinatorResponse](s, 2, req).ErrorCode != 0 {
			continue
		}
		switch kerr.ErrorForCode(send[*kmsg.OffsetFetchResponse](s, 5, probe).ErrorCode) {
		case kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable:
		default:
			return
		}
	}
	s.t.Fatalf("group %s never had a coordinator", group)
}

func metadata(s *session, create bool, names ...string) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = create
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	do[*kmsg.MetadataResponse](s, 8, req)
}

func produce(s *session, acks int16, name string, partition int32, b batchSpec) int16 {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 5000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, b.bytes()
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.ProduceRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	resp := do[*kmsg.ProduceResponse](s, 7, req)
	return resp.Topics[0].Partitions[0].ErrorCode
}

func fetch(s *session, name string, partition int32, offset int64) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.ReplicaID = 0, 1, 1<<20, -1
	req.SessionEpoch = -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.FetchRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	resp := send[*kmsg.FetchResponse](s, 11, req)
	readOn(s, req, resp)
	s.record(req, 11, resp)
}

func listOffsets(s *session, name string, partition int32, at int64) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, at, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.ListOffsetsRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.ListOffsetsResponse](s, 7, req)
}

func deleteRecords(s *session, name string, partition int32, before int64) {
	req := kmsg.NewPtrDeleteRecordsRequest()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, before
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.DeleteRecordsRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.DeleteRecordsResponse](s, 1, req)
}

func initProducer(s *session) (id int64, epoch int16) {
	// A real Kafka may not have its first block of ids yet.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if send[*kmsg.InitProducerIDResponse](s, 3, kmsg.NewPtrInitProducerIDRequest()).ErrorCode == 0 {
			break
		}
	}
	resp := do[*kmsg.InitProducerIDResponse](s, 3, kmsg.NewPtrInitProducerIDRequest())
	return resp.ProducerID, resp.ProducerEpoch
}

func epochEnd(s *session, name string, partition, epoch int32) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.LeaderEpoch, p.CurrentLeaderEpoch = partition, epoch, -1
	topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetForLeaderEpochResponse](s, 3, req)
}

func offsetCommit(s *session, group string, generation int32, member, name string, partition int32, offset int64) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.MemberID = group, generation, member
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = partition, offset, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetCommitResponse](s, 7, req)
}

func offsetFetch(s *session, group, name string, partition int32) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = name, []int32{partition}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetFetchResponse](s, 5, req)
}

func offsetFetchAll(s *session, group string) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group, req.Topics = group, nil
	do[*kmsg.OffsetFetchResponse](s, 5, req)
}

func offsetDelete(s *session, group, name string, partition int32) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	p := kmsg.NewOffsetDeleteRequestTopicPartition()
	p.Partition = partition
	topic := kmsg.NewOffsetDeleteRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.OffsetDeleteRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetDeleteResponse](s, 0, req)
}

// joinNew joins the group as its only member, by way of MEMBER_ID_REQUIRED.
func joinNew(s *session, group string) (member string) {
	first := joinAs(s, group, "")
	joinAs(s, group, first.MemberID)
	return first.MemberID
}

func joinAs(s *session, group, member string) *kmsg.JoinGroupResponse {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	req.Protocols = append(req.Protocols, protocol)
	return do[*kmsg.JoinGroupResponse](s, 5, req)
}

func syncGroup(s *session, group string, generation int32, member string, leader bool) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.Generation, req.MemberID = group, generation, member
	if leader {
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID, assignment.MemberAssignment = member, []byte("assigned")
		req.GroupAssignment = append(req.GroupAssignment, assignment)
	}
	do[*kmsg.SyncGroupResponse](s, 3, req)
}

func heartbeat(s *session, group string, generation int32, member string) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.Generation, req.MemberID = group, generation, member
	do[*kmsg.HeartbeatResponse](s, 3, req)
}

func leave(s *session, group, member string) {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = group, member
	do[*kmsg.LeaveGroupResponse](s, 1, req)
}

func describeGroup(s *session, group string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	do[*kmsg.DescribeGroupsResponse](s, 4, req)
}

func listGroups(s *session) {
	do[*kmsg.ListGroupsResponse](s, 4, kmsg.NewPtrListGroupsRequest())
}

func deleteGroup(s *session, group string) {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = []string{group}
	do[*kmsg.DeleteGroupsResponse](s, 1, req)
}

func alter(s *session, topic, name, value string) {
	alterOp(s, topic, name, &value, kmsg.IncrementalAlterConfigOpSet)
}

func unset(s *session, topic, name string) {
	alterOp(s, topic, name, nil, kmsg.IncrementalAlterConfigOpDelete)
}

func alterOp(s *session, topic, name string, value *string, op kmsg.IncrementalAlterConfigOp) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value, config.Op = name, value, op
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	do[*kmsg.IncrementalAlterConfigsResponse](s, 1, req)
}

func describe(s *session, topic, name string) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
	req.Resources = append(req.Resources, resource)
	do[*kmsg.DescribeConfigsResponse](s, 2, req)
}
