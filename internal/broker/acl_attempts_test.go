package broker_test

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// filled is a request of that type after edit.
func filled[R any, P interface {
	*R
	kmsg.Request
	Default()
}](edit func(m *matrix, req P)) func(*matrix, int16) kmsg.Request {
	return func(m *matrix, version int16) kmsg.Request {
		req := P(new(R))
		req.Default()
		req.SetVersion(version)
		edit(m, req)
		return req
	}
}

const (
	matrixTopic   = "matrix"
	matrixGone    = "matrix-gone" // a topic that is not there
	matrixGroup   = "matrix-group"
	matrixNoGroup = "matrix-no-group"
	matrixTxn     = "matrix-txn"
)

func attempts() []attempt {
	var all []attempt
	for _, some := range [][]attempt{openAttempts(), recordAttempts(), topicAttempts(), configAttempts(), groupAttempts(), offsetAttempts(), transactionAttempts(), securityAttempts()} {
		all = append(all, some...)
	}
	return all
}

func openAttempts() []attempt {
	return []attempt{
		{name: "ApiVersions", build: filled(func(_ *matrix, r *kmsg.ApiVersionsRequest) {
			r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1"
		})},
		{name: "SaslHandshake", build: filled(func(_ *matrix, r *kmsg.SASLHandshakeRequest) { r.Mechanism = "PLAIN" })},
		{name: "SaslAuthenticate", build: filled(func(*matrix, *kmsg.SASLAuthenticateRequest) {})},
		{name: "DescribeCluster", build: filled(func(*matrix, *kmsg.DescribeClusterRequest) {})},
	}
}

func recordAttempts() []attempt {
	produce := func(txnID *string) func(*matrix, *kmsg.ProduceRequest) {
		return func(m *matrix, r *kmsg.ProduceRequest) {
			records := m.batch
			if txnID != nil {
				records = m.txnBatch
			}
			r.Acks, r.TimeoutMillis, r.TransactionID = -1, 1000, txnID
			r.Topics = []kmsg.ProduceRequestTopic{{Topic: matrixTopic, TopicID: m.id, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: records}}}}
		}
	}
	id := matrixTxn
	return []attempt{
		{name: "Produce", from: 3, needs: []grant{mayWriteTopic}, build: filled(produce(nil))},
		{name: "Produce in a transaction", from: 3, needs: []grant{mayWriteTxn, mayWriteTopic}, build: filled(produce(&id))},
		{name: "Fetch", needs: []grant{mayReadTopic}, build: filled(func(m *matrix, r *kmsg.FetchRequest) {
			r.MaxBytes = 1 << 20
			p := kmsg.NewFetchRequestTopicPartition()
			p.PartitionMaxBytes = 1 << 20
			r.Topics = []kmsg.FetchRequestTopic{{Topic: matrixTopic, TopicID: m.id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
		})},
		{name: "ListOffsets", needs: []grant{mayDescribeTopic}, build: filled(func(_ *matrix, r *kmsg.ListOffsetsRequest) {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Timestamp = -1
			r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: matrixTopic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
		})},
		{name: "OffsetForLeaderEpoch", needs: []grant{mayDescribeTopic}, build: filled(func(_ *matrix, r *kmsg.OffsetForLeaderEpochRequest) {
			r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: matrixTopic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{kmsg.NewOffsetForLeaderEpochRequestTopicPartition()}}}
		})},
		{name: "DeleteRecords", needs: []grant{mayDeleteTopic}, build: filled(func(_ *matrix, r *kmsg.DeleteRecordsRequest) {
			r.TimeoutMillis = 1000
			r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: matrixTopic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 0}}}}
		})},
	}
}

