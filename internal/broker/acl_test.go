package broker_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
)

// allowed adds ACLs of one user, through Kafka's API.
func (n *node) allowed(t testing.TB, b *kadm.ACLBuilder) {
	t.Helper()
	results, err := kadm.NewClient(n.as(t, "admin")).CreateACLs(testContext(t), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Fatalf("create ACL: %v %s", r.Err, r.ErrMessage)
		}
	}
}

// TestApplicationWithItsRights: a producer and a consumer group work with just the
// rights that the documentation names, by prefix, and nothing beyond.
func TestApplicationWithItsRights(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: 1}, "shop", "report")
	n.allowed(t, kadm.NewACLs().Allow("User:shop").AllowHosts().Topics("shop-").Operations(kadm.OpWrite, kadm.OpCreate).ResourcePatternType(kadm.ACLPatternPrefixed))
	n.allowed(t, kadm.NewACLs().Allow("User:report").AllowHosts().Topics("shop-").Groups("report-").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternPrefixed))
	ctx := testContext(t)
	shop := n.as(t, "shop", kgo.AllowAutoTopicCreation(), kgo.RecordRetries(2))
	if err := shop.ProduceSync(ctx, &kgo.Record{Topic: "shop-orders", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	if err := shop.ProduceSync(ctx, &kgo.Record{Topic: "other", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("produce elsewhere: %v", err)
	}
	report := n.as(t, "report", kgo.ConsumeTopics("shop-orders"), kgo.ConsumerGroup("report-1"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if got := report.PollFetches(ctx); got.Err() != nil || got.NumRecords() != 1 {
		t.Fatalf("consume: %v", got.Err())
	}
	if err := report.CommitUncommittedOffsets(ctx); err != nil {
		t.Errorf("commit: %v", err)
	}
	if err := report.ProduceSync(ctx, &kgo.Record{Topic: "shop-orders", Value: []byte("x")}).FirstErr(); !errors.Is(err, kerr.ClusterAuthorizationFailed) && !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("the reader produces: %v", err)
	}
	stranger := n.as(t, "report", kgo.ConsumeTopics("shop-orders"), kgo.ConsumerGroup("shop-1"))
	if got := stranger.PollFetches(ctx); !errors.Is(got.Err(), kerr.GroupAuthorizationFailed) {
		t.Errorf("another group: %v", got.Err())
	}
}

// Who may describe a topic but not make it does not make it by asking about it.
func TestMetadataMakesNoTopicWithoutTheRight(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: 1}, "ana")
	n.allowed(t, kadm.NewACLs().Allow("User:ana").AllowHosts().Topics("new").Operations(kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral))
	m := &matrix{node: n}
	ask := func(user string, create bool) int16 {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = create
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("new")}}
		return call[*kmsg.MetadataResponse](m.login(t, user), 9, req).Topics[0].ErrorCode
	}
	if got := ask("ana", true); got != kerr.TopicAuthorizationFailed.Code {
		t.Errorf("asked to be made: %v", kerr.ErrorForCode(got))
	}
	if got := ask("ana", false); got != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("asked about: %v", kerr.ErrorForCode(got))
	}
	if got := ask("admin", false); got != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("the topic was made: %v", kerr.ErrorForCode(got))
	}
	n.allowed(t, kadm.NewACLs().Allow("User:ana").AllowHosts().Topics("new").Operations(kadm.OpCreate).ResourcePatternType(kadm.ACLPatternLiteral))
	if got := ask("ana", true); got != 0 {
		t.Errorf("with the right: %v", kerr.ErrorForCode(got))
	}
}

// An ACL of a host binds clients from that address only, and a revoked right is
// gone with the next request.
func TestHostsAndRevocation(t *testing.T) {
	n := serveSecured(t, broker.Config{}, "ana")
	m := &matrix{node: n}
	m.login(t, "admin").createTopic("t", 1)
	at := func(host string) *kadm.ACLBuilder {
		return kadm.NewACLs().Allow("User:ana").AllowHosts(host).Topics("t").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral)
	}
	n.allowed(t, at("10.9.9.9"))
	c := m.login(t, "ana")
	reads := func() bool { return c.fetch(fetchOf("t")).ErrorCode == 0 }
	if reads() {
		t.Error("the right of another host counts")
	}
	n.allowed(t, at("127.0.0.1"))
	if !reads() {
		t.Error("the right of this host does not count")
	}
	if _, err := kadm.NewClient(n.as(t, "admin")).DeleteACLs(testContext(t), at("127.0.0.1")); err != nil {
		t.Fatal(err)
	}
	if reads() {
		t.Error("a revoked right still counts")
	}
}

