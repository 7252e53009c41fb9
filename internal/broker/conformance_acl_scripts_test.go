package broker_test

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// securityScripts are about ACLs and users, and about what bob may do by each kind
// of permission.
func securityScripts() []script {
	scripts := []script{
		{"acl administration", administerACLs},
		{"acl filters", filterACLs},
		{"scram users", administerUsers},
		{"bob without permission", bobTries()},
	}
	for i, grant := range grants {
		scripts = append(scripts, script{fmt.Sprintf("bob with permission %d", i), bobTries(grant...)})
	}
	return scripts
}

const (
	onTopic   = kmsg.ACLResourceTypeTopic
	onGroup   = kmsg.ACLResourceTypeGroup
	onCluster = kmsg.ACLResourceTypeCluster
	onTxn     = kmsg.ACLResourceTypeTransactionalId

	literal  = kmsg.ACLResourcePatternTypeLiteral
	prefixed = kmsg.ACLResourcePatternTypePrefixed
	allow    = kmsg.ACLPermissionTypeAllow
	deny     = kmsg.ACLPermissionTypeDeny

	clusterName = "kafka-cluster"
)

// grants are what bob is allowed, one script each.
var grants = [][]acl{
	{bobs(onTopic, "a", kmsg.ACLOperationRead)},
	{bobs(onTopic, "a", kmsg.ACLOperationWrite)},
	{bobs(onTopic, "a", kmsg.ACLOperationDescribe)},
	{bobs(onTopic, "a", kmsg.ACLOperationAlter)},
	{bobs(onTopic, "a", kmsg.ACLOperationDelete)},
	{bobs(onTopic, "new", kmsg.ACLOperationCreate)},
	{bobs(onTopic, "a", kmsg.ACLOperationDescribeConfigs)},
	{bobs(onTopic, "a", kmsg.ACLOperationAlterConfigs)},
	{bobs(onTopic, "*", kmsg.ACLOperationAll)},
	{{onTopic, "a", prefixed, "User:bob", kmsg.ACLOperationAll, allow}},
	{bobs(onTopic, "*", kmsg.ACLOperationAll), {onTopic, "a", literal, "User:bob", kmsg.ACLOperationWrite, deny}},
	{bobs(onTopic, "*", kmsg.ACLOperationAll), {onTopic, "a", prefixed, "User:*", kmsg.ACLOperationDescribe, deny}},
	{bobs(onTopic, "a", kmsg.ACLOperationRead), {onTopic, "a", literal, "User:bob", kmsg.ACLOperationDescribe, deny}},
	{{onTopic, "a", literal, "User:someone", kmsg.ACLOperationAll, allow}},
	{{onTopic, "a", literal, "User:*", kmsg.ACLOperationRead, allow}},
	{bobs(onGroup, "g", kmsg.ACLOperationRead)},
	{bobs(onGroup, "g", kmsg.ACLOperationDescribe)},
	{bobs(onGroup, "g", kmsg.ACLOperationDelete)},
	{bobs(onGroup, "g", kmsg.ACLOperationRead), bobs(onTopic, "a", kmsg.ACLOperationRead)},
	{bobs(onGroup, "*", kmsg.ACLOperationAll), bobs(onTopic, "a", kmsg.ACLOperationDescribe)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationCreate)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationDescribe)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationAlter)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationIdempotentWrite)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationClusterAction)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationDescribeConfigs)},
	{bobs(onCluster, clusterName, kmsg.ACLOperationAll), {onCluster, clusterName, literal, "User:bob", kmsg.ACLOperationDescribe, deny}},
	{bobs(onTxn, "t", kmsg.ACLOperationDescribe)},
	{{onTxn, "t", prefixed, "User:bob", kmsg.ACLOperationWrite, allow}},
	{{onTxn, "t", prefixed, "User:bob", kmsg.ACLOperationWrite, allow}, bobs(onTopic, "a", kmsg.ACLOperationWrite), bobs(onGroup, "g", kmsg.ACLOperationRead), bobs(onTopic, "a", kmsg.ACLOperationRead)},
}

