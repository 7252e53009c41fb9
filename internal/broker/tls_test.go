package broker_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
)

// pair is a self-signed certificate of localhost.
type pair struct{ cert, key []byte }

func newPair(t testing.TB, serial int64, from, until time.Time) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// pairFiles are the files of a certificate, in a directory of their own.
type pairFiles struct{ cert, key string }

func newPairFiles(t testing.TB) pairFiles {
	dir := t.TempDir()
	return pairFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

// write puts p into the files, each with a time of its own: tests are quicker
// than the clocks of file systems.
func (f pairFiles) write(t testing.TB, p pair, at time.Time) {
	t.Helper()
	for name, content := range map[string][]byte{f.cert: p.cert, f.key: p.key} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// fakeClock is a clock that a test moves.
type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *fakeClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *fakeClock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

// serveTLS is serveSecured behind TLS; clients trust the certificate of root.
func serveTLS(t testing.TB, certificates *broker.Certificates, cfg broker.Config) *node {
	t.Helper()
	n := serveSecured(t, cfg)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- n.Serve(tls.NewListener(plain, certificates.Config())) }()
	t.Cleanup(func() {
		n.stop(t)
		if err := <-served; err != nil {
			t.Errorf("serve TLS: %v", err)
		}
	})
	n.addr = plain.Addr().String()
	return n
}

func trusting(p pair) *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.cert)
	return &tls.Config{RootCAs: roots}
}

// TestTLSWithEveryMechanism is SASL_SSL.
func TestTLSWithEveryMechanism(t *testing.T) {
	p := newPair(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	files := newPairFiles(t)
	files.write(t, p, time.Now())
	certificates, err := broker.OpenCertificates(files.cert, files.key, time.Now, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := serveTLS(t, certificates, broker.Config{DefaultPartitions: 1})
	for _, m := range allMechanisms {
		ctx := testContext(t)
		cl := n.client(t, kgo.DialTLSConfig(trusting(p)), kgo.SASL(mechanismOf(m, "admin", adminPassword)), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics(m))
		large := bytes.Repeat([]byte(m), 50_000)
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: m, Value: large}).FirstErr(); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if got := cl.PollFetches(ctx); got.Err() != nil || !bytes.Equal(got.Records()[0].Value, large) {
			t.Fatalf("%s: %v", m, got.Err())
		}
	}
	// Who came by a name is told that name, so that the certificate fits (W4).
	byName := n.client(t, kgo.SeedBrokers(strings.Replace(n.addr, "127.0.0.1", "localhost", 1)), kgo.DialTLSConfig(trusting(p)), kgo.SASL(mechanismOf("PLAIN", "admin", adminPassword)))
	meta, err := kmsg.NewPtrMetadataRequest().RequestWith(testContext(t), byName)
	if err != nil || meta.Brokers[0].Host != "localhost" {
		t.Errorf("by name: %+v, %v", meta, err)
	}
	c := dial(t, n.addr) // plain text is no TLS
	c.write([]byte("\x00\x00\x00\x12\x00\x12\x00\x00\x00\x00\x00\x01\x00\x00"))
	_, _ = c.Read(make([]byte, 7)) // the alert
	c.expectClosed("plain text")
	old := trusting(p)
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if _, err := tls.Dial("tcp", n.addr, old); err == nil {
		t.Error("TLS 1.1 is served")
	}
}

