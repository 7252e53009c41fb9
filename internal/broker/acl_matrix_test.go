package broker_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/wire"
)

// The matrix: every kind of request, at every version that is served, sent by a
// user without rights, with exactly the rights that Kafka asks for, with each of
// them missing, with a denial on top, and by a super user.

// grant is one right, on the test's topic, group, transactional id or cluster.
type grant struct {
	kind auth.ResourceType
	o    auth.Operation
	name string // of another resource than the usual one
}

func (g grant) resource() string {
	if g.name != "" {
		return g.name
	}
	return resourceNames[g.kind]
}

var (
	mayReadTopic, mayWriteTopic       = grant{kind: auth.Topic, o: auth.Read}, grant{kind: auth.Topic, o: auth.Write}
	mayDescribeTopic, mayDeleteTopic  = grant{kind: auth.Topic, o: auth.Describe}, grant{kind: auth.Topic, o: auth.Delete}
	mayAlterTopic, mayCreateTopics    = grant{kind: auth.Topic, o: auth.Alter}, grant{kind: auth.Topic, o: auth.Create}
	mayDescribeConfigs                = grant{kind: auth.Topic, o: auth.DescribeConfigs}
	mayAlterConfigs                   = grant{kind: auth.Topic, o: auth.AlterConfigs}
	mayReadGroup, mayDescribeGroup    = grant{kind: auth.Group, o: auth.Read}, grant{kind: auth.Group, o: auth.Describe}
	mayDeleteGroup                    = grant{kind: auth.Group, o: auth.Delete}
	mayWriteTxn, mayDescribeTxn       = grant{kind: auth.TransactionalID, o: auth.Write}, grant{kind: auth.TransactionalID, o: auth.Describe}
	mayDescribeCluster                = grant{kind: auth.Cluster, o: auth.Describe}
	mayAlterCluster, mayClusterAction = grant{kind: auth.Cluster, o: auth.Alter}, grant{kind: auth.Cluster, o: auth.ClusterAction}
	mayIdempotentWrite                = grant{kind: auth.Cluster, o: auth.IdempotentWrite}
	mayClusterConfigs                 = grant{kind: auth.Cluster, o: auth.DescribeConfigs}
	mayDeleteGone                     = grant{kind: auth.Topic, o: auth.Delete, name: matrixGone}
	mayDeleteNoGroup                  = grant{kind: auth.Group, o: auth.Delete, name: matrixNoGroup}
	mayCreateCluster                  = grant{kind: auth.Cluster, o: auth.Create}
)

var resourceNames = map[auth.ResourceType]string{
	auth.Topic: matrixTopic, auth.Group: matrixGroup, auth.TransactionalID: matrixTxn, auth.Cluster: auth.ClusterName,
}

// attempt is one kind of request about the test's resources.
type attempt struct {
	name  string
	needs []grant // all of them together; none means that everybody may
	from  int16   // versions that it is about; zero is all
	until int16
	build func(m *matrix, version int16) kmsg.Request
	seen  func(resp kmsg.Response) bool // for answers without an error: whether the resource shows
}

// matrix is the running test.
type matrix struct {
	*node
	admin *kgo.Client
	id    [16]byte // of the topic
	batch []byte   // to produce
	// txnBatch is one of a transaction.
	txnBatch []byte
}

func TestAuthorizationMatrix(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: 1}, "ana")
	m := &matrix{node: n, admin: n.as(t, "admin"), batch: records(t, "x")}
	m.txnBatch = build(t, batch.BuilderOptions{ProducerID: 1 << 40, Transactional: true}, "x")
	m.prepare(t)
	tried := map[int16]bool{}
	for _, a := range attempts() {
		t.Run(a.name, func(t *testing.T) { tried[a.build(m, 0).Key()] = true; m.try(t, a) })
	}
	for _, api := range wire.Served() {
		if !tried[api.Key] {
			t.Errorf("%s is served and not in the matrix", api.Name)
		}
	}
}

// prepare makes the resources that the requests are about.
func (m *matrix) prepare(t *testing.T) {
	c := m.login(t, "admin")
	c.createTopic(matrixTopic, 1)
	meta := call[*kmsg.MetadataResponse](c, 12, &kmsg.MetadataRequest{Topics: []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("matrix")}}})
	m.id = meta.Topics[0].TopicID
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "matrix-group", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "matrix", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{LeaderEpoch: -1}}}}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = "matrix-group"
	call[*kmsg.FindCoordinatorResponse](c, 1, find)
	if resp := call[*kmsg.OffsetCommitResponse](c, 8, commit); resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("commit: %v", kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
	}
	find.CoordinatorKey, find.CoordinatorType = "matrix-txn", 1
	call[*kmsg.FindCoordinatorResponse](c, 1, find)
	begin := kmsg.NewPtrInitProducerIDRequest()
	begin.TransactionalID, begin.TransactionTimeoutMillis = kmsg.StringPtr("matrix-txn"), 60_000
	call[*kmsg.InitProducerIDResponse](c, 4, begin)
}

