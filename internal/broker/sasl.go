package broker

import (
	"container/list"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/auth"
	"millrace/internal/wire"
)

const (
	saslHandshakeKey    = int16(kmsg.SASLHandshake)
	saslAuthenticateKey = int16(kmsg.SASLAuthenticate)
)

// login is how far a client has come with proving who it is. It runs on the
// connection's reader, so the first request after it is judged by its outcome.
type login struct {
	deadline  *time.Timer // cuts the connection off
	mechanism auth.Mechanism
	raw       bool        // after SaslHandshake v0 tokens come without a header (W6)
	scram     *auth.Scram // nil for PLAIN
	requests  int         // so far, tokens without a header not counted: they are one or two
}

// maxLoginRequests bounds what a client may ask before it has logged in. A login
// takes four requests.
const maxLoginRequests = 32

// session is a connection's part in security: who the client is, and how far it
// has come with proving it. Both belong to the connection's reader until the
// first request after the login.
type session struct {
	who       identity
	login     *login // nil when nobody asks for a login, and after it
	encrypted bool
	dialled   string // the name by which a TLS client reached us, if it says it
	inside    bool   // made by this process, see Broker.Dial
	end       error  // why the reader must stop once the answer at hand is given

	user     atomic.Pointer[string] // who logged in; for those who look from outside
	stranger *list.Element          // its place among who has not logged in; under Broker.mu
}

// errNotLoggedIn ends a connection that did not keep to the order of a login.
var errNotLoggedIn = errors.New("broker: not logged in")

// errLoginFailed ends a connection whose login was refused.
var errLoginFailed = errors.New("broker: login failed")

// beginLogin gives the client until the deadline to log in.
func (c *conn) beginLogin() {
	c.reader.SetAuthenticated(false)
	c.login = &login{}
	c.login.deadline = time.AfterFunc(c.b.cfg.LoginTimeout, func() {
		c.b.complaints.warn("a client did not log in in time; its connection is closed", "client", c.remote.String(), "within", c.b.cfg.LoginTimeout)
		c.b.metrics.failedLogins.WithLabelValues("timeout").Inc()
		c.giveUp()
	})
}

// nextFrame reads a request, or a token without header in the middle of a login.
func (c *conn) nextFrame() (*wire.Frame, error) {
	if c.expectsToken() {
		return c.reader.ReadToken(c.ctx)
	}
	return c.reader.ReadFrame(c.ctx)
}

func (c *conn) expectsToken() bool { return c.login != nil && c.login.raw }

// mayAsk refuses what only comes after the login. Kafka closes the connection,
// too: it has no error code that every answer could carry.
func (c *conn) mayAsk(key int16) error {
	if c.login == nil {
		return nil
	}
	if c.login.requests++; c.login.requests > maxLoginRequests {
		return fmt.Errorf("%w: %d requests came before the login", errNotLoggedIn, c.login.requests)
	}
	if beforeLogin(key) {
		return nil
	}
	return fmt.Errorf("%w: a %s request came before the login: this listener asks for one, set security.protocol to SASL_PLAINTEXT or SASL_SSL in the client", errNotLoggedIn, wire.Name(key))
}

// beforeLogin reports whether a request kind is served to who has not logged in.
func beforeLogin(key int16) bool {
	return key == apiVersionsKey || key == saslHandshakeKey || key == saslAuthenticateKey
}

// mechanisms are those by which this connection can log in. PLAIN carries the
// password itself: over plain text it is for clients on this machine only.
func (c *conn) mechanisms() []auth.Mechanism {
	all := auth.ScramMechanisms()
	if c.encrypted || c.remote.Addr().IsLoopback() {
		all = append(all, auth.Plain)
	}
	return all
}

// saslHandshake chooses the mechanism.
func (b *Broker) saslHandshake(c *conn, req *kmsg.SASLHandshakeRequest) reply {
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	mechanisms := c.mechanisms()
	for _, m := range mechanisms {
		resp.SupportedMechanisms = append(resp.SupportedMechanisms, string(m))
	}
	chosen := auth.Mechanism(req.Mechanism)
	switch {
	case c.login == nil:
		resp.ErrorCode = kerr.IllegalSaslState.Code // as Kafka, on a listener without SASL and after a login
	case c.login.mechanism != "":
		resp.ErrorCode = kerr.IllegalSaslState.Code
		c.end = fmt.Errorf("%w: a second SaslHandshake", errNotLoggedIn)
	case !slices.Contains(mechanisms, chosen):
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		b.metrics.failedLogins.WithLabelValues("mechanism").Inc()
		c.end = fmt.Errorf("%w: the mechanism %q is not offered here, %v are", errLoginFailed, req.Mechanism, mechanisms)
	default:
		c.login.choose(b, chosen)
		c.login.raw = req.Version == 0
	}
	return answer(resp)
}