// bobTries has bob send every kind of request while he is allowed just that.
func bobTries(allowed ...acl) func(*session) {
	return func(s *session) {
		createTopic(s, "a", 2)
		createTopic(s, "b", 1)
		learn(s, "a", "<a>")
		produce(s, -1, "a", 0, plain("by admin"))
		offsetCommit(s, "g", -1, "", "a", 0, 1)
		offsetCommit(s, "h", -1, "", "a", 0, 1)
		if len(allowed) > 0 {
			createACLs(s, allowed...)
			settleACLs(s)
		}
		s.become("bob")
		tryTopics(s)
		tryGroups(s)
		tryTransactions(s)
		tryCluster(s)
		tryOperations(s)
	}
}

// tryOperations asks what bob may do. The transcript of other scripts leaves that
// out.
func tryOperations(s *session) {
	topics := kmsg.NewPtrMetadataRequest()
	topics.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("a")}, {Topic: kmsg.StringPtr("b")}}
	topics.IncludeClusterAuthorizedOperations, topics.IncludeTopicAuthorizedOperations = true, true
	resp := send[*kmsg.MetadataResponse](s, 8, topics)
	fields := map[string]string{"cluster": fmt.Sprint(resp.AuthorizedOperations)}
	for _, t := range resp.Topics {
		fields[*t.Topic] = fmt.Sprint(t.AuthorizedOperations)
	}
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.Groups, groups.IncludeAuthorizedOperations = []string{"g", "h"}, true
	for _, g := range send[*kmsg.DescribeGroupsResponse](s, 4, groups).Groups {
		fields[g.Group] = fmt.Sprint(g.AuthorizedOperations)
	}
	cluster := kmsg.NewPtrDescribeClusterRequest()
	cluster.IncludeClusterAuthorizedOperations = true
	fields["described"] = fmt.Sprint(send[*kmsg.DescribeClusterResponse](s, 0, cluster).ClusterAuthorizedOperations)
	s.steps = append(s.steps, step{request: "operations", fields: fields})
}

func tryTopics(s *session) {
	metadataV(s, 12, "a", "b", "missing")
	metadataOfIDs(s, 12, s.topicCalled("<a>"), noSuchTopic)
	every := kmsg.NewPtrMetadataRequest()
	do[*kmsg.MetadataResponse](s, 9, every)
	making := kmsg.NewPtrMetadataRequest()
	making.AllowAutoTopicCreation = false
	making.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("new")}}
	do[*kmsg.MetadataResponse](s, 9, making)
	for _, topic := range []string{"a", "b", "missing"} {
		produce(s, -1, topic, 0, plain("by bob"))
		fetch(s, topic, 0, 0)
		listOffsets(s, topic, 0, -1)
		epochEnd(s, topic, 0, 0)
		describe(s, topic, "retention.ms")
		tryCreation(s, topic)
	}
	produceByID(s, s.topicCalled("<a>"), 0, plain("by bob"))
	produceByID(s, noSuchTopic, 0, plain("by bob"))
	fetchByID(s, 13, s.topicCalled("<a>"), 0, 0)
	fetchByID(s, 13, noSuchTopic, 0, 0)
	tryCreation(s, "new")
	partitions := kmsg.NewPtrCreatePartitionsRequest()
	partitions.ValidateOnly = true
	partitions.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "a", Count: 3}, {Topic: "missing", Count: 3}}
	do[*kmsg.CreatePartitionsResponse](s, 2, partitions)
	tryAlteration(s, "a")
	deleteRecords(s, "a", 0, 0)
	deleteTopicsV6(s, kmsg.DeleteTopicsRequestTopic{Topic: kmsg.StringPtr("missing")}, kmsg.DeleteTopicsRequestTopic{TopicID: noSuchTopic})
	describePartitions(s, 10, "", 0, "a", "b", "missing")
	describeProducers(s, "a", 0)
}

func tryCreation(s *session, name string) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.ValidateOnly = true
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, topic)
	do[*kmsg.CreateTopicsResponse](s, 4, req)
}

