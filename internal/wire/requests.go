package wire

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// requests writes down the shape of every request that can be read, after the
// message schemas of Apache Kafka 4.3.1 (clients/src/main/resources/common/message),
// up to the versions that both Kafka and kmsg have. Fields of other versions are
// left out. A test compares each field with those schemas, and each version with
// what kmsg writes. What the broker answers is fewer: see announced.
//
// TxnOffsetCommit stops at 5, although kmsg has a 6 that Kafka has not;
// InitProducerId stops at 5, because kmsg has no 6.
func requests() []request {
	return slices.Concat(dataRequests(), txnRequests(), adminRequests(), authRequests())
}

// dataRequests are those of producers, consumers and groups.
func dataRequests() []request {
	return []request{
		produceSchema(),
		fetchSchema(),
		listOffsetsSchema(),
		metadataSchema(),
		offsetCommitSchema(),
		offsetFetchSchema(),
		findCoordinatorSchema(),
		joinGroupSchema(),
		heartbeatSchema(),
		leaveGroupSchema(),
		syncGroupSchema(),
		describeGroupsSchema(),
		listGroupsSchema(),
		offsetForLeaderEpochSchema(),
		deleteGroupsSchema(),
		offsetDeleteSchema(),
	}
}

func produceSchema() request {
	return request{key: 0, min: 0, max: 13, flexible: 9, name: "Produce", fields: []field{
		str("TransactionalId").from(3).nullable(3),
		i16("Acks"),
		i32("TimeoutMs"),
		lean[ProduceTopic](structs[kmsg.ProduceRequestTopic]("TopicData",
			str("Name").until(12),
			uuid("TopicId").from(13),
			lean[ProducePartition](structs[kmsg.ProduceRequestTopicPartition]("PartitionData",
				i32("Index"),
				bytesOf("Records", "records").nullable(0),
			)),
		)),
	}}
}

func fetchSchema() request {
	return request{key: 1, min: 4, max: 18, flexible: 12, name: "Fetch", fields: []field{
		str("ClusterId").from(12).nullable(12).tagged(0),
		i32("ReplicaId").until(14),
		object[kmsg.FetchRequestReplicaState]("ReplicaState",
			i32("ReplicaId"),
			i64("ReplicaEpoch"),
		).from(15).tagged(fetchReplicaState),
		i32("MaxWaitMs"),
		i32("MinBytes"),
		i32("MaxBytes").from(3),
		i8("IsolationLevel").from(4),
		i32("SessionId").from(7),
		i32("SessionEpoch").from(7),
		lean[FetchTopic](structs[kmsg.FetchRequestTopic]("Topics",
			str("Topic").until(12),
			uuid("TopicId").from(13),
			lean[FetchPartition](structs[kmsg.FetchRequestTopicPartition]("Partitions",
				i32("Partition"),
				i32("CurrentLeaderEpoch").from(9),
				i64("FetchOffset"),
				i32("LastFetchedEpoch").from(12),
				i64("LogStartOffset").from(5),
				i32("PartitionMaxBytes"),
				uuid("ReplicaDirectoryId").from(17).tagged(0),
				i64("HighWatermark").from(18).tagged(1),
			)),
		)),
		lean[ForgottenTopic](structs[kmsg.FetchRequestForgottenTopic]("ForgottenTopicsData",
			str("Topic").until(12),
			uuid("TopicId").from(13),
			values("Partitions", i32("")),
		)).from(7),
		str("RackId").from(11),
	}}
}

func listOffsetsSchema() request {
	return request{key: 2, min: 1, max: 11, flexible: 6, name: "ListOffsets", fields: []field{
		i32("ReplicaId"),
		i8("IsolationLevel").from(2),
		structs[kmsg.ListOffsetsRequestTopic]("Topics",
			str("Name"),
			structs[kmsg.ListOffsetsRequestTopicPartition]("Partitions",
				i32("PartitionIndex"),
				i32("CurrentLeaderEpoch").from(4),
				i64("Timestamp"),
			),
		),
		i32("TimeoutMs").from(10),
	}}
}

func metadataSchema() request {
	return request{key: 3, min: 0, max: 13, flexible: 9, name: "Metadata", fields: []field{
		leanMore[*TopicID](metadataTopicIDs, lean[[]byte](structs[kmsg.MetadataRequestTopic]("Topics",
			uuid("TopicId").from(metadataTopicIDs),
			str("Name").pointer().nullable(10),
		))).nullable(1),
		boolean("AllowAutoTopicCreation").from(4),
		boolean("IncludeClusterAuthorizedOperations").from(8).until(10),
		boolean("IncludeTopicAuthorizedOperations").from(8),
	}}
}

