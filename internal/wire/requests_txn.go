package wire

import "github.com/twmb/franz-go/pkg/kmsg"

// txnRequests are those of idempotent and transactional producers, and of who
// looks after them.
func txnRequests() []request {
	return []request{
		initProducerIDSchema(),
		addPartitionsToTxnSchema(),
		addOffsetsToTxnSchema(),
		endTxnSchema(),
		writeTxnMarkersSchema(),
		txnOffsetCommitSchema(),
		describeProducersSchema(),
		describeTransactionsSchema(),
		listTransactionsSchema(),
	}
}

func initProducerIDSchema() request {
	return request{key: 22, min: 0, max: 5, flexible: 2, name: "InitProducerId", fields: []field{
		str("TransactionalId").nullable(0),
		i32("TransactionTimeoutMs"),
		i64("ProducerId").from(3),
		i16("ProducerEpoch").from(3),
	}}
}

func addPartitionsToTxnSchema() request {
	return request{key: 24, min: 0, max: 5, flexible: 3, name: "AddPartitionsToTxn", fields: []field{
		structs[kmsg.AddPartitionsToTxnRequestTransaction]("Transactions",
			str("TransactionalId"),
			i64("ProducerId"),
			i16("ProducerEpoch"),
			boolean("VerifyOnly"),
			structs[kmsg.AddPartitionsToTxnRequestTransactionTopic]("Topics",
				str("Name"),
				values("Partitions", i32("")),
			),
		).from(4),
		str("V3AndBelowTransactionalId").until(3),
		i64("V3AndBelowProducerId").until(3),
		i16("V3AndBelowProducerEpoch").until(3),
		structs[kmsg.AddPartitionsToTxnRequestTopic]("V3AndBelowTopics",
			str("Name"),
			values("Partitions", i32("")),
		).until(3),
	}}
}

func addOffsetsToTxnSchema() request {
	return request{key: 25, min: 0, max: 4, flexible: 3, name: "AddOffsetsToTxn", fields: []field{
		str("TransactionalId"),
		i64("ProducerId"),
		i16("ProducerEpoch"),
		str("GroupId"),
	}}
}

func endTxnSchema() request {
	return request{key: 26, min: 0, max: 5, flexible: 3, name: "EndTxn", fields: []field{
		str("TransactionalId"),
		i64("ProducerId"),
		i16("ProducerEpoch"),
		boolean("Committed"),
	}}
}

func writeTxnMarkersSchema() request {
	return request{key: 27, min: 1, max: 2, flexible: 1, name: "WriteTxnMarkers", fields: []field{
		structs[kmsg.WriteTxnMarkersRequestMarker]("Markers",
			i64("ProducerId"),
			i16("ProducerEpoch"),
			boolean("TransactionResult"),
			structs[kmsg.WriteTxnMarkersRequestMarkerTopic]("Topics",
				str("Name"),
				values("PartitionIndexes", i32("")),
			),
			i32("CoordinatorEpoch"),
			i8("TransactionVersion").from(2),
		),
	}}
}

func txnOffsetCommitSchema() request {
	return request{key: 28, min: 0, max: 5, flexible: 3, name: "TxnOffsetCommit", fields: []field{
		str("TransactionalId"),
		str("GroupId"),
		i64("ProducerId"),
		i16("ProducerEpoch"),
		i32("GenerationId").from(3),
		str("MemberId").from(3),
		str("GroupInstanceId").from(3).nullable(3),
		structs[kmsg.TxnOffsetCommitRequestTopic]("Topics",
			str("Name"),
			structs[kmsg.TxnOffsetCommitRequestTopicPartition]("Partitions",
				i32("PartitionIndex"),
				i64("CommittedOffset"),
				i32("CommittedLeaderEpoch").from(2),
				str("CommittedMetadata").nullable(0),
			),
		),
	}}
}

func describeProducersSchema() request {
	return request{key: 61, min: 0, max: 0, flexible: 0, name: "DescribeProducers", fields: []field{
		structs[kmsg.DescribeProducersRequestTopic]("Topics",
			str("Name"),
			values("PartitionIndexes", i32("")),
		),
	}}
}

func describeTransactionsSchema() request {
	return request{key: 65, min: 0, max: 0, flexible: 0, name: "DescribeTransactions", fields: []field{
		values("TransactionalIds", str("")),
	}}
}

func listTransactionsSchema() request {
	return request{key: 66, min: 0, max: 2, flexible: 0, name: "ListTransactions", fields: []field{
		values("StateFilters", str("")),
		values("ProducerIdFilters", i64("")),
		i64("DurationFilter").from(1),
		str("TransactionalIdPattern").from(2).nullable(2),
	}}
}
