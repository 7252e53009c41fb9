package wire

import "slices"

// versions is a range of one request kind's versions.
type versions struct{ key, min, max int16 }

// announced is what the broker answers, ascending by key. A line is widened, or
// added, in the commit that brings the handler: requests.go can read more.
//
// Topic IDs start at Metadata 10, Fetch 13, OffsetCommit and OffsetFetch 10:
// these four go above that together or not at all, because a client that is
// given some of them gets confused. Produce 13 follows them.
//
// Produce 12, EndTxn 5, TxnOffsetCommit 5 and the finalized feature
// transaction.version 2 also appear together or not at all (KIP-890): clients
// rely on all of it when they see a part.
//
// OffsetForLeaderEpoch starts at 2, because librdkafka stops there. Produce
// starts at 0, although records of Kafka's older formats are refused:
// librdkafka releases without the fix of KAFKA-18659 read a higher minimum as
// "cannot compress". [ProduceRequest.Decode] still reads versions 0 to 2, so
// that the broker can answer UNSUPPORTED_VERSION to who really sends them.
var announced = []versions{
	{0, 0, 13}, // Produce
	{1, 4, 18}, // Fetch
	{2, 1, 11}, // ListOffsets
	{3, 0, 13}, // Metadata
	{8, 2, 10}, // OffsetCommit
	{9, 1, 10}, // OffsetFetch
	{10, 0, 6}, // FindCoordinator
	{11, 0, 9}, // JoinGroup
	{12, 0, 4}, // Heartbeat
	{13, 0, 5}, // LeaveGroup
	{14, 0, 5}, // SyncGroup
	{15, 0, 6}, // DescribeGroups
	{16, 0, 5}, // ListGroups
	{17, 0, 1}, // SaslHandshake
	{18, 0, 4}, // ApiVersions
	{19, 2, 7}, // CreateTopics
	{20, 1, 6}, // DeleteTopics
	{21, 0, 2}, // DeleteRecords
	{22, 0, 5}, // InitProducerId
	{23, 2, 4}, // OffsetForLeaderEpoch
	{24, 0, 5}, // AddPartitionsToTxn
	{25, 0, 4}, // AddOffsetsToTxn
	{26, 0, 5}, // EndTxn
	{27, 1, 2}, // WriteTxnMarkers
	{28, 0, 5}, // TxnOffsetCommit
	{29, 1, 3}, // DescribeAcls
	{30, 1, 3}, // CreateAcls
	{31, 1, 3}, // DeleteAcls
	{32, 1, 4}, // DescribeConfigs
	{33, 0, 2}, // AlterConfigs
	{35, 1, 4}, // DescribeLogDirs
	{36, 0, 2}, // SaslAuthenticate
	{37, 0, 3}, // CreatePartitions
	{42, 0, 2}, // DeleteGroups
	{44, 0, 1}, // IncrementalAlterConfigs
	{47, 0, 0}, // OffsetDelete
	{48, 0, 1}, // DescribeClientQuotas
	{50, 0, 0}, // DescribeUserScramCredentials
	{51, 0, 0}, // AlterUserScramCredentials
	{60, 0, 2}, // DescribeCluster
	{61, 0, 0}, // DescribeProducers
	{65, 0, 0}, // DescribeTransactions
	{66, 0, 2}, // ListTransactions
	{75, 0, 0}, // DescribeTopicPartitions
}

// transactionVersion is the level of the feature transaction.version that is
// finalized: clients speak the second version of the transaction protocol.
const transactionVersion = 2

// Served lists what the broker answers, ascending by key: what ApiVersions
// advertises, and what its dispatch table must hold.
func Served() []API {
	all := make([]API, 0, len(announced))
	for _, v := range announced {
		all = append(all, API{Key: v.key, Min: v.min, Max: v.max, Name: Name(v.key)})
	}
	return all
}

// Known lists what [Walk] and [Decode] read, ascending by key: all that is
// served, and what only waits for a handler.
func Known() []API {
	all := make([]API, 0, len(readable))
	for _, a := range readable {
		all = append(all, API{Key: a.key, Min: a.min, Max: a.max, Name: a.name})
	}
	return all
}

// Supports reports whether the key is served at that version.
func Supports(key, version int16) bool { return served(key, version) != nil }

// served finds the entry of a request kind that is answered at that version.
func served(key, version int16) *api {
	a := lookup(key)
	if a == nil || version < a.served.min || version > a.served.max {
		return nil
	}
	return a
}

// known finds the entry of a request kind that can be read at that version.
func known(key, version int16) *api {
	a := lookup(key)
	if a == nil || version < a.min || version > a.max {
		return nil
	}
	return a
}

// servedRange is the key's line in announced, or a range without a version.
func servedRange(key int16) versions {
	i := slices.IndexFunc(announced, func(v versions) bool { return v.key == key })
	if i < 0 {
		return versions{key: key, min: 0, max: -1}
	}
	return announced[i]
}
