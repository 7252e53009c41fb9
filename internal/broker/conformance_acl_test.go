package broker_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
)

// securedKafkaEnv names a real broker with ACLs, HOST:PORT, at which admin, a super
// user, and bob log in by PLAIN with the passwords of passwords. Its ACLs are
// removed.
const securedKafkaEnv = "MILLRACE_CONFORMANCE_SECURED_KAFKA"

// passwords are those of the users of the scripts about security.
var passwords = map[string]string{"admin": adminPassword, "bob": "bob-pw"}

// TestSecurityConformance is TestConformance for a broker that asks for a login
// and keeps ACLs.
func TestSecurityConformance(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: defaultPartitions, Log: patient}, "bob")
	live := func(addr string) func(*testing.T, script) []step {
		return func(t *testing.T, s script) []step { return playSecured(t, addr, s) }
	}
	scripts := securityScripts()
	if addr := os.Getenv(securedKafkaEnv); addr != "" {
		if os.Getenv(recordEnv) != "" {
			keepRecord(t, securityRecord, scripts, live(addr))
		}
		meet(t, live(n.addr), peer{name: "kafka", play: live(addr), allowed: "kafka-security.txt", whole: true}, scripts)
	}
	recorded := readRecord(t, securityRecord)
	meet(t, live(n.addr), peer{name: "recorded", play: func(t *testing.T, s script) []step { return recorded[s.name] }, allowed: "kafka-security.txt"}, scripts)
}

// playSecured runs one script, which starts as admin, and removes what it left.
func playSecured(t *testing.T, addr string, script script) []step {
	s := dialSession(t, addr)
	s.addr = addr
	s.become("admin")
	findCoordinator(s, "g")
	newTxn(s, "first") // so that the internal topics are there
	s.tidy()           // after a run that failed
	s.steps, s.names = nil, map[string]string{}
	script.run(s)
	steps := s.steps
	s.become("admin")
	s.tidy()
	return steps
}

// tidy removes what scripts may leave behind.
func (s *session) tidy() {
	send[*kmsg.DeleteACLsResponse](s, 2, deleteACLsRequest(anyACL()))
	settleACLs(s)
	groups := kmsg.NewPtrDeleteGroupsRequest()
	groups.Groups = []string{"g", "h"}
	send[*kmsg.DeleteGroupsResponse](s, 1, groups)
	for _, topic := range []string{"a", "b", "new"} {
		deleteTopic(s, topic)
	}
}

// become goes on as that user, on a connection of its own.
func (s *session) become(user string) {
	s.t.Helper()
	next := dialSession(s.t, s.addr)
	hello := kmsg.NewPtrSASLHandshakeRequest()
	hello.Mechanism = "PLAIN"
	send[*kmsg.SASLHandshakeResponse](next, 1, hello)
	login := kmsg.NewPtrSASLAuthenticateRequest()
	login.SASLAuthBytes = []byte("\x00" + user + "\x00" + passwords[user])
	if resp := send[*kmsg.SASLAuthenticateResponse](next, 1, login); resp.ErrorCode != 0 {
		s.t.Fatalf("login as %s: code %d", user, resp.ErrorCode)
	}
	_ = s.conn.Close()
	s.conn = next.conn
}

// acl is one entry, or as a filter what it matches: empty texts match all.
type acl struct {
	kind       kmsg.ACLResourceType
	name       string
	pattern    kmsg.ACLResourcePatternType
	principal  string
	operation  kmsg.ACLOperation
	permission kmsg.ACLPermissionType
}

// bobs allows bob something.
func bobs(kind kmsg.ACLResourceType, name string, operation kmsg.ACLOperation) acl {
	return acl{kind, name, kmsg.ACLResourcePatternTypeLiteral, "User:bob", operation, kmsg.ACLPermissionTypeAllow}
}

func anyACL() acl {
	return acl{kind: kmsg.ACLResourceTypeAny, pattern: kmsg.ACLResourcePatternTypeAny, operation: kmsg.ACLOperationAny, permission: kmsg.ACLPermissionTypeAny}
}

func createACLs(s *session, entries ...acl) {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, e := range entries {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = e.kind, e.name, e.pattern
		c.Principal, c.Host, c.Operation, c.PermissionType = e.principal, "*", e.operation, e.permission
		req.Creations = append(req.Creations, c)
	}
	do[*kmsg.CreateACLsResponse](s, 2, req)
}

func describeACLsRequest(filter acl) *kmsg.DescribeACLsRequest {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = filter.kind, filter.pattern, filter.operation, filter.permission
	if filter.name != "" {
		req.ResourceName = &filter.name
	}
	if filter.principal != "" {
		req.Principal = &filter.principal
	}
	return req
}

func describeACLs(s *session, filter acl) {
	do[*kmsg.DescribeACLsResponse](s, 2, describeACLsRequest(filter))
}

func deleteACLsRequest(filters ...acl) *kmsg.DeleteACLsRequest {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, f := range filters {
		one := kmsg.NewDeleteACLsRequestFilter()
		one.ResourceType, one.ResourcePatternType, one.Operation, one.PermissionType = f.kind, f.pattern, f.operation, f.permission
		if f.name != "" {
			one.ResourceName = &f.name
		}
		if f.principal != "" {
			one.Principal = &f.principal
		}
		req.Filters = append(req.Filters, one)
	}
	return req
}

func deleteACLs(s *session, filters ...acl) {
	do[*kmsg.DeleteACLsResponse](s, 2, deleteACLsRequest(filters...))
}

// settleACLs waits until the broker's list of entries stays as it is: a real Kafka
// answers a change before its brokers know it.
func settleACLs(s *session) {
	s.settled(func() []byte {
		resp := send[*kmsg.DescribeACLsResponse](s, 2, describeACLsRequest(anyACL()))
		return resp.AppendTo(nil)
	})
}

// settleUsers is settleACLs for users.
func settleUsers(s *session) {
	s.settled(func() []byte {
		resp := send[*kmsg.DescribeUserSCRAMCredentialsResponse](s, 0, kmsg.NewPtrDescribeUserSCRAMCredentialsRequest())
		return resp.AppendTo(nil)
	})
}

// settled asks until the answer has been the same for a while.
func (s *session) settled(ask func() []byte) {
	const looks = 10
	before := ask()
	for same, deadline := 0, time.Now().Add(patience); same < looks && time.Now().Before(deadline); same++ {
		if now := ask(); !bytes.Equal(now, before) {
			before, same = now, 0
		}
	}
}

func describeUsers(s *session, names ...string) {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, name := range names {
		req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: name})
	}
	do[*kmsg.DescribeUserSCRAMCredentialsResponse](s, 0, req)
}

func upsertion(name string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
	return kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
		Name: name, Mechanism: mechanism, Iterations: iterations, Salt: []byte("some salt of a user"), SaltedPassword: make([]byte, 32*int(max(mechanism, 1))),
	}
}

func alterUsers(s *session, deletions []kmsg.AlterUserSCRAMCredentialsRequestDeletion, upsertions ...kmsg.AlterUserSCRAMCredentialsRequestUpsertion) {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Deletions, req.Upsertions = deletions, upsertions
	do[*kmsg.AlterUserSCRAMCredentialsResponse](s, 0, req)
}