func tryAlteration(s *session, name string) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = true
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", kmsg.StringPtr("60000")
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
	resource.Configs = append(resource.Configs, config)
	req.Resources = append(req.Resources, resource)
	do[*kmsg.IncrementalAlterConfigsResponse](s, 1, req)
}

func tryGroups(s *session) {
	coordinators(s, 4, 0, "g", "h")
	coordinators(s, 4, 1, "t", "u")
	listGroups(s)
	for _, group := range []string{"g", "h"} {
		describeGroup(s, group)
		offsetFetch(s, group, "a", 0)
		offsetFetchAll(s, group)
		offsetCommit(s, group, -1, "", "a", 0, 2)
		offsetCommit(s, group, -1, "", "b", 0, 2)
		heartbeat(s, group, 1, "stranger")
		syncGroup(s, group, 1, "stranger", false)
		leave(s, group, "stranger")
		joinAs(s, group, "made-up-member")
		offsetDelete(s, group, "b", 0)
	}
	deleteGroup(s, "none")
}

func tryTransactions(s *session) {
	idempotent := kmsg.NewPtrInitProducerIDRequest()
	idempotent.ProducerID, idempotent.ProducerEpoch = -1, -1
	doSettled(s, 3, idempotent, func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
	p := &scriptTxn{s: s, id: "t" + s.suffix, producer: 1, sequences: map[string]int32{}}
	p.init(3, -1, -1)
	p.add(3, "a", 0)
	p.add(3, "b", 0)
	p.produce(txnV2, "a", 0, "in a transaction")
	p.produce(txnV2, "b", 0, "in a transaction")
	p.addOffsets("g")
	p.addOffsets("h")
	p.commitOffset(txnV2, "g", "a", 0, 3)
	p.commitOffset(txnV2, "h", "a", 0, 3)
	p.describe()
	p.list()
	p.endAs(txnV2, false, p.epoch)
	p.mark(1, true, p.epoch, "b", 0)
}

func tryCluster(s *session) {
	describeACLs(s, anyACL())
	createACLs(s, acl{onTopic, "x", literal, "no principal", kmsg.ACLOperationRead, allow})
	deleteACLs(s, acl{onTopic, "x", literal, "User:nobody", kmsg.ACLOperationRead, allow})
	describeUsers(s, "nobody")
	alterUsers(s, []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "nobody", Mechanism: 1}})
	do[*kmsg.DescribeClusterResponse](s, 1, kmsg.NewPtrDescribeClusterRequest())
	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	dirs.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "b", Partitions: []int32{0}}}
	do[*kmsg.DescribeLogDirsResponse](s, 3, dirs)
}

// administerACLs leaves out what Kafka closes the connection for: unknown types of
// resources, patterns and operations.
func administerACLs(s *session) {
	describeACLs(s, anyACL())
	createACLs(s, bobs(onTopic, "a", kmsg.ACLOperationRead), bobs(onGroup, "g", kmsg.ACLOperationRead))
	settleACLs(s)
	createACLs(s, bobs(onTopic, "a", kmsg.ACLOperationRead)) // again
	for _, odd := range []acl{
		bobs(onTopic, "", kmsg.ACLOperationRead),
		bobs(kmsg.ACLResourceTypeAny, "a", kmsg.ACLOperationRead),
		bobs(onTopic, "a", kmsg.ACLOperationAny),
		bobs(onTopic, "a", kmsg.ACLOperationIdempotentWrite),
		bobs(onCluster, "other-cluster", kmsg.ACLOperationAlter),
		{onTopic, "a", kmsg.ACLResourcePatternTypeMatch, "User:bob", kmsg.ACLOperationRead, allow},
		{onTopic, "a", kmsg.ACLResourcePatternTypeAny, "User:bob", kmsg.ACLOperationRead, allow},
		{onTopic, "a", literal, "bob", kmsg.ACLOperationRead, allow},
		{onTopic, "a", literal, "", kmsg.ACLOperationRead, allow},
		{onTopic, "a", literal, "User:bob", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeAny},
	} {
		createACLs(s, odd)
	}
	settleACLs(s)
	describeACLs(s, anyACL())
	deleteACLs(s, bobs(onTopic, "a", kmsg.ACLOperationRead), bobs(onTopic, "none", kmsg.ACLOperationRead))
	settleACLs(s)
	describeACLs(s, anyACL())
	deleteACLs(s, anyACL(), anyACL())
	settleACLs(s)
}

