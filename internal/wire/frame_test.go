package wire_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/wire"
)

const budgetBytes = 1 << 20

// peer is a Reader with the other end of its connection.
type peer struct {
	*wire.Reader
	client net.Conn
	budget *wire.Budget
}

func newPeer(t *testing.T, limits wire.Limits) *peer {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	budget := wire.NewBudget(budgetBytes)
	return &peer{Reader: wire.NewReader(server, limits, budget, new(wire.Pool)), client: client, budget: budget}
}

// send writes from a goroutine of its own, which ends with the connection.
func (p *peer) send(b []byte) {
	go func() { _, _ = p.client.Write(b) }()
}

func (p *peer) sendThenClose(b []byte) {
	go func() {
		_, _ = p.client.Write(b)
		_ = p.client.Close()
	}()
}

func framed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReadFrameReadsOneAfterTheOther(t *testing.T) {
	p := newPeer(t, wire.Limits{})
	var sent [][]byte
	var stream []byte
	for i, size := range []int{8, 9, 500, 511, 512, 513, 8, 100_000, 8, 70_000} {
		body := bytes.Repeat([]byte{byte(i + 1)}, size)
		sent = append(sent, body)
		stream = append(stream, framed(body)...)
	}
	p.sendThenClose(stream)
	for i, want := range sent {
		f, err := p.ReadFrame(t.Context())
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if !bytes.Equal(f.Body, want) {
			t.Fatalf("frame %d of %d bytes arrived as %d other ones", i, len(want), len(f.Body))
		}
		f.Release()
	}
	if _, err := p.ReadFrame(t.Context()); err != io.EOF {
		t.Errorf("after the last frame: %v, want io.EOF", err)
	}
	equal(t, "bytes in the budget at the end", p.budget.UsedBytes(), 0)
}

// R2: nothing is allocated or taken from the budget for a length that is
// refused.
func TestReadFrameRefusesLengths(t *testing.T) {
	for name, c := range map[string]struct {
		prefix string
		err    error
		reason string
	}{
		"R2: 2 GiB - 1":   {"\x7f\xff\xff\xff", wire.ErrTooLarge, "2147483647 is above the limit of 1048576"},
		"R2: 4 GiB":       {"\xff\xff\xff\xff", wire.ErrMalformed, "-1 is negative"},
		"R2: negative":    {"\x80\x00\x00\x00", wire.ErrMalformed, "-2147483648 is negative"},
		"one above":       {"\x00\x10\x00\x01", wire.ErrTooLarge, "1048577 is above"},
		"zero":            {"\x00\x00\x00\x00", wire.ErrMalformed, "shorter than a request header"},
		"seven":           {"\x00\x00\x00\x07", wire.ErrMalformed, "7 is shorter"},
		"a browser":       {"GET ", wire.ErrMalformed, "HTTP address"},
		"a TLS handshake": {"\x16\x03\x01\x02", wire.ErrMalformed, "security.protocol=PLAINTEXT"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, wire.Limits{MaxFrameBytes: 1 << 20})
			p.send([]byte(c.prefix))
			_, err := p.ReadFrame(t.Context())
			checkRefusal(t, err, c.err, 0, c.reason)
			equal(t, "budget", p.budget.UsedBytes(), 0)
		})
	}
}

func TestFrameLimitIsLowerBeforeAuthentication(t *testing.T) {
	p := newPeer(t, wire.Limits{PreAuthMaxFrameBytes: 1000})
	body := make([]byte, 1001)
	p.SetAuthenticated(true)
	p.send(framed(body))
	f, err := p.ReadFrame(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Release()
	p.SetAuthenticated(false)
	p.send(framed(body))
	_, err = p.ReadFrame(t.Context())
	checkRefusal(t, err, wire.ErrTooLarge, 0, "limit of 1000 bytes")
}

// W6: SASL tokens have no header and may be empty; the bound before
// authentication holds for them, and requests follow on the same connection.
func TestReadTokenReadsBetweenRequests(t *testing.T) {
	p := newPeer(t, wire.Limits{PreAuthMaxFrameBytes: 1000})
	p.SetAuthenticated(false)
	p.send(slices.Concat(framed([]byte("\x00a\x00b")), framed(nil), framed(make([]byte, 8)), framed(make([]byte, 1001))))
	for _, want := range []string{"\x00a\x00b", ""} {
		token, err := p.ReadToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "token", string(token.Body), want)
		equal(t, "answer", string(wire.AppendToken(nil, token.Body)), string(framed(token.Body)))
		token.Release()
	}
	request, err := p.ReadFrame(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request.Release()
	_, err = p.ReadToken(t.Context())
	checkRefusal(t, err, wire.ErrTooLarge, 0, "1001 is above the limit of 1000")
	equal(t, "budget", p.budget.UsedBytes(), 0)
}

func TestReadFrameTellsHowTheConnectionEnded(t *testing.T) {
	for name, c := range map[string]struct {
		sent string
		want error
	}{
		"between frames":    {"", io.EOF},
		"within the length": {"\x00\x00", io.ErrUnexpectedEOF},
		"before the body":   {"\x00\x00\x00\x08", io.ErrUnexpectedEOF},
		"within the body":   {"\x00\x00\x00\x081234567", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, wire.Limits{})
			p.sendThenClose([]byte(c.sent))
			_, err := p.ReadFrame(t.Context())
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			equal(t, "budget", p.budget.UsedBytes(), 0)
		})
	}
}

func TestIdleConnectionTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{IdleTimeout: time.Minute})
		start := time.Now()
		_, err := p.ReadFrame(t.Context())
		if !errors.Is(err, wire.ErrIdle) {
			t.Errorf("got %v, want ErrIdle", err)
		}
		equal(t, "waited", time.Since(start), time.Minute)
	})
}

// A request every 40 s never meets an idle timeout of 60 s: the deadline moves
// on, although not with every frame.
func TestBusyConnectionDoesNotTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{IdleTimeout: time.Minute})
		for range 20 {
			go func() {
				time.Sleep(40 * time.Second) // on synctest's clock
				_, _ = p.client.Write(framed(make([]byte, 100)))
			}()
			f, err := p.ReadFrame(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.Release()
		}
	})
}

// A client that names a length and then stalls holds its bytes of the budget
// for FrameTimeout, not for the idle timeout.
func TestStalledFrameTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{IdleTimeout: time.Hour, FrameTimeout: 5 * time.Second})
		p.send([]byte("\x00\x01\x00\x00only this"))
		start := time.Now()
		_, err := p.ReadFrame(t.Context())
		if err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		equal(t, "budget", p.budget.UsedBytes(), 0)
	})
}

func TestFrameWaitsForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{})
		if !p.budget.TryAcquire(budgetBytes) {
			t.Fatal("the budget is not empty")
		}
		p.send(framed(make([]byte, 100)))
		go func() {
			time.Sleep(3 * time.Second)
			p.budget.Release(budgetBytes)
		}()
		start := time.Now()
		f, err := p.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "waited", time.Since(start), 3*time.Second)
		equal(t, "charged", p.budget.UsedBytes(), 512)
		f.Release()
	})
}

func TestFrameDoesNotWaitForeverForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{BudgetWait: 2 * time.Second})
		p.budget.TryAcquire(budgetBytes)
		p.send(framed(make([]byte, 100)))
		start := time.Now()
		if _, err := p.ReadFrame(t.Context()); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		equal(t, "waited", time.Since(start), 2*time.Second)
	})
}

func TestContextEndsTheWaitForTheBudget(t *testing.T) {
	p := newPeer(t, wire.Limits{})
	p.budget.TryAcquire(budgetBytes)
	p.send(framed(make([]byte, 100)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.ReadFrame(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestFrameLargerThanTheBudgetIsRefused(t *testing.T) {
	p := newPeer(t, wire.Limits{})
	p.send(framed(make([]byte, budgetBytes+1)))
	if _, err := p.ReadFrame(t.Context()); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestStopEndsAWaitingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{})
		ended := make(chan error)
		go func() {
			_, err := p.ReadFrame(t.Context())
			ended <- err
		}()
		synctest.Wait() // the read waits
		p.Stop()
		if err := <-ended; !errors.Is(err, wire.ErrStopped) {
			t.Errorf("got %v, want ErrStopped", err)
		}
		if _, err := p.ReadFrame(t.Context()); !errors.Is(err, wire.ErrStopped) {
			t.Errorf("a read after Stop: %v, want ErrStopped", err)
		}
	})
}

// The deadlines of a first read do not undo a Stop that came before it.
func TestStopBeforeTheFirstRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, wire.Limits{})
		p.Stop()
		start := time.Now()
		if _, err := p.ReadFrame(t.Context()); !errors.Is(err, wire.ErrStopped) {
			t.Errorf("got %v, want ErrStopped", err)
		}
		equal(t, "waited", time.Since(start), 0)
	})
}

// deadlineCounter counts how often the read deadline is moved.
type deadlineCounter struct {
	net.Conn
	moved int
}

func (c *deadlineCounter) SetReadDeadline(at time.Time) error {
	c.moved++
	return c.Conn.SetReadDeadline(at)
}

// Moving a deadline costs more than parsing a small request, so a stream of
// those moves it once.
func TestSmallFramesDoNotMoveTheDeadline(t *testing.T) {
	server, client := net.Pipe()
	t.Cleanup(func() { server.Close(); client.Close() })
	conn := &deadlineCounter{Conn: server}
	r := wire.NewReader(conn, wire.Limits{}, wire.NewBudget(budgetBytes), new(wire.Pool))
	for range 20 {
		go func() { _, _ = client.Write(framed(make([]byte, 100))) }()
		f, err := r.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.Release()
	}
	equal(t, "deadlines", conn.moved, 1)
}

func TestReaderRemembersTheClientID(t *testing.T) {
	p := newPeer(t, wire.Limits{})
	for _, id := range []string{"a", "a", "bb", "", "a"} {
		p.send(framed(append([]byte{0, 12, 0, 0, 0, 0, 0, 1, 0, byte(len(id))}, id...)))
		f, err := p.ReadFrame(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := p.ParseHeader(f)
		if err != nil || h.ClientID != id {
			t.Errorf("got %q, %v, want %q", h.ClientID, err, id)
		}
		clear(f.Body)
		equal(t, "client ID after its frame", h.ClientID, id)
		f.Release()
	}
}

func TestReleasingTwicePanics(t *testing.T) {
	p := newPeer(t, wire.Limits{})
	p.send(framed(make([]byte, 100)))
	f, err := p.ReadFrame(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Release()
	defer func() {
		if got := recover(); got != "wire: frame was released twice" {
			t.Errorf("the second Release: %v", got)
		}
	}()
	f.Release()
}
