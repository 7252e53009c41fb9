package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"millrace/internal/broker"
)

const adminPassword = "correct horse"

// serveSecured runs a broker that asks for a login, with a super user admin and
// the other users, whose passwords are their names and "-pw".
func serveSecured(t testing.TB, cfg broker.Config, users ...string) *node {
	t.Helper()
	if cfg.FS == nil {
		cfg.FS = openDir(t, t.TempDir())
	}
	cfg.RequireLogin, cfg.SuperUsers = true, []string{"User:admin"}
	if cfg.FailedLoginDelay == 0 {
		cfg.FailedLoginDelay = time.Millisecond
	}
	n := serve(t, cfg)
	if err := n.AddUser("admin", adminPassword); err != nil && !errors.Is(err, broker.ErrUserExists) {
		t.Fatal(err)
	}
	for _, name := range users {
		if err := n.AddUser(name, name+"-pw"); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func mechanismOf(name, user, password string) sasl.Mechanism {
	switch name {
	case "PLAIN":
		return saslplain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	}
	return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
}

var allMechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// as is a client that logs in as that user.
func (n *node) as(t testing.TB, user string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	password := user + "-pw"
	if user == "admin" {
		password = adminPassword
	}
	return n.client(t, append([]kgo.Opt{kgo.SASL(mechanismOf("SCRAM-SHA-256", user, password))}, opts...)...)
}

// TestLoginByEveryMechanism produces and fetches behind each kind of login.
func TestLoginByEveryMechanism(t *testing.T) {
	n := serveSecured(t, broker.Config{DefaultPartitions: 1})
	for _, m := range allMechanisms {
		t.Run(m, func(t *testing.T) {
			ctx := testContext(t)
			cl := n.client(t, kgo.SASL(mechanismOf(m, "admin", adminPassword)), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics(m))
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: m, Value: []byte(m)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if got := cl.PollFetches(ctx); got.Err() != nil || string(got.Records()[0].Value) != m {
				t.Fatalf("fetched %v: %v", got.Records(), got.Err())
			}
		})
	}
}

// A wrong password, an unknown user and a mechanism that is not there are told
// by Kafka's codes, and the connection ends.
func TestLoginsThatFail(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	for _, m := range allMechanisms {
		for name, who := range map[string][2]string{"wrong password": {"admin", "x"}, "unknown user": {"nobody", adminPassword}} {
			cl := n.client(t, kgo.SASL(mechanismOf(m, who[0], who[1])), kgo.RequestRetries(0))
			if err := cl.Ping(testContext(t)); !errors.Is(err, kerr.SaslAuthenticationFailed) {
				t.Errorf("%s, %s: %v", m, name, err)
			}
		}
	}
	c := dial(t, n.addr)
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "OAUTHBEARER"
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.Version = 1
	c.receive(c.send(1, req), resp)
	if resp.ErrorCode != kerr.UnsupportedSaslMechanism.Code || len(resp.SupportedMechanisms) != 3 {
		t.Errorf("%+v", resp)
	}
	c.expectClosed(t.Name())
}

// TestNothingBeforeTheLogin: what is not part of the login costs the connection,
// also a second attempt on it.
func TestNothingBeforeTheLogin(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	for name, first := range map[string]kmsg.Request{
		"metadata":     kmsg.NewPtrMetadataRequest(),
		"produce":      kmsg.NewPtrProduceRequest(),
		"users":        kmsg.NewPtrAlterUserSCRAMCredentialsRequest(),
		"authenticate": kmsg.NewPtrSASLAuthenticateRequest(),
	} {
		c := dial(t, n.addr)
		versions := kmsg.NewPtrApiVersionsRequest()
		c.receive(c.send(0, versions), versions.ResponseKind())
		c.send(0, first)
		if name == "authenticate" {
			if _, err := c.nextFrame(); err != nil { // it has an error code of its own
				t.Error(err)
			}
		}
		c.expectClosed(t.Name())
	}
	c := dial(t, n.addr)
	c.write(binary.BigEndian.AppendUint32(nil, 64<<10+1))
	c.expectClosed(t.Name())
}

// A login that has not come to its end in time is cut off, wherever it stands.
func TestLoginHasADeadline(t *testing.T) {
	n := serveSecured(t, broker.Config{LoginTimeout: 200 * time.Millisecond})
	silent, begun := dial(t, n.addr), dial(t, n.addr)
	begun.expectAlive()
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "PLAIN"
	call[*kmsg.SASLHandshakeResponse](begun, 0, req)
	silent.expectClosed("a silent client")
	begun.expectClosed("a client in the middle of its login")
}

// A client that only asks for versions, as fast as it can, is cut off as well.
func TestLoginHasABound(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	c := dial(t, n.addr)
	for asked := 0; ; asked++ {
		c.send(0, kmsg.NewPtrApiVersionsRequest())
		if _, err := c.nextFrame(); err != nil {
			if asked != 32 {
				t.Errorf("cut off after %d requests", asked)
			}
			return
		}
	}
}

// TestRawTokens is the login of kafka-python 2.0.2: SaslHandshake v0, then
// tokens without headers (W6, R20). A wrong password is told by closing.
func TestRawTokens(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	login := func(password string) *rawConn {
		c := dial(t, n.addr)
		req := kmsg.NewPtrSASLHandshakeRequest()
		req.Mechanism = "PLAIN"
		resp := kmsg.NewPtrSASLHandshakeResponse()
		c.receive(c.send(0, req), resp)
		if resp.ErrorCode != 0 {
			t.Fatalf("handshake: %v", kerr.ErrorForCode(resp.ErrorCode))
		}
		token := "\x00admin\x00" + password
		c.write(append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...))
		return c
	}
	c := login(adminPassword)
	if got := c.receiveFrame(); len(got) != 0 {
		t.Errorf("the answer to the token is %q", got)
	}
	c.expectAlive()
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version = 1
	c.receive(c.send(1, meta), meta.ResponseKind())
	wrong := login("x")
	if _, err := wrong.nextFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("after a wrong password: %v", err)
	}
}

