package broker_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// R1, R2, W2: a malformed frame costs its own connection and nothing else.
func TestMalformedFramesCostTheirConnection(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	bystander := dial(t, n.addr)
	bystander.expectAlive()
	for name, frame := range map[string][]byte{
		"R1: API key 9999":          {0, 0, 0, 10, 0x27, 0x0f, 0, 0, 0, 0, 0, 1, 0xff, 0xff},
		"R2: length 2 GiB":          {0x7f, 0xff, 0xff, 0xff},
		"R2: length 4 GiB":          {0xff, 0xff, 0xff, 0xff},
		"R2: negative length":       {0x80, 0, 0, 0},
		"length 0":                  {0, 0, 0, 0},
		"unserved version":          {0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff},
		"negative version":          {0, 0, 0, 10, 0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff},
		"HTTP":                      []byte("GET / HTTP/1.1\r\n\r\n"),
		"array of 2 billion topics": {0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff},
		"garbage in Produce":        {0, 0, 0, 14, 0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 2, 3},
		"garbage in Fetch":          {0, 0, 0, 14, 0, 1, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 2, 3},
	} {
		c := dial(t, n.addr)
		c.write(frame)
		c.expectClosed(name)
		bystander.expectAlive()
	}
}

// W1: ApiVersions of an unknown version is answered in version 0 with error 35
// and its own range; the connection lives on.
func TestUnknownApiVersionsVersion(t *testing.T) {
	c := dial(t, startBroker(t))
	c.write([]byte{0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff})
	var resp kmsg.ApiVersionsResponse
	c.receive(7, &resp)
	if resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 {
		t.Errorf("got %+v", resp)
	}
	c.expectAlive()
	named := kmsg.NewPtrApiVersionsRequest()
	named.ClientSoftwareName, named.ClientSoftwareVersion = "bad name!", "1"
	if resp := call[*kmsg.ApiVersionsResponse](c, 3, named); resp.ErrorCode != 42 {
		t.Errorf("a bad client software name: code %d, want INVALID_REQUEST (42)", resp.ErrorCode)
	}
}

// W3: replies leave in the order of the requests, also when an earlier one
// waits and later ones are ready.
func TestRepliesKeepTheOrderOfRequests(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	waiting := fetchAsk("a", 0, 0)
	waiting.MaxWaitMillis = 300
	first := c.send(12, waiting)
	var later []int32
	for range 10 {
		later = append(later, c.send(0, kmsg.NewPtrApiVersionsRequest()))
	}
	resp := waiting.ResponseKind()
	c.receive(first, resp) // fails when another reply comes first
	for _, id := range later {
		c.receive(id, kmsg.NewPtrApiVersionsResponse())
	}
}

// W3: acks=0 gets no reply at all, and an error closes the connection.
func TestAcksNone(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	c.send(9, produceRequest(0, "a", 0, records(t, "one")))
	c.expectAlive() // the next reply is that of the next request
	if base := c.mustProduce("a", 0, "two"); base != 1 {
		t.Errorf("the record with acks=0 was not stored: the next one has offset %d", base)
	}
	c.send(9, produceRequest(0, "no-such-topic", 0, records(t, "one")))
	c.expectClosed("acks=0 to an unknown topic")
}

// slowDisk is a disk whose syncs wait, while it is held, until it is released.
func slowDisk() (fsys *crashfs.FS, hold func(), release func(), syncs *atomic.Int64) {
	fsys = crashfs.New()
	syncs = new(atomic.Int64)
	hold, release = gate(fsys, func(op crashfs.Op) bool {
		if op.Kind.Syncs() {
			syncs.Add(1)
		}
		return op.Kind.Syncs()
	})
	return fsys, hold, release, syncs
}

// gate lets the operations that match wait between hold and release.
func gate(fsys *crashfs.FS, match func(crashfs.Op) bool) (hold, release func()) {
	open := make(chan struct{})
	close(open)
	var current atomic.Pointer[chan struct{}]
	current.Store(&open)
	fsys.OnOp(func(op crashfs.Op) {
		if match(op) {
			<-*current.Load()
		}
	}, nil)
	hold = func() { closed := make(chan struct{}); current.Store(&closed) }
	release = func() { close(*current.Load()) }
	return hold, release
}

// A1: the connection is read on while earlier produces wait for the disk, so
// that many requests of one connection share a sync.
func TestPipelinedProducesShareSyncs(t *testing.T) {
	const requests = 30
	fsys, hold, release, syncs := slowDisk()
	n := serve(t, broker.Config{FS: fsys})
	c, other := dial(t, n.addr), dial(t, n.addr)
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "warm up") // the segment's name is durable from now on
	hold()
	before := syncs.Load()
	var ids []int32
	for i := range requests {
		ids = append(ids, c.send(9, produceRequest(-1, "a", 0, records(t, fmt.Sprint(i)))))
	}
	// All of them are appended although not one is synced: a record that is sent
	// over another connection gets the offset behind them.
	deadline := time.Now().Add(givesUp)
	offset := int64(0)
	for offset <= requests && time.Now().Before(deadline) {
		r := other.produce(1, "a", 0, records(t, "probe"))
		offset = r.BaseOffset
	}
	if offset <= requests {
		t.Fatalf("with a blocked disk only %d of %d requests were appended", offset, requests)
	}
	release()
	for i, id := range ids {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = 9
		c.receive(id, resp)
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 {
			t.Fatalf("request %d: code %d", i, p.ErrorCode)
		}
	}
	if used := syncs.Load() - before; used > requests/3 {
		t.Errorf("%d requests needed %d syncs", requests, used)
	}
}