func (l *login) choose(b *Broker, m auth.Mechanism) {
	l.mechanism = m
	if m == auth.Plain {
		return
	}
	nonce := make([]byte, 24)
	_, _ = rand.Read(nonce) // never fails (Go 1.24)
	users := b.security.users()
	l.scram = auth.NewScram(m, base64.RawStdEncoding.EncodeToString(nonce), func(user string) auth.Credential {
		c, _ := users.Credential(user, m)
		return c
	})
}

// saslAuthenticate takes the next token of the login.
func (b *Broker) saslAuthenticate(c *conn, req *kmsg.SASLAuthenticateRequest) reply {
	resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	if c.login == nil || c.login.mechanism == "" {
		text := "SaslHandshake comes first"
		if c.login == nil {
			text = "this connection needs no login, or has logged in already: re-authentication is not served, connect anew"
		} else {
			c.end = fmt.Errorf("%w: SaslAuthenticate without SaslHandshake", errNotLoggedIn)
		}
		resp.ErrorCode, resp.ErrorMessage = kerr.IllegalSaslState.Code, &text
		return answer(resp)
	}
	token, err := c.logIn(req.SASLAuthBytes)
	if err == nil {
		resp.SASLAuthBytes = token
		return answer(resp)
	}
	text := fmt.Sprintf("Authentication failed: invalid credentials with SASL mechanism %s", c.login.mechanism)
	if errors.Is(err, auth.ErrMalformed) {
		text = fmt.Sprintf("Authentication failed: invalid message of SASL mechanism %s", c.login.mechanism)
	}
	resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &text
	return b.afterDelay(c, answer(resp))
}

// token takes a token without a header. Its answer has none either, so a failed
// login is told by closing the connection, as in Kafka.
func (c *conn) token(frame *wire.Frame) (pending, error) {
	p := pending{key: saslAuthenticateKey, received: time.Now()}
	token, err := c.logIn(frame.Body)
	if err == nil {
		p.reply = answer(rawToken(token))
		return p, nil
	}
	p.reply = c.b.afterDelay(c, refuse(errLoginFailed))
	return p, errLoginFailed
}

// rawToken is the answer to a token without a header.
type rawToken []byte

func (rawToken) Key() int16 { return saslAuthenticateKey }

func (t rawToken) writeFrame(c *conn, _ int32) error { return c.writeAll(wire.AppendToken(nil, t)) }

// logIn goes one step on. After an error the connection ends.
func (c *conn) logIn(token []byte) (answer []byte, err error) {
	user, done := "", true
	if l := c.login; l.scram != nil {
		answer, done, err = l.scram.Step(token)
		user = l.scram.User()
	} else {
		user, err = c.checkPassword(token)
	}
	switch {
	case err != nil:
		c.loginFailed(user, err)
	case done:
		c.loggedIn(user)
	}
	return answer, err
}

// checkPassword is the one step of PLAIN. Few are checked at the same time, so
// that strangers who try passwords leave the processors to others.
func (c *conn) checkPassword(token []byte) (user string, err error) {
	user, password, err := auth.ParsePlain(token)
	if err != nil {
		return user, err
	}
	select {
	case c.b.security.hashing <- struct{}{}:
		defer func() { <-c.b.security.hashing }()
	case <-c.ctx.Done():
		return user, c.ctx.Err()
	}
	if !c.b.security.users().Verify(user, password) {
		return user, auth.ErrDenied
	}
	return user, nil
}

func (c *conn) loggedIn(user string) {
	if !c.login.deadline.Stop() {
		return // it has just cut the connection off
	}
	c.b.logger.Debug("a client has logged in", "client", c.remote.String(), "user", user, "mechanism", c.login.mechanism)
	c.who.principal = auth.UserPrincipal(user)
	c.who.free = c.b.security.super[c.who.principal]
	c.user.Store(&user)
	c.login = nil
	c.reader.SetAuthenticated(true)
	c.reader.UseBudget(c.b.requestBudget)
	c.b.welcome(c)
	if len(c.b.security.users().Mechanisms(user)) == 0 {
		c.giveUp() // removed while it logged in
	}
}

// loginFailed takes note. A name that is no user's is not logged: people type
// their password into the wrong field.
func (c *conn) loginFailed(user string, err error) {
	c.end = errLoginFailed
	c.b.metrics.failedLogins.WithLabelValues("credentials").Inc()
	if len(c.b.security.users().Mechanisms(user)) == 0 {
		user = "(unknown)"
	}
	c.b.complaints.warn("a login failed", "client", c.remote.String(), "user", user, "mechanism", c.login.mechanism, "error", err)
}

// afterDelay is r after the time that the client's address has to wait for its
// failed logins.
func (b *Broker) afterDelay(c *conn, r reply) reply {
	delay := b.security.delays.next(c.remote.Addr(), time.Now(), b.cfg.FailedLoginDelay)
	return func(ctx context.Context) (response, error) {
		sleep(b.running, delay)
		return r(ctx)
	}
}
