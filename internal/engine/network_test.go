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

	"github.com/twmb/franz-go/pkg/kmsg"
)

// network is how one instance reaches the brokers, with faults. It knows where
// a request and an answer begin, so a fault can strike a request before the
// broker sees it, or its answer after the broker has acted.
type network struct {
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	ledger *ledger
	forge  func(frame []byte) []byte // what goes out in place of a request; nil: the request
	deaf   bool                      // its heartbeats hear nothing but that all is well

	echoes sync.WaitGroup // requests that are still to arrive once more

	mu    sync.Mutex
	fault func(key int16) (strike, func())
	dead  bool
	flow  chan struct{} // open when nothing flows; nil: all does
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
	lie              // EndTxn and InitProducerId only: the broker acts and answers UNKNOWN_SERVER_ERROR
	echo             // it arrives a second time, later, over another connection
	hold             // it arrives three seconds late
	soothe           // Heartbeat only: whatever the broker answers, the member hears that all is well
)

func (s strike) String() string {
	return [...]string{"pass", "lost on its way", "answer lost", "answer late", "power cut before", "power cut when done", "done but answered with an error", "arrives twice", "arrives late", "soothed"}[s]
}

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
	f := &faultyConn{Conn: c, network: n, open: make(map[int32]fate)}
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
	n.resume()
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

// stall holds everything back that is on its way, until resume: the machine's
// process was stopped, and will wake up with all that it wanted to say.
func (n *network) stall() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flow == nil {
		n.flow = make(chan struct{})
	}
}

func (n *network) resume() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.flow != nil {
		close(n.flow)
		n.flow = nil
	}
}

// flowing waits while the network is stalled.
func (n *network) flowing() {
	n.mu.Lock()
	flow := n.flow
	n.mu.Unlock()
	if flow != nil {
		<-flow
	}
}

type faultyConn struct {
	net.Conn
	network *network

	mu   sync.Mutex
	open map[int32]fate // by correlation id, of requests whose answer is not as any other
	rest []byte         // of an answer that was read but not handed on yet
}

// fate is what becomes of one answer.
type fate struct {
	how  strike
	die  func()
	asks kmsg.Request // the ledger wants to know the answer; nil: it does not
}

// Write takes whole requests: franz-go writes each in one call.
func (c *faultyConn) Write(b []byte) (int, error) {
	if len(b) < 12 {
		return c.Conn.Write(b)
	}
	c.network.flowing()
	key, correlation := int16(binary.BigEndian.Uint16(b[4:])), int32(binary.BigEndian.Uint32(b[8:]))
	how, die := c.network.strike(key)
	switch how {
	case cutBefore:
		_ = c.Conn.Close()
		return 0, errCut
	case dieBefore:
		die()
		return 0, errCut
	case echo:
		request := slices.Clone(b)
		c.network.echoes.Go(func() { c.network.again(c.RemoteAddr(), request) })
	case hold:
		time.Sleep(3 * time.Second)
	}
	if c.network.deaf && key == heartbeat && how == pass {
		how = soothe
	}
	c.expect(correlation, fate{how, die, c.network.ledger.expects(b)})
	if c.network.forge != nil {
		if _, err := c.Conn.Write(c.network.forge(b)); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *faultyConn) expect(correlation int32, f fate) {
	if f.how == pass && f.asks == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[correlation] = f
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
	f := c.open[correlation]
	delete(c.open, correlation)
	c.mu.Unlock()
	if f.asks != nil {
		c.network.ledger.answered(f.asks, answer)
	}
	c.network.flowing()
	switch f.how {
	case slow:
		time.Sleep(lateness)
	case lie: // behind size 4, correlation id 4, tags 1 and throttle time 4
		binary.BigEndian.PutUint16(answer[13:], 0xffff)
	case soothe:
		binary.BigEndian.PutUint16(answer[13:], 0)
	case dieAfter:
		f.die()
		return nil, errCut
	case cutAfter:
		_ = c.Conn.Close()
		return nil, errCut
	}
	return answer, nil
}