func filterACLs(s *session) {
	createACLs(s,
		bobs(onTopic, "alpha", kmsg.ACLOperationRead),
		bobs(onTopic, "alpha", kmsg.ACLOperationWrite),
		bobs(onTopic, "*", kmsg.ACLOperationDescribe),
		acl{onTopic, "al", prefixed, "User:ana", kmsg.ACLOperationRead, deny},
		acl{onGroup, "alpha", literal, "User:*", kmsg.ACLOperationRead, allow},
		bobs(onCluster, clusterName, kmsg.ACLOperationAlter),
		bobs(onTxn, "alpha", kmsg.ACLOperationWrite),
	)
	settleACLs(s)
	filter := func(change func(*acl)) {
		f := anyACL()
		change(&f)
		describeACLs(s, f)
	}
	filter(func(*acl) {})
	filter(func(f *acl) { f.kind = onTopic })
	filter(func(f *acl) { f.name = "alpha" })
	filter(func(f *acl) { f.name, f.pattern = "alpha", literal })
	filter(func(f *acl) { f.name, f.pattern = "alpha", prefixed })
	filter(func(f *acl) { f.name, f.pattern = "alpha", kmsg.ACLResourcePatternTypeMatch })
	filter(func(f *acl) { f.name, f.pattern, f.kind = "alpha", kmsg.ACLResourcePatternTypeMatch, onTopic })
	filter(func(f *acl) { f.pattern = prefixed })
	filter(func(f *acl) { f.principal = "User:bob" })
	filter(func(f *acl) { f.principal = "User:*" })
	filter(func(f *acl) { f.operation = kmsg.ACLOperationRead })
	filter(func(f *acl) { f.operation = kmsg.ACLOperationAll })
	filter(func(f *acl) { f.permission = deny })
	match := anyACL()
	match.name, match.pattern, match.kind = "alpha", kmsg.ACLResourcePatternTypeMatch, onTopic
	deleteACLs(s, match)
	settleACLs(s)
	describeACLs(s, anyACL())
}

func administerUsers(s *session) {
	carl, dora := "carl"+s.suffix, "dora"+s.suffix
	gone := func(name string, mechanism int8) kmsg.AlterUserSCRAMCredentialsRequestDeletion {
		return kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: name, Mechanism: mechanism}
	}
	type deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion
	alter := func(gone deletions, changed ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) {
		alterUsers(s, gone, changed...)
		settleUsers(s)
	}
	describeUsers(s, carl, dora)
	alter(nil, upsertion(carl, 1, 4096), upsertion(dora, 2, 16384))
	alter(nil, upsertion(carl, 2, 8192))
	describeUsers(s, carl, dora)
	describeUsers(s, carl, carl)
	for _, iterations := range []int32{0, 4095, 16385} {
		alter(nil, upsertion(carl, 1, iterations))
	}
	alter(nil, upsertion(carl, 3, 4096))
	alter(nil, upsertion("", 1, 4096))
	alter(nil, upsertion(carl, 1, 4096), upsertion(carl, 1, 8192))
	alter(nil, upsertion(carl, 1, 4096), upsertion(carl, 2, 8192))
	alter(deletions{gone(carl, 1)}, upsertion(carl, 1, 8192))
	alter(deletions{gone(carl, 1)}, upsertion(carl, 2, 4096))
	describeUsers(s, carl)
	alter(deletions{gone(carl, 1), gone(dora, 2), gone("nobody", 1)})
	alter(deletions{gone(carl, 3)})
	alter(deletions{gone("", 1)})
	alter(deletions{gone(carl, 2)})
	describeUsers(s, carl, dora)
}