func topicAttempts() []attempt {
	named := func(name string, create bool) func(*matrix, *kmsg.MetadataRequest) {
		return func(_ *matrix, r *kmsg.MetadataRequest) {
			r.AllowAutoTopicCreation = create
			r.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		}
	}
	shows := func(resp kmsg.Response) bool {
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if t.Topic != nil && *t.Topic == matrixTopic {
				return true
			}
		}
		return false
	}
	return []attempt{
		{name: "Metadata", needs: []grant{mayDescribeTopic}, build: filled(named(matrixTopic, false)), seen: shows},
		{name: "Metadata of all", needs: []grant{mayDescribeTopic}, build: filled(func(*matrix, *kmsg.MetadataRequest) {}), seen: shows},
		{name: "Metadata by ID", from: 12, needs: []grant{mayDescribeTopic}, seen: shows, build: filled(func(m *matrix, r *kmsg.MetadataRequest) {
			r.Topics = []kmsg.MetadataRequestTopic{{TopicID: m.id}}
		})},
		{name: "DescribeTopicPartitions", needs: []grant{mayDescribeTopic}, build: filled(func(_ *matrix, r *kmsg.DescribeTopicPartitionsRequest) {
			r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: matrixTopic}}
		})},
		{name: "CreateTopics", needs: []grant{mayCreateTopics}, build: filled(createMatrixTopic)},
		{name: "CreateTopics by the cluster", needs: []grant{mayCreateCluster}, build: filled(createMatrixTopic)},
		{name: "DeleteTopics", needs: []grant{mayDeleteGone}, build: filled(func(_ *matrix, r *kmsg.DeleteTopicsRequest) {
			// A topic that is not there: who may delete it is told so.
			r.TopicNames = []string{matrixGone}
			r.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr(matrixGone)}}
		})},
		{name: "CreatePartitions", needs: []grant{mayAlterTopic}, build: filled(func(_ *matrix, r *kmsg.CreatePartitionsRequest) {
			r.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: matrixTopic, Count: 1}}
		})},
	}
}

func createMatrixTopic(_ *matrix, r *kmsg.CreateTopicsRequest) {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = matrixTopic, 1, 1
	r.Topics = []kmsg.CreateTopicsRequestTopic{t}
}

func configAttempts() []attempt {
	return []attempt{
		{name: "DescribeConfigs", needs: []grant{mayDescribeConfigs}, build: filled(func(_ *matrix, r *kmsg.DescribeConfigsRequest) {
			r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: matrixTopic}}
		})},
		{name: "DescribeConfigs of the broker", needs: []grant{mayClusterConfigs}, build: filled(func(_ *matrix, r *kmsg.DescribeConfigsRequest) {
			r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"}}
		})},
		{name: "AlterConfigs", needs: []grant{mayAlterConfigs}, build: filled(func(_ *matrix, r *kmsg.AlterConfigsRequest) {
			r.ValidateOnly = true
			r.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: matrixTopic}}
		})},
		{name: "IncrementalAlterConfigs", needs: []grant{mayAlterConfigs}, build: filled(func(_ *matrix, r *kmsg.IncrementalAlterConfigsRequest) {
			r.ValidateOnly = true
			r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: matrixTopic}}
		})},
		{name: "DescribeLogDirs", from: 3, needs: []grant{mayDescribeCluster}, build: filled(func(*matrix, *kmsg.DescribeLogDirsRequest) {})},
	}
}

func groupAttempts() []attempt {
	return []attempt{
		{name: "FindCoordinator", needs: []grant{mayDescribeGroup}, build: filled(func(_ *matrix, r *kmsg.FindCoordinatorRequest) {
			r.CoordinatorKey, r.CoordinatorKeys = matrixGroup, []string{matrixGroup}
		})},
		{name: "JoinGroup", needs: []grant{mayReadGroup}, build: filled(func(_ *matrix, r *kmsg.JoinGroupRequest) {
			r.Group, r.MemberID, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis, r.ProtocolType = matrixGroup, "nobody", 10_000, 10_000, "consumer"
			r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
		})},
		{name: "SyncGroup", needs: []grant{mayReadGroup}, build: filled(func(_ *matrix, r *kmsg.SyncGroupRequest) { r.Group, r.MemberID = matrixGroup, "nobody" })},
		{name: "Heartbeat", needs: []grant{mayReadGroup}, build: filled(func(_ *matrix, r *kmsg.HeartbeatRequest) { r.Group, r.MemberID = matrixGroup, "nobody" })},
		{name: "LeaveGroup", needs: []grant{mayReadGroup}, build: filled(func(_ *matrix, r *kmsg.LeaveGroupRequest) {
			r.Group, r.MemberID = matrixGroup, "nobody"
			r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "nobody"}}
		})},
		{name: "DescribeGroups", needs: []grant{mayDescribeGroup}, build: filled(func(_ *matrix, r *kmsg.DescribeGroupsRequest) { r.Groups = []string{matrixGroup} })},
		{name: "ListGroups", needs: []grant{mayDescribeGroup}, build: filled(func(*matrix, *kmsg.ListGroupsRequest) {}), seen: showsGroup},
		{name: "ListGroups by the cluster", needs: []grant{mayDescribeCluster}, build: filled(func(*matrix, *kmsg.ListGroupsRequest) {}), seen: showsGroup},
		{name: "DeleteGroups", needs: []grant{mayDeleteNoGroup}, build: filled(func(_ *matrix, r *kmsg.DeleteGroupsRequest) { r.Groups = []string{matrixNoGroup} })},
	}
}

