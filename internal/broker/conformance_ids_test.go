package broker_test

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// noSuchTopic is the ID of no topic.
var noSuchTopic = [16]byte{0xde, 0xad, 6: 0x40, 8: 0x80, 15: 1}

// idScripts tell of topics by their IDs, and of the last versions of requests.
var idScripts = []script{
	{"topic IDs", func(s *session) {
		createTopic(s, "a", 2)
		id := learn(s, "a", "<a>")
		metadataOfIDs(s, 12, id)
		metadataOfIDs(s, 13, id, noSuchTopic)
		metadataOfIDs(s, 10, id)
		metadataV(s, 12, "a", "missing")
		produceV(s, 10, "a", 0, plain("one"))
		produceV(s, 11, "a", 0, plain("two"))
		produceByID(s, id, 0, plain("three"))
		produceByID(s, id, 9, plain("nowhere"))
		produceByID(s, noSuchTopic, 0, plain("nowhere"))
		for _, version := range []int16{13, 14, 15, 16, 17, 18} {
			fetchByID(s, version, id, 0, 0)
		}
		fetchByID(s, 13, id, 7, 0)
		fetchByID(s, 13, noSuchTopic, 0, 0)
		fetchByID(s, 18, id, 0, 99)
		deleteTopic(s, "a")
		fetchByID(s, 13, id, 0, 0)
		metadataOfIDs(s, 12, id)
		createTopic(s, "a", 1)
		again := learn(s, "a", "<a again>")
		fetchByID(s, 13, id, 0, 0)
		produceByID(s, id, 0, plain("to the deleted one"))
		fetchByID(s, 13, again, 0, 0)
		metadataOfIDs(s, 12, id, again)
	}},
	{"offsets by topic ID", func(s *session) {
		createTopic(s, "a", 2)
		id := learn(s, "a", "<a>")
		offsetCommitByID(s, "g", id, 0, 7)
		offsetCommitByID(s, "g", noSuchTopic, 0, 7)
		offsetCommitByID(s, "g", id, 5, 7)
		offsetFetchByID(s, "g", id, 0, 1)
		offsetFetchByID(s, "g", noSuchTopic, 0)
		offsetFetchByID(s, "g", [16]byte{})
		offsetFetch(s, "g", "a", 0)
	}},
	{"delete topics by ID", func(s *session) {
		createTopic(s, "a", 1)
		createTopic(s, "b", 1)
		a, b := learn(s, "a", "<a>"), learn(s, "b", "<b>")
		name := "b"
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{TopicID: noSuchTopic})
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{TopicID: b, Topic: &name})
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{})
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{TopicID: a})
		settle(s, "a", 0)
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		settle(s, "b", 0)
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{Topic: &name})
	}},
	{"pages of topics", func(s *session) {
		createTopic(s, "a", 3)
		createTopic(s, "b", 2)
		learn(s, "a", "<a>")
		learn(s, "b", "<b>")
		describePartitions(s, 100, "", 0, "a", "b", "missing")
		describePartitions(s, 2, "", 0, "b", "a")
		describePartitions(s, 2, "a", 2, "b", "a")
		describePartitions(s, 3, "a", 0, "a", "b")
		describePartitions(s, 3, "b", 0, "a", "b")
		describePartitions(s, 0, "", 0, "a")
		describePartitions(s, 100, "a", 99, "a")
	}},
	{"offsets of tiered storage", func(s *session) {
		createTopic(s, "a", 1)
		listOffsetsV(s, 8, "a", -4)
		listOffsetsV(s, 9, "a", -5)
		produce(s, -1, "a", 0, plain("one"))
		deleteRecords(s, "a", 0, 1)
		listOffsetsV(s, 7, "a", -4)
		listOffsetsV(s, 8, "a", -4)
		listOffsetsV(s, 8, "a", -5)
		listOffsetsV(s, 9, "a", -5)
		listOffsetsV(s, 10, "a", -4)
		listOffsetsV(s, 10, "a", -1)
	}},
	{"newer group requests", func(s *session) {
		createTopic(s, "a", 1)
		describeGroupV6(s, "none")
		offsetCommit(s, "g", -1, "", "a", 0, 7)
		describeGroupV6(s, "g")
		listGroupsV5(s, nil, nil)
		listGroupsV5(s, nil, []string{"classic"})
		listGroupsV5(s, nil, []string{"Classic"})
		listGroupsV5(s, nil, []string{"consumer"})
		listGroupsV5(s, []string{"empty"}, []string{"classic"})
		listGroupsV5(s, []string{"Stable"}, nil)
		for _, version := range []int16{5, 6} {
			coordinators(s, version, 0, "g", "h")
		}
	}},
}