// A stop lets due replies leave: a produce that waits for the disk is answered,
// a long poll ends at once.
func TestCloseAnswersWhatIsDue(t *testing.T) {
	fsys, hold, release, _ := slowDisk()
	n := serve(t, broker.Config{FS: fsys})
	producer, consumer := dial(t, n.addr), dial(t, n.addr)
	producer.createTopic("a", 1)
	end := producer.mustProduce("a", 0, "one") + 1

	poll := fetchAsk("a", 0, end)
	poll.MaxWaitMillis = 60_000
	polled := consumer.send(12, poll)
	hold()
	produced := producer.send(9, produceRequest(-1, "a", 0, records(t, "two")))
	waitUntil(t, "both requests wait", func() bool { return n.InFlight() == 2 })

	closed := make(chan error, 1)
	go func() { closed <- n.Close(testContext(t)) }()
	consumer.receive(polled, poll.ResponseKind())
	release()
	resp := kmsg.NewPtrProduceResponse()
	resp.Version = 9
	producer.receive(produced, resp)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != end {
		t.Errorf("code %d, offset %d, want 0 and %d", p.ErrorCode, p.BaseOffset, end)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	producer.expectClosed("after the stop")
}

// A stop does not wait for a disk that hangs.
func TestCloseGivesUpOnAStuckDisk(t *testing.T) {
	fsys, hold, release, _ := slowDisk()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "one")
	hold()
	c.send(9, produceRequest(-1, "a", 0, records(t, "two")))
	waitUntil(t, "the request waits", func() bool { return n.InFlight() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- n.Close(ctx) }()
	c.expectClosed("after the deadline")
	release() // the logs' own last sync
	<-closed
}

// waitUntil polls a condition that another goroutine makes true.
func waitUntil(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(givesUp); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// W4: each client is told the address by which it came, unless one is configured.
func TestClientsAreToldTheAddressTheyCameBy(t *testing.T) {
	b := serve(t, broker.Config{FS: crashfs.New()})
	listeners, err := broker.Listen(t.Context(), "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.Serve(listeners...) }()
	for _, ln := range listeners {
		host, port := told(t, ln.Addr().String())
		if got := net.JoinHostPort(host, fmt.Sprint(port)); got != ln.Addr().String() {
			t.Errorf("a client of %s is told %s", ln.Addr(), got)
		}
	}

	fixed := serve(t, broker.Config{FS: crashfs.New(), Advertise: "broker.example:7"})
	if host, port := told(t, fixed.addr); host != "broker.example" || port != 7 {
		t.Errorf("told %s:%d, configured is broker.example:7", host, port)
	}
	half := serve(t, broker.Config{FS: crashfs.New(), Advertise: "broker.example"})
	_, port, _ := net.SplitHostPort(half.addr)
	if host, told := told(t, half.addr); host != "broker.example" || fmt.Sprint(told) != port {
		t.Errorf("told %s:%d, want broker.example and the port %s that was dialled", host, told, port)
	}
}

// told is the address in Metadata, which DescribeCluster must repeat.
func told(t *testing.T, addr string) (string, int32) {
	t.Helper()
	c := dial(t, addr)
	meta := call[*kmsg.MetadataResponse](c, 9, kmsg.NewPtrMetadataRequest())
	cluster := call[*kmsg.DescribeClusterResponse](c, 1, withEndpoint(1))
	if m, d := meta.Brokers[0], cluster.Brokers[0]; m.Host != d.Host || m.Port != d.Port {
		t.Errorf("Metadata says %s:%d, DescribeCluster %s:%d", m.Host, m.Port, d.Host, d.Port)
	}
	return meta.Brokers[0].Host, meta.Brokers[0].Port
}

func withEndpoint(kind int8) *kmsg.DescribeClusterRequest {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType = kind
	return req
}

func TestConnectionLimits(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New(), MaxConnections: 5, MaxConnectionsPerIP: 3})
	var held []*rawConn
	for range 3 {
		c := dial(t, n.addr)
		c.expectAlive()
		held = append(held, c)
	}
	dial(t, n.addr).expectClosed("a fourth connection of one address")
	_ = held[0].Close()
	waitUntil(t, "a place is free again", func() bool {
		socket, err := net.Dial("tcp", n.addr)
		if err != nil {
			return false
		}
		defer socket.Close()
		_, _ = socket.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff})
		_ = socket.SetReadDeadline(time.Now().Add(time.Second))
		n, _ := socket.Read(make([]byte, 4))
		return n > 0
	})
}

// A pipelining client that does not read its replies is not read from either:
// what the broker holds for it is bounded.
func TestClientThatDoesNotReadIsNotReadFrom(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	frame := c.form.AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 0)
	_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
	sent := 0
	for ; sent < 1_000_000; sent++ {
		if _, err := c.Conn.Write(frame); err != nil {
			break
		}
	}
	if sent == 1_000_000 {
		t.Error("a million requests were taken without one reply being read")
	}
	dial(t, n.addr).expectAlive()
}

// Each connection's requests are counted by what their frames say, so a frame
// that trickles in does not hold up others.
func TestSlowFrameHoldsUpNobody(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	slow := dial(t, n.addr)
	slow.write(binary.BigEndian.AppendUint32(nil, 1<<20))
	slow.write([]byte{0, 18})
	dial(t, n.addr).expectAlive()
}