func showsGroup(resp kmsg.Response) bool {
	for _, g := range resp.(*kmsg.ListGroupsResponse).Groups {
		if g.Group == matrixGroup {
			return true
		}
	}
	return false
}

func offsetAttempts() []attempt {
	return []attempt{
		{name: "OffsetCommit", needs: []grant{mayReadGroup, mayReadTopic}, build: filled(func(m *matrix, r *kmsg.OffsetCommitRequest) {
			r.Group, r.Generation = matrixGroup, -1
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: matrixTopic, TopicID: m.id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		})},
		{name: "OffsetFetch", needs: []grant{mayDescribeGroup, mayDescribeTopic}, build: filled(func(m *matrix, r *kmsg.OffsetFetchRequest) {
			r.Group = matrixGroup
			r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: matrixTopic, Partitions: []int32{0}}}
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group, g.Topics = matrixGroup, []kmsg.OffsetFetchRequestGroupTopic{{Topic: matrixTopic, TopicID: m.id, Partitions: []int32{0}}}
			r.Groups = []kmsg.OffsetFetchRequestGroup{g}
		})},
		{name: "OffsetFetch of all", from: 2, needs: []grant{mayDescribeGroup, mayDescribeTopic}, seen: showsOffsets, build: filled(func(_ *matrix, r *kmsg.OffsetFetchRequest) {
			r.Group, r.Topics = matrixGroup, nil
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = matrixGroup
			r.Groups = []kmsg.OffsetFetchRequestGroup{g}
		})},
		{name: "OffsetDelete", needs: []grant{mayDeleteGroup, mayReadTopic}, build: filled(func(_ *matrix, r *kmsg.OffsetDeleteRequest) {
			r.Group = matrixGroup
			r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: matrixTopic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 77}}}}
		})},
	}
}

func showsOffsets(resp kmsg.Response) bool {
	r := resp.(*kmsg.OffsetFetchResponse)
	return len(r.Topics) > 0 || len(r.Groups) > 0 && len(r.Groups[0].Topics) > 0
}