// The exchange of SCRAM works over raw tokens, too.
func TestRawScramTokens(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	c := dial(t, n.addr)
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "SCRAM-SHA-512"
	c.receive(c.send(0, req), kmsg.NewPtrSASLHandshakeResponse())
	session, token, err := mechanismOf("SCRAM-SHA-512", "admin", adminPassword).Authenticate(context.Background(), n.addr)
	for done := false; !done; {
		if err != nil {
			t.Fatal(err)
		}
		c.write(append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...))
		done, token, err = session.Challenge(c.receiveFrame())
	}
	c.expectAlive()
}

// Who has logged in may not log in again on the same connection; it is told, and
// goes on as who it is.
func TestNoSecondLogin(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	cl := n.as(t, "admin")
	req := kmsg.NewPtrSASLHandshakeRequest()
	req.Mechanism = "PLAIN"
	resp, err := req.RequestWith(testContext(t), cl)
	if err != nil || resp.ErrorCode != kerr.IllegalSaslState.Code {
		t.Errorf("%+v, %v", resp, err)
	}
	auth := kmsg.NewPtrSASLAuthenticateRequest()
	second, err := auth.RequestWith(testContext(t), cl)
	if err != nil || second.ErrorCode != kerr.IllegalSaslState.Code || second.ErrorMessage == nil {
		t.Errorf("%+v, %v", second, err)
	}
	if err := cl.Ping(testContext(t)); err != nil {
		t.Error(err)
	}
	open := startBroker(t)
	c := dial(t, open)
	answer := kmsg.NewPtrSASLHandshakeResponse()
	c.receive(c.send(0, req), answer)
	if answer.ErrorCode != kerr.IllegalSaslState.Code {
		t.Errorf("without logins: %v", kerr.ErrorForCode(answer.ErrorCode))
	}
	c.expectAlive()
}

// TestRemovedUserIsOut: a user's connections end with the user.
func TestRemovedUserIsOut(t *testing.T) {
	n := serveSecured(t, broker.Config{}, "ana")
	cl := n.as(t, "ana", kgo.RequestRetries(0))
	if err := cl.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := n.SetPassword("ana", "new"); err != nil {
		t.Fatal(err)
	}
	if err := cl.Ping(testContext(t)); err != nil {
		t.Errorf("a new password cut a connection: %v", err)
	}
	if err := n.RemoveUser("ana"); err != nil {
		t.Fatal(err)
	}
	if err := cl.Ping(testContext(t)); err == nil {
		t.Error("a removed user goes on")
	}
	if err := n.RemoveUser("ana"); !errors.Is(err, broker.ErrNoUser) {
		t.Errorf("removed twice: %v", err)
	}
}

// Each connection from within has a port of its own: were it told, a client would
// leave all its connections behind at each look at the metadata.
func TestClientsFromWithinStayConnected(t *testing.T) {
	n := serve(t, broker.Config{FS: openDir(t, t.TempDir())})
	addresses := make(map[string]bool)
	for range 3 {
		meta, err := kmsg.NewPtrMetadataRequest().RequestWith(testContext(t), n.inside(t))
		if err != nil {
			t.Fatal(err)
		}
		addresses[fmt.Sprint(meta.Brokers[0].Host, ":", meta.Brokers[0].Port)] = true
	}
	if len(addresses) != 1 {
		t.Errorf("clients of the process are told %v", addresses)
	}
}

// TestDialFromWithin: the process itself needs no listener, no login and no ACL.
func TestDialFromWithin(t *testing.T) {
	n := serveSecured(t, broker.Config{MaxConnections: 1, MaxConnectionsPerIP: 1, DefaultPartitions: 1})
	outside := n.as(t, "admin")
	if err := outside.Ping(testContext(t)); err != nil {
		t.Fatal(err)
	}
	inside := n.inside(t, kgo.AllowAutoTopicCreation())
	if err := inside.ProduceSync(testContext(t), &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
