package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// adminRequests are those about topics, configuration and the cluster.
func adminRequests() []request {
	return []request{
		apiVersionsSchema(),
		createTopicsSchema(),
		deleteTopicsSchema(),
		deleteRecordsSchema(),
		createPartitionsSchema(),
		describeConfigsSchema(),
		alterConfigsSchema(),
		incrementalAlterConfigsSchema(),
		describeLogDirsSchema(),
		describeClusterSchema(),
		describeTopicPartitionsSchema(),
	}
}

func apiVersionsSchema() request {
	return request{key: 18, min: 0, max: 4, flexible: 3, name: "ApiVersions", fields: []field{
		str("ClientSoftwareName").from(3),
		str("ClientSoftwareVersion").from(3),
	}}
}

func createTopicsSchema() request {
	return request{key: 19, min: 2, max: 7, flexible: 5, name: "CreateTopics", fields: []field{
		structs[kmsg.CreateTopicsRequestTopic]("Topics",
			str("Name"),
			i32("NumPartitions"),
			i16("ReplicationFactor"),
			structs[kmsg.CreateTopicsRequestTopicReplicaAssignment]("Assignments",
				i32("PartitionIndex"),
				values("BrokerIds", i32("")),
			),
			structs[kmsg.CreateTopicsRequestTopicConfig]("Configs",
				str("Name"),
				str("Value").nullable(0),
			),
		),
		i32("timeoutMs"),
		boolean("validateOnly").from(1),
	}}
}

func deleteTopicsSchema() request {
	return request{key: 20, min: 1, max: 6, flexible: 4, name: "DeleteTopics", fields: []field{
		structs[kmsg.DeleteTopicsRequestTopic]("Topics",
			str("Name").nullable(6),
			uuid("TopicId"),
		).from(6),
		values("TopicNames", str("")).until(5),
		i32("TimeoutMs"),
	}}
}

func deleteRecordsSchema() request {
	return request{key: 21, min: 0, max: 2, flexible: 2, name: "DeleteRecords", fields: []field{
		structs[kmsg.DeleteRecordsRequestTopic]("Topics",
			str("Name"),
			structs[kmsg.DeleteRecordsRequestTopicPartition]("Partitions",
				i32("PartitionIndex"),
				i64("Offset"),
			),
		),
		i32("TimeoutMs"),
	}}
}

func createPartitionsSchema() request {
	return request{key: 37, min: 0, max: 3, flexible: 2, name: "CreatePartitions", fields: []field{
		structs[kmsg.CreatePartitionsRequestTopic]("Topics",
			str("Name"),
			i32("Count"),
			structs[kmsg.CreatePartitionsRequestTopicAssignment]("Assignments",
				values("BrokerIds", i32("")),
			).nullable(0),
		),
		i32("TimeoutMs"),
		boolean("ValidateOnly"),
	}}
}

func describeConfigsSchema() request {
	return request{key: 32, min: 1, max: 4, flexible: 4, name: "DescribeConfigs", fields: []field{
		structs[kmsg.DescribeConfigsRequestResource]("Resources",
			i8("ResourceType"),
			str("ResourceName"),
			values("ConfigurationKeys", str("")).nullable(0),
		),
		boolean("IncludeSynonyms").from(1),
		boolean("IncludeDocumentation").from(3),
	}}
}

func alterConfigsSchema() request {
	return request{key: 33, min: 0, max: 2, flexible: 2, name: "AlterConfigs", fields: []field{
		structs[kmsg.AlterConfigsRequestResource]("Resources",
			i8("ResourceType"),
			str("ResourceName"),
			structs[kmsg.AlterConfigsRequestResourceConfig]("Configs",
				str("Name"),
				str("Value").nullable(0),
			),
		),
		boolean("ValidateOnly"),
	}}
}

func incrementalAlterConfigsSchema() request {
	return request{key: 44, min: 0, max: 1, flexible: 1, name: "IncrementalAlterConfigs", fields: []field{
		structs[kmsg.IncrementalAlterConfigsRequestResource]("Resources",
			i8("ResourceType"),
			str("ResourceName"),
			structs[kmsg.IncrementalAlterConfigsRequestResourceConfig]("Configs",
				str("Name"),
				i8("ConfigOperation"),
				str("Value").nullable(0),
			),
		),
		boolean("ValidateOnly"),
	}}
}

func describeLogDirsSchema() request {
	return request{key: 35, min: 1, max: 5, flexible: 2, name: "DescribeLogDirs", fields: []field{
		structs[kmsg.DescribeLogDirsRequestTopic]("Topics",
			str("Topic"),
			values("Partitions", i32("")),
		).nullable(0),
	}}
}

func describeClusterSchema() request {
	return request{key: 60, min: 0, max: 2, flexible: 0, name: "DescribeCluster", fields: []field{
		boolean("IncludeClusterAuthorizedOperations"),
		i8("EndpointType").from(1),
		boolean("IncludeFencedBrokers").from(2),
	}}
}

func describeTopicPartitionsSchema() request {
	return request{key: 75, min: 0, max: 0, flexible: 0, name: "DescribeTopicPartitions", fields: []field{
		structs[kmsg.DescribeTopicPartitionsRequestTopic]("Topics",
			str("Name"),
		),
		i32("ResponsePartitionLimit"),
		object[kmsg.DescribeTopicPartitionsRequestCursor]("Cursor",
			str("TopicName"),
			i32("PartitionIndex"),
		).nullable(0),
	}}
}
