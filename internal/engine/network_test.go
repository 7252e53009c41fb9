//go:build synctests

package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// network is how one instance reaches the brokers, with faults. It knows where
// a request and an answer begin, so a fault can strike a request before the
// broker sees it, or its answer after the broker has acted.
type network struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	echoes sync.WaitGroup // requests that are still to arrive once more

	mu    sync.Mutex
	fault func(key int16) (strike, func())
	dead  bool
	conns map[*faultyConn]bool
}

// strike is what happens to one request.
type strike int8

const (
	pass      strike = iota
	cutBefore        // the broker never sees it, the connection breaks
	cutAfter         // the broker acts, the answer is lost, the connection breaks
	slow             // the answer takes two seconds
	dieBefore        // the machine goes down before the request is sent
	dieAfter         // the machine goes down when the broker has acted
	lie              // EndTxn only: the broker acts and answers UNKNOWN_SERVER_ERROR
	echo             // it arrives a second time, later, over another connection
	hold             // it arrives three seconds late
)

var errCut = errors.New("the network was cut")

// arm sets what decides the fate of each request by its API key; it must not
// block. With dieBefore and dieAfter comes what takes the machine down.
func (n *network) arm(fault func(key int16) (strike, func())) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = fault
}

func (n *network) strike(key int16) (strike, func()) {
	n.mu.Lock()
	fault := n.fault
	n.mu.Unlock()
	if fault == nil {
		return pass, nil
	}
	return fault(key)
}

func (n *network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	dead := n.dead
	n.mu.Unlock()
	if dead {
		return nil, errCut
	}
	c, err := n.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	f := &faultyConn{Conn: c, network: n, lost: make(map[int32]bool), late: make(map[int32]bool), last: make(map[int32]func()), lies: make(map[int32]bool)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		_ = c.Close()
		return nil, errCut
	}
	if n.conns == nil {
		n.conns = make(map[*faultyConn]bool)
	}
	n.conns[f] = true
	return f, nil
}

// cut ends all connections and lets none come about until mend.
func (n *network) cut() {
	n.mu.Lock()
	n.dead = true
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = false
}

type faultyConn struct {
	net.Conn
	network *network

	mu   sync.Mutex
	lost map[int32]bool // correlation ids whose answers are lost
	late map[int32]bool
	last map[int32]func() // with whose answers the machine goes down
	lies map[int32]bool   // that answer UNKNOWN_SERVER_ERROR
	rest []byte           // of an answer that was read but not handed on yet
}

// Write takes whole requests: franz-go writes each in one call.
func (c *faultyConn) Write(b []byte) (int, error) {
	if len(b) < 12 {
		return c.Conn.Write(b)
	}
	key, correlation := int16(binary.BigEndian.Uint16(b[4:])), int32(binary.BigEndian.Uint32(b[8:]))
	how, die := c.network.strike(key)
	switch how {
	case cutBefore:
		_ = c.Conn.Close()
		return 0, errCut
	case cutAfter:
		c.mark(c.lost, correlation)
	case slow:
		c.mark(c.late, correlation)
	case dieBefore:
		die()
		return 0, errCut
	case dieAfter:
		c.mu.Lock()
		c.last[correlation] = die
		c.mu.Unlock()
	case lie:
		c.mark(c.lies, correlation)
	case echo:
		request := slices.Clone(b)
		c.network.echoes.Go(func() { c.network.again(c.RemoteAddr(), request) })
	case hold:
		time.Sleep(3 * time.Second)
	}
	return c.Conn.Write(b)
}

// again sends a request that was sent before once more, as a network does that
// holds a packet back.
func (n *network) again(to net.Addr, request []byte) {
	time.Sleep(700 * time.Millisecond)
	c, err := n.dial(context.Background(), to.Network(), to.String())
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(request); err == nil {
		_, _ = c.Read(make([]byte, 64))
	}
}

func (c *faultyConn) mark(set map[int32]bool, correlation int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set[correlation] = true
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		answer, err := c.answer()
		if err != nil {
			return 0, err
		}
		c.rest = answer
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// lateness is how late a late answer comes, on the bubble's clock.
const lateness = 2 * time.Second

// answer reads one whole answer.
func (c *faultyConn) answer() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c.Conn, head[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, 4+binary.BigEndian.Uint32(head[:]))
	copy(answer, head[:])
	if _, err := io.ReadFull(c.Conn, answer[8:]); err != nil {
		return nil, err
	}
	correlation := int32(binary.BigEndian.Uint32(head[4:]))
	c.mu.Lock()
	lost, late, last, lies := c.lost[correlation], c.late[correlation], c.last[correlation], c.lies[correlation]
	c.mu.Unlock()
	if late {
		time.Sleep(lateness)
	}
	if lies { // behind size 4, correlation id 4, tags 1 and throttle time 4
		binary.BigEndian.PutUint16(answer[13:], 0xffff)
	}
	if last != nil {
		last()
		return nil, errCut
	}
	if lost {
		_ = c.Conn.Close()
		return nil, errCut
	}
	return answer, nil
}
