package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"millrace/internal/wire"
)

// maxPipelined is how many requests of one connection may await their replies.
// At the bound the reader stops reading, so the client's socket fills up.
const maxPipelined = 32

// conn is one client's connection: a reader that executes requests in the order
// of arrival, and a writer that sends their replies in the same order. The
// reader goes on while earlier replies wait for the disk, so many requests share
// one sync (A1). A client that sends one small request and waits for its reply
// has nothing of that: the reader itself replies to it, see answersHere.
type conn struct {
	b      *Broker
	socket net.Conn
	remote netip.AddrPort
	local  netip.AddrPort // the address by which this client reached us
	reader *wire.Reader
	session

	// ctx ends when the connection breaks or the broker begins to stop.
	ctx    context.Context
	cancel context.CancelFunc

	queue  chan pending  // from reader to writer, closed by the reader
	broken chan struct{} // closed by the writer when it can send no more
	due    atomic.Int32  // replies in queue or with the writer
	here   bool          // the reader replies to the present request; the reader's own

	// Of who replies.
	writeBy    time.Time // the write deadline in force
	fetches    int       // fetch answers so far
	fetchClass int       // of the next fetch's buffer, see fetchSizes
}

// pending is one reply on its way.
type pending struct {
	reply         reply
	correlationID int32
	key           int16
	received      time.Time
}

