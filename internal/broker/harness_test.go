package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"millrace/internal/broker"
	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/internal/vfs"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(idleClientsEnv); order != "" {
		if err := holdIdleConnections(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// startBroker serves a fresh data directory until the test ends, and returns its address.
func startBroker(t testing.TB) string {
	return serve(t, broker.Config{FS: openDir(t, t.TempDir()), DefaultPartitions: 2, Log: patient}).addr
}

// patient does not delete the tests' records, which are years old, on a machine
// so busy that a test meets the second pass of retention.
var patient = log.Options{RetentionInterval: time.Hour}

// givesUp is when a test no longer waits for what must happen soon. It measures
// nothing: the machine may be busy.
const givesUp = 90 * time.Second

func openDir(t testing.TB, dir string) vfs.FS {
	t.Helper()
	fsys, err := vfs.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fsys.Close() })
	return fsys
}

// node is a broker that serves on loopback.
type node struct {
	*broker.Broker
	addr   string
	served chan error
	broken bool // the test has broken its disk: Close must say so
}

// serve runs a broker on a free port until the test ends, or until stop.
func serve(t testing.TB, cfg broker.Config) *node {
	t.Helper()
	if cfg.Group.InitialRebalanceDelay == 0 {
		cfg.Group = group.Config{InitialRebalanceDelay: -1}
	}
	b, err := broker.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Broker: b, addr: ln.Addr().String(), served: make(chan error, 1)}
	go func() { n.served <- b.Serve(ln) }()
	t.Cleanup(func() { n.stop(t) })
	return n
}

// stop closes the broker and waits for its end. Safe to call twice.
func (n *node) stop(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), givesUp)
	defer cancel()
	if err := n.Close(ctx); (err != nil) != n.broken {
		t.Errorf("close broker: %v", err)
	}
	if n.served == nil {
		return
	}
	if err := <-n.served; err != nil && !errors.Is(err, broker.ErrClosed) { // the test may be over before Serve begins
		t.Errorf("serve: %v", err)
	}
	n.served = nil
}

// client is a kgo client of the node that ends with the test.
func (n *node) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// testContext ends well before the test binary's own deadline.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), givesUp)
	t.Cleanup(cancel)
	return ctx
}

// inside is a client of the broker's own process.
func (n *node) inside(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	own := kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) { return n.Dial(ctx) })
	return n.client(t, append([]kgo.Opt{own}, opts...)...)
}