func offsetCommitSchema() request {
	return request{key: 8, min: 2, max: 10, flexible: 8, name: "OffsetCommit", fields: []field{
		str("GroupId"),
		i32("GenerationIdOrMemberEpoch").from(1),
		str("MemberId").from(1),
		str("GroupInstanceId").from(7).nullable(7),
		i64("RetentionTimeMs").from(2).until(4),
		structs[kmsg.OffsetCommitRequestTopic]("Topics",
			str("Name").until(9),
			uuid("TopicId").from(10),
			structs[kmsg.OffsetCommitRequestTopicPartition]("Partitions",
				i32("PartitionIndex"),
				i64("CommittedOffset"),
				i32("CommittedLeaderEpoch").from(6),
				str("CommittedMetadata").nullable(0),
			),
		),
	}}
}

func offsetFetchSchema() request {
	return request{key: 9, min: 1, max: 10, flexible: 6, name: "OffsetFetch", fields: []field{
		str("GroupId").until(7),
		structs[kmsg.OffsetFetchRequestTopic]("Topics",
			str("Name"),
			values("PartitionIndexes", i32("")),
		).until(7).nullable(2),
		structs[kmsg.OffsetFetchRequestGroup]("Groups",
			str("GroupId"),
			str("MemberId").from(9).nullable(9),
			i32("MemberEpoch").from(9),
			structs[kmsg.OffsetFetchRequestGroupTopic]("Topics",
				str("Name").until(9),
				uuid("TopicId").from(10),
				values("PartitionIndexes", i32("")),
			).nullable(8),
		).from(8),
		boolean("RequireStable").from(7),
	}}
}

func findCoordinatorSchema() request {
	return request{key: 10, min: 0, max: 6, flexible: 3, name: "FindCoordinator", fields: []field{
		str("Key").until(3),
		i8("KeyType").from(1),
		values("CoordinatorKeys", str("")).from(4),
	}}
}

func joinGroupSchema() request {
	return request{key: 11, min: 0, max: 9, flexible: 6, name: "JoinGroup", fields: []field{
		str("GroupId"),
		i32("SessionTimeoutMs"),
		i32("RebalanceTimeoutMs").from(1),
		str("MemberId"),
		str("GroupInstanceId").from(5).nullable(5),
		str("ProtocolType"),
		structs[kmsg.JoinGroupRequestProtocol]("Protocols",
			str("Name"),
			bytesOf("Metadata", "bytes"),
		),
		str("Reason").from(8).nullable(8),
	}}
}

func heartbeatSchema() request {
	return request{key: 12, min: 0, max: 4, flexible: 4, name: "Heartbeat", fields: []field{
		str("GroupId"),
		i32("GenerationId"),
		str("MemberId"),
		str("GroupInstanceId").from(3).nullable(3),
	}}
}

func leaveGroupSchema() request {
	return request{key: 13, min: 0, max: 5, flexible: 4, name: "LeaveGroup", fields: []field{
		str("GroupId"),
		str("MemberId").until(2),
		structs[kmsg.LeaveGroupRequestMember]("Members",
			str("MemberId"),
			str("GroupInstanceId").nullable(3),
			str("Reason").from(5).nullable(5),
		).from(3),
	}}
}

func syncGroupSchema() request {
	return request{key: 14, min: 0, max: 5, flexible: 4, name: "SyncGroup", fields: []field{
		str("GroupId"),
		i32("GenerationId"),
		str("MemberId"),
		str("GroupInstanceId").from(3).nullable(3),
		str("ProtocolType").from(5).nullable(5),
		str("ProtocolName").from(5).nullable(5),
		structs[kmsg.SyncGroupRequestGroupAssignment]("Assignments",
			str("MemberId"),
			bytesOf("Assignment", "bytes"),
		),
	}}
}

func describeGroupsSchema() request {
	return request{key: 15, min: 0, max: 6, flexible: 5, name: "DescribeGroups", fields: []field{
		values("Groups", str("")),
		boolean("IncludeAuthorizedOperations").from(3),
	}}
}

func listGroupsSchema() request {
	return request{key: 16, min: 0, max: 5, flexible: 3, name: "ListGroups", fields: []field{
		values("StatesFilter", str("")).from(4),
		values("TypesFilter", str("")).from(5),
	}}
}

func offsetForLeaderEpochSchema() request {
	return request{key: 23, min: 2, max: 4, flexible: 4, name: "OffsetForLeaderEpoch", fields: []field{
		i32("ReplicaId").from(3),
		structs[kmsg.OffsetForLeaderEpochRequestTopic]("Topics",
			str("Topic"),
			structs[kmsg.OffsetForLeaderEpochRequestTopicPartition]("Partitions",
				i32("Partition"),
				i32("CurrentLeaderEpoch").from(2),
				i32("LeaderEpoch"),
			),
		),
	}}
}

func deleteGroupsSchema() request {
	return request{key: 42, min: 0, max: 2, flexible: 2, name: "DeleteGroups", fields: []field{
		values("GroupsNames", str("")),
	}}
}

func offsetDeleteSchema() request {
	return request{key: 47, min: 0, max: 0, flexible: never, name: "OffsetDelete", fields: []field{
		str("GroupId"),
		structs[kmsg.OffsetDeleteRequestTopic]("Topics",
			str("Name"),
			structs[kmsg.OffsetDeleteRequestTopicPartition]("Partitions",
				i32("PartitionIndex"),
			),
		),
	}}
}