func transactionAttempts() []attempt {
	none := func(r *kmsg.InitProducerIDRequest) { r.ProducerID, r.ProducerEpoch = -1, -1 }
	return []attempt{
		{name: "FindCoordinator of a transaction", from: 1, needs: []grant{mayDescribeTxn}, build: filled(func(_ *matrix, r *kmsg.FindCoordinatorRequest) {
			r.CoordinatorType, r.CoordinatorKey, r.CoordinatorKeys = 1, matrixTxn, []string{matrixTxn}
		})},
		{name: "InitProducerId", needs: []grant{mayIdempotentWrite}, build: filled(func(_ *matrix, r *kmsg.InitProducerIDRequest) { none(r) })},
		{name: "InitProducerId by a topic", needs: []grant{mayWriteTopic}, build: filled(func(_ *matrix, r *kmsg.InitProducerIDRequest) { none(r) })},
		{name: "InitProducerId of a transaction", needs: []grant{mayWriteTxn}, build: filled(func(_ *matrix, r *kmsg.InitProducerIDRequest) {
			none(r)
			r.TransactionalID, r.TransactionTimeoutMillis = kmsg.StringPtr(matrixTxn), 60_000
		})},
		{name: "AddPartitionsToTxn", until: 3, needs: []grant{mayWriteTxn, mayWriteTopic}, build: filled(func(_ *matrix, r *kmsg.AddPartitionsToTxnRequest) {
			r.TransactionalID = matrixTxn
			r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: matrixTopic, Partitions: []int32{0}}}
		})},
		{name: "AddPartitionsToTxn of brokers", from: 4, needs: []grant{mayClusterAction}, build: filled(func(*matrix, *kmsg.AddPartitionsToTxnRequest) {})},
		{name: "AddOffsetsToTxn", needs: []grant{mayWriteTxn, mayReadGroup}, build: filled(func(_ *matrix, r *kmsg.AddOffsetsToTxnRequest) {
			r.TransactionalID, r.Group, r.ProducerID = matrixTxn, matrixGroup, 1<<40
		})},
		{name: "EndTxn", needs: []grant{mayWriteTxn}, build: filled(func(_ *matrix, r *kmsg.EndTxnRequest) { r.TransactionalID, r.ProducerID = matrixTxn, 1<<40 })},
		{name: "TxnOffsetCommit", needs: []grant{mayWriteTxn, mayReadGroup, mayReadTopic}, build: filled(func(m *matrix, r *kmsg.TxnOffsetCommitRequest) {
			r.TransactionalID, r.Group, r.ProducerID = matrixTxn, matrixGroup, 1<<40
			p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			r.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: matrixTopic, TopicID: m.id, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
		})},
		{name: "WriteTxnMarkers", needs: []grant{mayAlterCluster}, build: filled(writeMarker)},
		{name: "WriteTxnMarkers of brokers", needs: []grant{mayClusterAction}, build: filled(writeMarker)},
		{name: "DescribeProducers", needs: []grant{mayReadTopic}, build: filled(func(_ *matrix, r *kmsg.DescribeProducersRequest) {
			r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: matrixTopic, Partitions: []int32{0}}}
		})},
		{name: "DescribeTransactions", needs: []grant{mayDescribeTxn}, build: filled(func(_ *matrix, r *kmsg.DescribeTransactionsRequest) { r.TransactionalIDs = []string{matrixTxn} })},
		{name: "ListTransactions", needs: []grant{mayDescribeTxn}, build: filled(func(*matrix, *kmsg.ListTransactionsRequest) {}), seen: func(resp kmsg.Response) bool {
			return len(resp.(*kmsg.ListTransactionsResponse).TransactionStates) > 0
		}},
	}
}

func writeMarker(_ *matrix, r *kmsg.WriteTxnMarkersRequest) {
	t := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	t.Topic, t.Partitions = matrixTopic, []int32{77}
	mark := kmsg.NewWriteTxnMarkersRequestMarker()
	mark.ProducerID, mark.Topics = 1<<40, []kmsg.WriteTxnMarkersRequestMarkerTopic{t}
	r.Markers = []kmsg.WriteTxnMarkersRequestMarker{mark}
}

func securityAttempts() []attempt {
	return []attempt{
		{name: "DescribeAcls", needs: []grant{mayDescribeCluster}, build: filled(func(_ *matrix, r *kmsg.DescribeACLsRequest) {
			r.ResourceType, r.ResourcePatternType, r.Operation, r.PermissionType = 1, 1, 1, 1
		})},
		{name: "CreateAcls", needs: []grant{mayAlterCluster}, build: filled(func(_ *matrix, r *kmsg.CreateACLsRequest) {
			c := kmsg.NewCreateACLsRequestCreation() // not valid, so that it leaves nothing behind
			c.ResourceName, c.Principal, c.Host = "x", "User:x", "*"
			r.Creations = []kmsg.CreateACLsRequestCreation{c}
		})},
		{name: "DeleteAcls", needs: []grant{mayAlterCluster}, build: filled(func(_ *matrix, r *kmsg.DeleteACLsRequest) {
			r.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: 6, ResourcePatternType: 1, Operation: 1, PermissionType: 1}}
		})},
		{name: "DescribeClientQuotas", needs: []grant{mayClusterConfigs}, build: filled(func(*matrix, *kmsg.DescribeClientQuotasRequest) {})},
		{name: "DescribeUserScramCredentials", needs: []grant{mayDescribeCluster}, build: filled(func(*matrix, *kmsg.DescribeUserSCRAMCredentialsRequest) {})},
		{name: "AlterUserScramCredentials", needs: []grant{mayAlterCluster}, build: filled(func(_ *matrix, r *kmsg.AlterUserSCRAMCredentialsRequest) {
			r.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "nobody", Mechanism: 1}}
		})},
	}
}