func newConn(b *Broker, socket net.Conn) *conn {
	c := &conn{
		b: b, socket: socket,
		remote: addrPort(socket.RemoteAddr()), local: addrPort(socket.LocalAddr()),
		reader: wire.NewReader(socket, b.cfg.Limits, b.requestBudget, &b.framePool),
		queue:  make(chan pending, maxPipelined),
		broken: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(b.running)
	return c
}

// addrPort is the zero AddrPort for anything but TCP.
func addrPort(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// clientHost is the client's address as Kafka's tools show it, "/127.0.0.1".
func (c *conn) clientHost() string { return "/" + c.remote.Addr().String() }

// advertised is the address that this client is told for this node (W4): the
// configured one, else that by which the client reached us. A client of this
// process has come in by a door of its own, and comes in by another one the next
// time: it is told one name for all, or it would take us for a broker that moves.
func (c *conn) advertised() (host string, port int32) {
	if c.inside {
		return "localhost", insidePort
	}
	configured := c.b.advertise
	if c.encrypted {
		configured = c.b.advertiseTLS
	}
	host, port = configured.host, configured.port
	if host == "" {
		host = c.dialled
	}
	if host == "" {
		host = c.local.Addr().WithZone("").String()
	}
	if port == 0 {
		port = int32(c.local.Port())
	}
	return host, port
}

// insidePort stands for all doors, see Broker.Dial; nobody listens there.
const insidePort = 1

// serve runs the connection until it ends and both of its goroutines have.
func (c *conn) serve() {
	var writer sync.WaitGroup
	writer.Go(c.writeReplies)
	err := c.readRequests()
	if !errors.Is(err, wire.ErrStopped) { // the client is gone or to be cut off: nobody waits for what takes long
		c.cancel()
	}
	close(c.queue)
	writer.Wait()
	c.cancel()
	_ = c.socket.Close()
	c.b.reportEnd(c, err)
}

// readRequests executes requests until the connection ends.
func (c *conn) readRequests() error {
	for {
		frame, err := c.nextFrame()
		if err != nil {
			return err
		}
		p, err := c.execute(frame)
		frame.Release()
		if p.reply != nil && !c.respond(p) {
			return errBroken
		}
		if err != nil {
			return err
		}
	}
}

// errBroken ends a reader when nothing can be sent any more; why has been said.
var errBroken = errors.New("broker: connection cannot be written to")

// respond sees to one reply. It is false when the connection is broken.
func (c *conn) respond(p pending) bool {
	if c.here {
		c.b.inFlight.Add(1)
		defer c.b.inFlight.Add(-1)
		return c.send(p)
	}
	return c.enqueue(p)
}

func (c *conn) enqueue(p pending) bool {
	c.b.inFlight.Add(1)
	c.due.Add(1)
	select {
	case c.queue <- p:
		return true
	case <-c.broken:
		c.b.inFlight.Add(-1)
		return false
	}
}

// largestHere is the size of requests up to which the reader replies: a larger
// one comes from a client that sends many, the next of which is checked and
// written while this one waits for the disk.
const largestHere = 12 << 10

// answersHere says whether the reader is to reply to the request itself, which
// spares waking another goroutine and being woken by it: nothing of this
// connection is left to be done meanwhile, and the reply waits for no other
// client.
func (c *conn) answersHere(key int16, size int) bool {
	return waitsForDisk(key) && size <= largestHere && c.due.Load() == 0 && c.reader.Buffered() == 0
}

// execute decodes one frame and runs its handler. After an error no further
// request may be read.
func (c *conn) execute(frame *wire.Frame) (pending, error) {
	c.here = false
	if c.expectsToken() {
		return c.token(frame)
	}
	received := time.Now()
	header, body, err := c.reader.ParseHeader(frame)
	p := pending{correlationID: header.CorrelationID, key: header.Key, received: received}
	if err != nil {
		if header.Key == apiVersionsKey && errors.Is(err, wire.ErrUnsupportedVersion) {
			p.reply = answer(unsupportedAPIVersions{})
			return p, nil
		}
		return p, err
	}
	if err := c.mayAsk(header.Key); err != nil {
		return p, err
	}
	req := request{Header: header, body: body}
	if !undecoded(header.Key) {
		if req.Body, err = wire.Decode(header, body); err != nil {
			return p, err
		}
	}
	handle := c.b.handlers[header.Key]
	if handle == nil { // ParseHeader knows only what is served, so this is our own fault; it costs one connection
		return p, fmt.Errorf("broker: %s has no handler", wire.Name(header.Key))
	}
	c.here = c.answersHere(header.Key, len(frame.Body))
	p.reply = c.guarded(handle, &req)
	return p, c.end
}

// writeReplies sends the replies in order. When one fails it drops what is queued
// until the reader has noticed.
func (c *conn) writeReplies() {
	sound := true
	for p := range c.queue {
		if sound && !c.send(p) {
			sound = false
			close(c.broken)
		}
		c.b.inFlight.Add(-1)
		c.due.Add(-1)
	}
}

// send gives one reply, or closes the connection.
func (c *conn) send(p pending) bool {
	err := c.write(p)
	if err == nil {
		return true
	}
	c.b.reportWriteError(c, p.key, err)
	c.cancel()
	_ = c.socket.Close()
	return false
}

func (c *conn) write(p pending) error {
	resp, err := p.reply(c.ctx)
	if err != nil {
		return err
	}
	if fw, ok := resp.(frameWriter); ok {
		err = fw.writeFrame(c, p.correlationID)
	} else {
		err = c.writeMessage(resp, p.correlationID)
	}
	c.b.metrics.requestSeconds[p.key].Observe(time.Since(p.received).Seconds())
	return err
}

func (c *conn) writeMessage(resp response, correlationID int32) error {
	message, ok := resp.(wire.Response)
	if !ok {
		return fmt.Errorf("broker: %T is no response", resp)
	}
	scratch := c.b.scratch.Get().(*[]byte)
	*scratch = wire.AppendResponse((*scratch)[:0], correlationID, message)
	err := c.writeAll(*scratch)
	c.b.putScratch(scratch)
	return err
}

func (c *conn) writeAll(frame []byte) error {
	if err := c.armWrite(len(frame)); err != nil {
		return err
	}
	_, err := c.socket.Write(frame)
	return err
}

// writeBuffers is writeAll for a frame in pieces.
func (c *conn) writeBuffers(frame net.Buffers) error {
	size := 0
	for _, piece := range frame {
		size += len(piece)
	}
	if err := c.armWrite(size); err != nil {
		return err
	}
	if c.encrypted {
		return c.writeEncrypted(frame)
	}
	_, err := frame.WriteTo(c.socket)
	return err
}

const (
	// writePatience is how long a client may take for an answer of no size, and
	// slowestClient what it must read in a second beyond that. A client that
	// stopped reading holds a fetch's memory no longer.
	writePatience = 30 * time.Second
	slowestClient = 64 << 10
)

// armWrite sets the write deadline for a frame of that size. One in force that
// is about as late is left: moving it costs as much as a small answer.
func (c *conn) armWrite(size int) error {
	by := time.Now().Add(writePatience + time.Duration(size)*time.Second/slowestClient)
	if off := by.Sub(c.writeBy); off > -writePatience/2 && off < writePatience/2 {
		return nil
	}
	c.writeBy = by
	return c.socket.SetWriteDeadline(by)
}

// stop ends reading: replies that are due still leave, then the connection closes.
func (c *conn) stop() { c.reader.Stop() }

// cut closes the connection at once.
func (c *conn) cut() { _ = c.socket.Close() }

// reportEnd says why reading ended, unless the client or we wanted it.
func (b *Broker) reportEnd(c *conn, err error) {
	var refused *wire.FrameError
	switch {
	case errors.As(err, &refused):
		b.metrics.refusedFrames.Inc()
		b.complaints.warn("a client sent a request that cannot be read; its connection is closed", "client", c.remote.String(), "error", err)
	case errors.Is(err, wire.ErrBusy):
		b.complaints.warn("a connection is closed because the memory for requests is in use", "client", c.remote.String(), "error", err)
	case errors.Is(err, errNotLoggedIn):
		b.complaints.warn("a client did not log in; its connection is closed", "client", c.remote.String(), "error", err)
	case errors.Is(err, wire.ErrStopped) || errors.Is(err, errBroken) || errors.Is(err, errLoginFailed) || clientGone(err):
	default:
		b.logger.Debug("connection ended", "client", c.remote.String(), "error", err)
	}
}

func (b *Broker) reportWriteError(c *conn, key int16, err error) {
	if clientGone(err) || errors.Is(err, context.Canceled) || errors.Is(err, errLoginFailed) {
		return
	}
	b.complaints.warn("a reply could not be given; the connection is closed", "client", c.remote.String(), "api", wire.Name(key), "error", err)
}

// clientGone reports whether err is a client that went away by itself.
func clientGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// unsupportedAPIVersions answers ApiVersions of a version that is not served.
type unsupportedAPIVersions struct{}

func (unsupportedAPIVersions) Key() int16 { return apiVersionsKey }

func (unsupportedAPIVersions) writeFrame(c *conn, correlationID int32) error {
	return c.writeAll(wire.AppendUnsupportedApiVersions(nil, correlationID))
}