// TestCertificateIsReloaded: a changed certificate serves whoever connects next;
// who is connected stays; what cannot be used is reported and not taken over.
func TestCertificateIsReloaded(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	first := newPair(t, 1, clock.at.Add(-time.Hour), clock.at.Add(100*24*time.Hour))
	second := newPair(t, 2, clock.at.Add(-time.Hour), clock.at.Add(200*24*time.Hour))
	files := newPairFiles(t)
	files.write(t, first, clock.at.Add(-3*time.Hour))
	var talk bytes.Buffer
	certificates, err := broker.OpenCertificates(files.cert, files.key, clock.now, slog.New(slog.NewTextHandler(&talk, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := serveTLS(t, certificates, broker.Config{})
	serial := func(p pair) int64 {
		t.Helper()
		c, err := tls.Dial("tcp", n.addr, trusting(p))
		if err != nil {
			t.Fatalf("dial: %v", err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	connected := n.client(t, kgo.DialTLSConfig(trusting(first)), kgo.SASL(mechanismOf("PLAIN", "admin", adminPassword)), kgo.RequestRetries(0))
	if err := connected.Ping(testContext(t)); err != nil || serial(first) != 1 {
		t.Fatalf("first certificate: %v", err)
	}
	files.write(t, second, clock.at.Add(-2*time.Hour))
	clock.add(2 * time.Second)
	if got := serial(second); got != 2 {
		t.Errorf("after the change certificate %d is served", got)
	}
	if err := connected.Ping(testContext(t)); err != nil {
		t.Errorf("an open connection: %v", err)
	}
	files.write(t, pair{second.cert, first.key}, clock.at.Add(-time.Hour))
	clock.add(2 * time.Second)
	if got := serial(second); got != 2 || !strings.Contains(talk.String(), "is not taken over") {
		t.Errorf("a pair that does not fit: certificate %d, and the log says %s", got, &talk)
	}
}

// TestCertificateThatCannotServe: each fault is said at the start.
func TestCertificateThatCannotServe(t *testing.T) {
	now := time.Now()
	good := newPair(t, 1, now.Add(-time.Hour), now.Add(time.Hour))
	other := newPair(t, 2, now.Add(-time.Hour), now.Add(time.Hour))
	for name, tc := range map[string]struct {
		p    pair
		says string
	}{
		"expired":       {newPair(t, 1, now.Add(-2*time.Hour), now.Add(-time.Hour)), "expired on"},
		"not yet valid": {newPair(t, 1, now.Add(time.Hour), now.Add(2*time.Hour)), "not valid before"},
		"another key":   {pair{good.cert, other.key}, "does not match"},
		"no PEM":        {pair{[]byte("x"), []byte("y")}, "failed to find"},
	} {
		files := newPairFiles(t)
		files.write(t, tc.p, now)
		_, err := broker.OpenCertificates(files.cert, files.key, time.Now, slog.New(slog.DiscardHandler), nil)
		if !errors.Is(err, broker.ErrCertificate) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := broker.OpenCertificates("no-such-file", "x", time.Now, slog.New(slog.DiscardHandler), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestCertificateNearItsEnd: the log warns before the end and complains after it,
// once a day, and the metric holds the time.
func TestCertificateNearItsEnd(t *testing.T) {
	clock := &fakeClock{at: time.Now()}
	files := newPairFiles(t)
	p := newPair(t, 1, clock.at.Add(-time.Hour), clock.at.Add(10*24*time.Hour))
	files.write(t, p, clock.at)
	var talk bytes.Buffer
	registry := prometheus.NewRegistry()
	certificates, err := broker.OpenCertificates(files.cert, files.key, clock.now, slog.New(slog.NewTextHandler(&talk, nil)), registry)
	if err != nil {
		t.Fatal(err)
	}
	config := certificates.Config()
	hello := func() {
		if _, err := config.GetCertificate(&tls.ClientHelloInfo{}); err != nil {
			t.Fatal(err)
		}
	}
	hello()
	if got := strings.Count(talk.String(), "expires soon"); got != 1 {
		t.Errorf("%d warnings on the first day: %s", got, &talk)
	}
	clock.add(25 * time.Hour)
	hello()
	clock.add(time.Minute)
	hello()
	if got := strings.Count(talk.String(), "expires soon"); got != 2 {
		t.Errorf("%d warnings on the second day", got)
	}
	clock.add(10 * 24 * time.Hour)
	hello()
	if !strings.Contains(talk.String(), "has expired") {
		t.Errorf("the end is not in the log: %s", &talk)
	}
	count, err := testutil.GatherAndCount(registry, "millrace_broker_tls_certificate_expiry_timestamp_seconds")
	if err != nil || count != 1 || !certificates.Expiry().Equal(expiryOf(t, p)) {
		t.Errorf("metric: %d, %v, %v", count, err, certificates.Expiry())
	}
}

func expiryOf(t *testing.T, p pair) time.Time {
	t.Helper()
	block, _ := pem.Decode(p.cert)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c.NotAfter
}

// A TLS client that never finishes its handshake is cut off like one that never
// logs in, also where nobody is asked to log in.
func TestTLSHandshakeHasADeadline(t *testing.T) {
	p := newPair(t, 1, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	files := newPairFiles(t)
	files.write(t, p, time.Now())
	certificates, err := broker.OpenCertificates(files.cert, files.key, time.Now, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(broker.Config{FS: openDir(t, t.TempDir()), LoginTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve(tls.NewListener(ln, certificates.Config())) }()
	dial(t, ln.Addr().String()).expectClosed("no handshake")
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