func fetchOf(topic string) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes = 1 << 20
	p := kmsg.NewFetchRequestTopicPartition()
	p.PartitionMaxBytes = 1 << 20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// Without logins ACLs would protect nothing, and that is said.
func TestACLsWithoutLogins(t *testing.T) {
	n := serve(t, broker.Config{FS: openDir(t, t.TempDir())})
	req := kmsg.NewPtrCreateACLsRequest()
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourceName, c.Principal, c.Host, c.Operation, c.PermissionType = 2, "t", "User:ana", "*", 3, 3
	req.Creations = append(req.Creations, c)
	resp, err := req.RequestWith(testContext(t), n.client(t))
	if err != nil || resp.Results[0].ErrorCode != kerr.SecurityDisabled.Code || resp.Results[0].ErrorMessage == nil {
		t.Errorf("%+v, %v", resp, err)
	}
}

// What cannot be stored is told by Kafka's code, and nothing of that user changes.
func TestUsersThatCannotBe(t *testing.T) {
	n := serveSecured(t, broker.Config{}, "ana")
	upsert := func(name string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
		return kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: name, Mechanism: mechanism, Iterations: iterations, Salt: make([]byte, 16), SaltedPassword: make([]byte, 32*int(mechanism))}
	}
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
		upsert("few", 1, 100), upsert("many", 1, 20_000), upsert("", 1, 5000), upsert("mechanism", 3, 5000),
		upsert("twice", 1, 5000), upsert("twice", 1, 6000), upsert("good", 1, 5000), upsert("good", 2, 5000), upsert("ana", 1, 5000), upsert("ana", 2, 100),
	}
	req.Deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion{{Name: "nobody", Mechanism: 1}}
	resp, err := req.RequestWith(testContext(t), n.as(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]*kerr.Error{
		"few": kerr.UnacceptableCredential, "many": kerr.UnacceptableCredential, "": kerr.UnacceptableCredential,
		"mechanism": kerr.UnsupportedSaslMechanism, "twice": kerr.DuplicateResource, "nobody": kerr.ResourceNotFound, "good": nil,
		"ana": kerr.UnacceptableCredential,
	}
	for _, r := range resp.Results {
		code := int16(0)
		if want[r.User] != nil {
			code = want[r.User].Code
		}
		if r.ErrorCode != code || (code != 0) != (r.ErrorMessage != nil) {
			t.Errorf("user %q: %v, want %v", r.User, kerr.ErrorForCode(r.ErrorCode), want[r.User])
		}
	}
	if len(resp.Results) != len(want) || len(n.Users()) != 3 {
		t.Errorf("%d results, users %v", len(resp.Results), n.Users())
	}
	if err := n.as(t, "ana").Ping(testContext(t)); err != nil {
		t.Errorf("a refused change changed the user: %v", err)
	}
}

// TestTransactionWithItsRights: consume, produce and commit offsets in one
// transaction, with Write on the transactional id and the rights of its parts.
func TestTransactionWithItsRights(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: 1}, "pay")
	m := &matrix{node: n}
	for _, topic := range []string{"pay-in", "pay-out"} {
		m.login(t, "admin").createTopic(topic, 1)
	}
	ctx := testContext(t)
	if err := n.as(t, "admin").ProduceSync(ctx, &kgo.Record{Topic: "pay-in", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	n.allowed(t, kadm.NewACLs().Allow("User:pay").AllowHosts().Topics("pay-in").Groups("pay").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral))
	n.allowed(t, kadm.NewACLs().Allow("User:pay").AllowHosts().Topics("pay-out").TransactionalIDs("pay-").Operations(kadm.OpWrite).ResourcePatternType(kadm.ACLPatternPrefixed))
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(n.addr), kgo.SASL(mechanismOf("SCRAM-SHA-512", "pay", "pay-pw")),
		kgo.TransactionalID("pay-1"), kgo.ConsumerGroup("pay"), kgo.ConsumeTopics("pay-in"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic("pay-out"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if got := session.PollFetches(ctx); got.Err() != nil || got.NumRecords() != 1 {
		t.Fatalf("consume: %v", got.Err())
	}
	if err := session.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := session.ProduceSync(ctx, &kgo.Record{Value: []byte("y")}).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
	if committed, err := session.End(ctx, kgo.TryCommit); err != nil || !committed {
		t.Fatalf("commit: %v, %v", committed, err)
	}
	other := n.client(t, kgo.SASL(mechanismOf("PLAIN", "pay", "pay-pw")), kgo.TransactionalID("other"), kgo.DefaultProduceTopic("pay-out"))
	if err := other.BeginTransaction(); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		t.Errorf("another transactional id: %v", err)
	}
}
