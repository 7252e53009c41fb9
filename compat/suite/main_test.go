package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// shared is the broker of all tests that do not kill it.
var shared struct {
	once   sync.Once
	broker *target.Broker
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.broker != nil {
		shared.broker.Close()
	}
	closeSecured()
	if foreign.PrintLeftOut(os.Stdout) > 0 && os.Getenv("STRICT") == "1" && code == 0 {
		code = 1
	}
	os.Exit(code)
}

func kind(t *testing.T) target.Kind {
	t.Helper()
	k, err := target.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sharedBroker returns the broker that all tests use which leave it alive.
func sharedBroker(t *testing.T) *target.Broker {
	t.Helper()
	shared.once.Do(func() {
		shared.broker, shared.err = target.Start(context.Background(), target.Options{Kind: kind(t)})
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	select {
	case <-shared.broker.Exited():
		t.Fatalf("the broker died in an earlier test:\n%s", shared.broker.LogTail())
	default:
	}
	return shared.broker
}

// ownBroker starts a broker for one test.
func ownBroker(t *testing.T, o target.Options) *target.Broker {
	t.Helper()
	o.Kind = kind(t)
	b, err := target.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's last words:\n%s", b.LogTail())
		}
		b.Close()
	})
	return b
}

// leaveOut ends a test whose foreign program is not to be had here. It is the
// only place where the suite skips: the reason is printed with the test and
// again at the end of the run, and STRICT=1 makes it a failure.
func leaveOut(t *testing.T, what string, why error) {
	t.Helper()
	foreign.LeaveOut(what, why)
	t.Skipf("LEFT OUT: %s: %v", what, why)
}

var topics atomic.Int64

// newTopic names a topic that does not exist yet.
func newTopic(t *testing.T) string {
	name := strings.NewReplacer("/", "-", " ", "_", "#", "_").Replace(strings.ToLower(t.Name()))
	return fmt.Sprintf("%s-%d-%d", name, os.Getpid(), topics.Add(1))
}

func dial(t *testing.T, b *target.Broker) *probe.Conn {
	t.Helper()
	conn, err := probe.Dial(t.Context(), b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// output runs a command to its end and returns what it printed; a failure or
// the deadline fails the test.
func output(t *testing.T, within time.Duration, argv ...string) string {
	t.Helper()
	out, err := runFor(t, within, argv...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, tail(out))
	}
	return out
}

// failing runs one of Kafka's tools that has to fail, and returns what it said.
func failing(t *testing.T, b *target.Broker, name string, args ...string) string {
	t.Helper()
	out, err := runFor(t, soon, tool(t, name, append([]string{"--bootstrap-server", b.Addr}, args...)...)...)
	if err == nil {
		t.Errorf("%s %s did not fail:\n%s", name, strings.Join(args, " "), tail(out))
	}
	return out
}

// runFor runs a command to its end, or kills it when its time is over.
func runFor(t *testing.T, within time.Duration, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = target.Orphanless()
	raw, err := cmd.CombinedOutput()
	return string(raw), err
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// restart kills the broker with SIGKILL and starts it again.
func restart(t *testing.T, b *target.Broker) {
	t.Helper()
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}