// kafkaScripts are what only a real Kafka can be asked.
var kafkaScripts = []script{
	{"the same topic twice", func(s *session) {
		createTopic(s, "a", 1)
		createTopic(s, "b", 1)
		a, b := "a", "b"
		id := learn(s, "a", "<a>")
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{Topic: &a}, kmsg.DeleteTopicsRequestTopic{Topic: &b}, kmsg.DeleteTopicsRequestTopic{Topic: &a})
		settle(s, "b", 0)
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{TopicID: id}, kmsg.DeleteTopicsRequestTopic{TopicID: id})
		deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{TopicID: id}, kmsg.DeleteTopicsRequestTopic{Topic: &a})
		metadataV(s, 12, "a")
	}},
	{"the last version of ListOffsets", func(s *session) {
		createTopic(s, "a", 1)
		produce(s, -1, "a", 0, plain("one"))
		for _, at := range []int64{-1, -2, -3, -4, -5, -6, -7} {
			listOffsetsV(s, 11, "a", at)
		}
		listOffsetsV(s, 10, "a", -6)
	}},
	{"metadata of nobody", func(s *session) {
		metadataOfIDs(s, 13, [16]byte{})
	}},
	{"a page from nowhere", func(s *session) {
		createTopic(s, "a", 1)
		learn(s, "a", "<a>")
		describePartitions(s, 10, "a", -1, "a")
	}},
	{"groups of unknown types", func(s *session) {
		listGroupsV5(s, nil, []string{"bogus"})
	}},
}

func metadataOfIDs(s *session, version int16, ids ...[16]byte) {
	req := kmsg.NewPtrMetadataRequest()
	for _, id := range ids {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: id})
	}
	do[*kmsg.MetadataResponse](s, version, req)
}

func metadataV(s *session, version int16, names ...string) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(name)})
	}
	do[*kmsg.MetadataResponse](s, version, req)
}

func produceV(s *session, version int16, name string, partition int32, b batchSpec) {
	do[*kmsg.ProduceResponse](s, version, produceRequest(-1, name, partition, b.bytes()))
}

func produceByID(s *session, id [16]byte, partition int32, b batchSpec) {
	req := produceRequest(-1, "", partition, b.bytes())
	req.Topics[0].TopicID = id
	do[*kmsg.ProduceResponse](s, 13, req)
}

func fetchByID(s *session, version int16, id [16]byte, partition int32, offset int64) {
	req := fetchAsk("", partition, offset)
	req.Topics[0].TopicID = id
	do[*kmsg.FetchResponse](s, version, req)
}

func offsetCommitByID(s *session, group string, id [16]byte, partition int32, offset int64) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = partition, offset, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.TopicID, topic.Partitions = id, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.OffsetCommitResponse](s, 10, req)
}

// offsetFetchByID asks for everything when it is given no partitions.
func offsetFetchByID(s *session, group string, id [16]byte, partitions ...int32) {
	req := kmsg.NewPtrOffsetFetchRequest()
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	if len(partitions) > 0 {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{TopicID: id, Partitions: partitions}}
	}
	req.Groups = append(req.Groups, g)
	do[*kmsg.OffsetFetchResponse](s, 10, req)
}

func deleteTopicsV6(s *session, topics ...kmsg.DeleteTopicsRequestTopic) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = topics
	do[*kmsg.DeleteTopicsResponse](s, 6, req)
}

func describePartitions(s *session, limit int32, cursor string, from int32, topics ...string) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = limit
	if cursor != "" {
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: cursor, Partition: from}
	}
	for _, name := range topics {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	do[*kmsg.DescribeTopicPartitionsResponse](s, 0, req)
}

func listOffsetsV(s *session, version int16, name string, at int64) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = at, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic, topic.Partitions = name, []kmsg.ListOffsetsRequestTopicPartition{p}
	req.Topics = append(req.Topics, topic)
	do[*kmsg.ListOffsetsResponse](s, version, req)
}

func describeGroupV6(s *session, group string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	do[*kmsg.DescribeGroupsResponse](s, 6, req)
}

func listGroupsV5(s *session, states, types []string) {
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, types
	do[*kmsg.ListGroupsResponse](s, 5, req)
}

func coordinators(s *session, version int16, kind int8, keys ...string) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKeys = kind, keys
	do[*kmsg.FindCoordinatorResponse](s, version, req)
}
