package broker_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
)

// flood holds connections that never log in, from a process of its own.
func flood(t *testing.T, addr string, connections int) {
	t.Helper()
	client := exec.Command(os.Args[0])
	client.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", idleClientsEnv, addr, connections))
	client.Stderr = os.Stderr
	stdin, err := client.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = client.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the flood says %q: %v", line, err)
	}
}

// Ten thousand connections that do not log in keep nobody out: not who is in, not
// who comes with a password while they are there, and not by the memory that
// their requests could hold.
func TestStrangersStarveNobody(t *testing.T) {
	n := serveSecured(t, broker.Config{MaxConnections: 10_000, MaxConnectionsPerIP: 20_000, DefaultPartitions: 1})
	within := func(what string, cl *kgo.Client) {
		t.Helper()
		if err := cl.ProduceSync(testContext(t), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	early := n.as(t, "admin", kgo.AllowAutoTopicCreation())
	within("before the flood", early)
	before := residentBytes(t)
	flood(t, n.addr, openFiles(10_000))
	if grown := residentBytes(t) - before; grown > 1000*(64<<10) {
		t.Errorf("strangers take %d MiB", grown>>20)
	}
	within("who is in", early)
	within("who comes", n.as(t, "admin"))
	if n.Strangers() > 1000 {
		t.Errorf("%d strangers are held", n.Strangers())
	}
	for range 200 { // as large a request as a stranger may send, all but its last byte
		c := dial(t, n.addr)
		c.write(append(binary.BigEndian.AppendUint32(nil, 64<<10), make([]byte, 64<<10-1)...))
	}
	within("who is in, under large requests", early)
	within("who comes, under large requests", n.as(t, "admin"))
	if used := n.RequestMemoryBytes(); used > 1<<20 {
		t.Errorf("strangers hold %d bytes of the memory for requests", used)
	}
}

// At the bounds of one address and of all, the oldest stranger makes place; who
// has logged in stays, and beyond that a newcomer is refused.
func TestStrangersMakePlace(t *testing.T) {
	n := serveSecured(t, broker.Config{MaxConnections: 5, MaxConnectionsPerIP: 4}, "ana")
	var strangers []*rawConn
	for range 4 {
		c := dial(t, n.addr)
		c.expectAlive()
		strangers = append(strangers, c)
	}
	m := &matrix{node: n}
	in := m.login(t, "ana")
	strangers[0].expectClosed("the oldest")
	second, third, fourth := m.login(t, "ana"), m.login(t, "ana"), m.login(t, "ana")
	for _, c := range []*rawConn{in, second, third, fourth} {
		c.expectAlive()
	}
	full := dial(t, n.addr)
	full.expectClosed("one more than the address may have")
	in.expectAlive()
}

// A client that asks for TLS on the plain listener, or speaks HTTP, is a stranger
// like any other.
func TestStrangersOfOtherProtocols(t *testing.T) {
	n := serveSecured(t, broker.Config{})
	for _, hello := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		raw := &rawConn{Conn: c, t: t}
		raw.write([]byte(hello))
		raw.expectClosed(hello[:3])
		_ = c.Close()
	}
}