// login is a raw connection behind a login by PLAIN.
func (m *matrix) login(t testing.TB, user string) *rawConn {
	t.Helper()
	c := dial(t, m.addr)
	c.logIn(user)
	return c
}

func (c *rawConn) logIn(user string) {
	c.t.Helper()
	password := user + "-pw"
	if user == "admin" {
		password = adminPassword
	}
	handshake := kmsg.NewPtrSASLHandshakeRequest()
	handshake.Mechanism = "PLAIN"
	call[*kmsg.SASLHandshakeResponse](c, 1, handshake)
	token := kmsg.NewPtrSASLAuthenticateRequest()
	token.SASLAuthBytes = []byte("\x00" + user + "\x00" + password)
	if resp := call[*kmsg.SASLAuthenticateResponse](c, 2, token); resp.ErrorCode != 0 {
		c.t.Fatalf("login as %s: %v", user, resp.ErrorMessage)
	}
}

// allow makes these ana's only ACLs.
func (m *matrix) allow(t *testing.T, grants []grant, denied ...grant) {
	t.Helper()
	clear := kmsg.NewPtrDeleteACLsRequest()
	clear.Filters = []kmsg.DeleteACLsRequestFilter{{ResourceType: kmsg.ACLResourceTypeAny, ResourcePatternType: kmsg.ACLResourcePatternTypeAny, Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny}}
	if _, err := clear.RequestWith(testContext(t), m.admin); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrCreateACLsRequest()
	add := func(g grant, p kmsg.ACLPermissionType) {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName = kmsg.ACLResourceType(g.kind), g.resource()
		c.Principal, c.Host, c.Operation, c.PermissionType = "User:ana", "*", kmsg.ACLOperation(g.o), p
		req.Creations = append(req.Creations, c)
	}
	for _, g := range grants {
		add(g, kmsg.ACLPermissionTypeAllow)
	}
	for _, g := range denied {
		add(g, kmsg.ACLPermissionTypeDeny)
	}
	resp, err := req.RequestWith(testContext(t), m.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resp.Results {
		if r.ErrorCode != 0 {
			t.Fatalf("create ACLs: %v %v", kerr.ErrorForCode(r.ErrorCode), *r.ErrorMessage)
		}
	}
}

// try sends one kind of request in every state of rights.
func (m *matrix) try(t *testing.T, a attempt) {
	api, served := servedAPI(a.build(m, 0).Key())
	if !served {
		return // its handler comes later; the attempt waits for it
	}
	first, last := max(api.Min, a.from), api.Max
	if a.until > 0 {
		last = min(last, a.until)
	}
	expect := func(state, user string, want bool) {
		t.Helper()
		c := m.login(t, user)
		for v := first; v <= last; v++ {
			resp := c.ask(v, a.build(m, v))
			if got := a.allowed(resp); got != want {
				t.Errorf("v%d, %s: allowed is %v, want %v: %.300s", v, state, got, want, fmt.Sprintf("%+v", resp))
				break
			}
		}
		_ = c.Close()
	}
	open := len(a.needs) == 0
	m.allow(t, nil)
	expect("without rights", "ana", open)
	m.allow(t, a.needs)
	expect("with the rights", "ana", true)
	for i, g := range a.needs {
		m.allow(t, slices.Delete(slices.Clone(a.needs), i, i+1))
		expect(fmt.Sprintf("without %+v", g), "ana", false)
		m.allow(t, a.needs, g)
		expect(fmt.Sprintf("with a denial of %+v", g), "ana", false)
	}
	m.allow(t, nil)
	expect("as super user", "admin", true)
}

func servedAPI(key int16) (wire.API, bool) {
	i := slices.IndexFunc(wire.Served(), func(a wire.API) bool { return a.Key == key })
	if i < 0 {
		return wire.API{}, false
	}
	return wire.Served()[i], true
}

// ask sends a request of any kind and reads its answer.
func (c *rawConn) ask(version int16, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	id := c.send(version, req)
	resp := req.ResponseKind()
	c.receive(id, resp)
	return resp
}

// allowed reports whether an answer shows no authorization error anywhere, and
// the resource where it must.
func (a attempt) allowed(resp kmsg.Response) bool {
	denied := false
	eachErrorCode(reflect.ValueOf(resp), func(code int16) {
		switch kerr.ErrorForCode(code) {
		case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed:
			denied = true
		}
	})
	return !denied && (a.seen == nil || a.seen(resp))
}

// eachErrorCode walks an answer of any kind.
func eachErrorCode(v reflect.Value, do func(int16)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachErrorCode(v.Elem(), do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachErrorCode(v.Index(i), do)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "ErrorCode" {
				do(int16(v.Field(i).Int()))
			} else if v.Type().Field(i).IsExported() {
				eachErrorCode(v.Field(i), do)
			}
		}
	}
}
