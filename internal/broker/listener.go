package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// admit starts a connection, or closes it when there are too many.
func (b *Broker) admit(socket net.Conn, inside bool) {
	c := newConn(b, socket)
	c.inside = inside
	c.who = identity{host: c.remote.Addr().String(), free: inside || !b.cfg.RequireLogin}
	if reason := b.register(c); reason != "" {
		c.cancel()
		_ = socket.Close()
		b.metrics.refusedConnections.WithLabelValues(reason).Inc()
		b.complaints.warn("connection refused", "client", c.remote.String(), "reason", reason)
		return
	}
	go func() {
		defer b.serving.Done()
		defer b.unregister(c)
		c.begin()
	}()
}

// begin does what comes before the first request, then serves.
func (c *conn) begin() {
	if !c.who.free {
		c.beginLogin()
		c.reader.UseBudget(c.b.loginBudget)
		defer c.login.deadline.Stop()
	}
	if err := c.shakeHands(); err != nil {
		c.b.metrics.refusedConnections.WithLabelValues("TLS handshake").Inc()
		c.b.complaints.warn("a TLS handshake failed", "client", c.remote.String(), "error", err)
		c.giveUp()
		return
	}
	c.serve()
}

// shakeHands does the TLS handshake on the TLS listener.
func (c *conn) shakeHands() error {
	secure, ok := c.socket.(*tls.Conn)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.b.cfg.LoginTimeout)
	defer cancel()
	err := secure.HandshakeContext(ctx)
	var plain tls.RecordHeaderError
	switch {
	case err == nil:
		c.encrypted = true
		c.dialled = secure.ConnectionState().ServerName
	case errors.As(err, &plain):
		return fmt.Errorf("the client does not speak TLS, this listener does: set security.protocol to SSL or SASL_SSL in the client: %w", err)
	case strings.Contains(err.Error(), "unknown certificate authority"), strings.Contains(err.Error(), "bad certificate"):
		return fmt.Errorf("the client does not trust our certificate: give it the certificate of the authority that signed ours: %w", err)
	}
	return err
}

// tlsRecord is the most that one record of TLS holds.
const tlsRecord = 16 << 10

// writeEncrypted sends small pieces together: over TLS each write is a record and
// a system call of its own, and there is no vectored write.
func (c *conn) writeEncrypted(frame net.Buffers) error {
	out := bufio.NewWriterSize(c.socket, tlsRecord)
	for _, piece := range frame {
		if _, err := out.Write(piece); err != nil {
			return err
		}
	}
	return out.Flush()
}

// evictionSlack is how many connections that were given up may still be ending
// while their successors are served.
const evictionSlack = 64

// maxStrangers bounds the connections that have not logged in. At the bound, and
// where they take the room of the other bounds, the oldest one makes place for a
// newcomer: who knows a password needs it for milliseconds only, so no crowd of
// strangers can keep him out.
func (c Config) maxStrangers() int { return max(1, min(1000, c.MaxConnections/2)) }

// register says why c may not stay, or takes note of it and of the goroutine that
// the caller starts for it. The connections of this
// process itself are few and always stay.
func (b *Broker) register(c *conn) (refused string) {
	ip := c.remote.Addr()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.stopped {
		return "stopping"
	}
	if !c.inside {
		if b.mu.strangers.Len() >= b.cfg.maxStrangers() {
			b.evictLocked(anybody)
		}
		if b.mu.perIP[ip] >= b.cfg.MaxConnectionsPerIP && !b.evictLocked(ip) {
			return "too many connections of one address"
		}
		if len(b.mu.conns)-b.mu.insiders >= b.cfg.MaxConnections && !b.evictLocked(anybody) {
			return "too many connections"
		}
		b.mu.perIP[ip]++
	} else {
		b.mu.insiders++
	}
	b.serving.Add(1)
	b.mu.conns[c] = struct{}{}
	if !c.who.free {
		c.stranger = b.mu.strangers.PushBack(c)
	}
	return ""
}

// giveUp ends a connection from outside of its goroutines, whatever they wait for.
func (c *conn) giveUp() {
	c.cancel()
	c.cut()
}

var anybody netip.Addr

// evictLocked gives up the oldest connection that has not logged in, of that
// address or of any. It is false when there is none.
func (b *Broker) evictLocked(ip netip.Addr) bool {
	for e := b.mu.strangers.Front(); e != nil; e = e.Next() {
		c := e.Value.(*conn)
		if ip != anybody && c.remote.Addr() != ip {
			continue
		}
		b.metrics.refusedConnections.WithLabelValues("not logged in, room was needed").Inc()
		b.forgetLocked(c)
		c.giveUp()
		return true
	}
	return false
}

// welcome takes c, which has logged in, from the strangers.
func (b *Broker) welcome(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.stranger != nil {
		b.mu.strangers.Remove(c.stranger)
		c.stranger = nil
	}
}

func (b *Broker) unregister(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetLocked(c)
}

// forgetLocked no longer counts c. It may have been forgotten before.
func (b *Broker) forgetLocked(c *conn) {
	if _, known := b.mu.conns[c]; !known {
		return
	}
	delete(b.mu.conns, c)
	if c.stranger != nil {
		b.mu.strangers.Remove(c.stranger)
		c.stranger = nil
	}
	if c.inside {
		b.mu.insiders--
		return
	}
	ip := c.remote.Addr()
	if b.mu.perIP[ip]--; b.mu.perIP[ip] == 0 {
		delete(b.mu.perIP, ip)
	}
}

// Dial opens a connection of this process to itself, which may do everything
// without a login, counts for no limit, and does not depend on what listeners
// there are. The network is the loopback, but nobody else can come in this way:
// the one connection that is accepted is the one that was just dialled.
func (b *Broker) Dial(ctx context.Context) (net.Conn, error) {
	door, err := new(net.ListenConfig).Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return nil, fmt.Errorf("connect to the broker from within: %w", err)
	}
	defer door.Close()
	near, err := new(net.Dialer).DialContext(ctx, "tcp", door.Addr().String())
	if err != nil {
		return nil, fmt.Errorf("connect to the broker from within: %w", err)
	}
	_ = door.(*net.TCPListener).SetDeadline(time.Now().Add(5 * time.Second))
	for {
		far, err := door.Accept()
		if err != nil {
			_ = near.Close()
			return nil, fmt.Errorf("connect to the broker from within: %w", err)
		}
		if far.RemoteAddr().String() == near.LocalAddr().String() {
			b.admit(far, true)
			return near, nil
		}
		_ = far.Close()
	}
}

// protocol is Kafka's name for how this client speaks to us.
func (c *conn) protocol() string {
	name := "PLAINTEXT"
	if c.encrypted {
		name = "SSL"
	}
	if c.b.cfg.RequireLogin && !c.inside {
		name = "SASL_" + name
	}
	return name
}

// Strangers is the number of connections that have not logged in.
func (b *Broker) Strangers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.strangers.Len()
}
