package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Frame is one request as it came, without its length prefix, in a pooled
// buffer whose bytes are taken from the budget. Release it when nothing reads
// Body any more, nor a slice of it; then do not touch it.
type Frame struct {
	Body []byte

	store  []byte
	class  int
	pool   *Pool
	budget *Budget
}

// Release gives buffer and budget back.
func (f *Frame) Release() {
	if f.Body == nil {
		panic("wire: frame was released twice")
	}
	f.Body = nil
	f.budget.Release(int64(len(f.store)))
	f.budget = nil
	f.pool.put(f)
}

// readAhead is the size of a connection's read buffer: a small request arrives
// with one system call, a large body goes around the buffer, and 10,000 idle
// connections hold 5 MB.
const readAhead = 512

// Reader reads the frames of one connection. It belongs to one goroutine.
type Reader struct {
	conn   net.Conn
	buf    *bufio.Reader
	limits Limits
	budget *Budget
	pool   *Pool

	maxFrame int
	clientID string      // of the last request
	idleFrom time.Time   // when the idle deadline in force was set; zero: another one is in force
	stopped  atomic.Bool // set by Stop, from any goroutine
}

// NewReader reads frames from conn, and sets its read deadlines. Frames are
// bounded by MaxFrameBytes until [Reader.SetAuthenticated] says otherwise.
func NewReader(conn net.Conn, limits Limits, budget *Budget, pool *Pool) *Reader {
	limits = limits.WithDefaults()
	return &Reader{
		conn: conn, buf: bufio.NewReaderSize(conn, readAhead),
		limits: limits, budget: budget, pool: pool, maxFrame: limits.MaxFrameBytes,
	}
}

// SetAuthenticated chooses the frame bound: PreAuthMaxFrameBytes while the
// client is not authenticated.
func (r *Reader) SetAuthenticated(yes bool) {
	r.maxFrame = r.limits.PreAuthMaxFrameBytes
	if yes {
		r.maxFrame = r.limits.MaxFrameBytes
	}
}

// UseBudget takes the bytes of later frames from budget: clients that are not
// authenticated have one of their own, so that they cannot use up that of others.
func (r *Reader) UseBudget(budget *Budget) { r.budget = budget }

// ReadFrame waits for the next frame and reads it. The length is checked, and
// the buffer's bytes are taken from the budget, before anything is allocated.
// ctx ends the wait for the budget only; [Reader.Stop] ends a read.
//
// io.EOF means that the client closed between two frames. [ErrIdle] and
// [ErrBusy] are timeouts, [ErrStopped] follows Stop, a *FrameError is a refused
// length. After any error nothing more can be read.
func (r *Reader) ReadFrame(ctx context.Context) (*Frame, error) {
	return r.read(ctx, shortHeader)
}

// ReadToken reads a frame without a request header: after SaslHandshake v0 a
// client sends its SASL tokens like that, and reads the answers so too (see
// [AppendToken]). The token may be empty. Bounds and errors are those of
// ReadFrame.
func (r *Reader) ReadToken(ctx context.Context) (*Frame, error) {
	return r.read(ctx, 0)
}

// read reads a frame of at least that many bytes.
func (r *Reader) read(ctx context.Context, atLeast int) (*Frame, error) {
	length, err := r.readLength(atLeast)
	if err != nil {
		return nil, r.unlessStopped(err)
	}
	f, err := r.reserve(ctx, length)
	if err != nil {
		return nil, err
	}
	if err := r.readBody(f.Body); err != nil {
		f.Release()
		return nil, r.unlessStopped(err)
	}
	return f, nil
}

// Stop makes a waiting ReadFrame, and each later one, fail with [ErrStopped].
// Writing to the connection stays possible, so that answers that are due can
// leave. Any goroutine may call it, more than once.
func (r *Reader) Stop() {
	r.stopped.Store(true)
	// An error means that the connection is closed, which stops reads as well.
	_ = r.conn.SetReadDeadline(longAgo)
}

var longAgo = time.Unix(1, 0)

func (r *Reader) unlessStopped(err error) error {
	if r.stopped.Load() {
		return ErrStopped
	}
	return err
}

// setDeadline moves the read deadline, but never over that of Stop. It can fail
// on a closed connection only, and then the read that follows says so better.
func (r *Reader) setDeadline(at time.Time) error {
	_ = r.conn.SetReadDeadline(at)
	if r.stopped.Load() {
		return ErrStopped
	}
	return nil
}

// ParseHeader is [ParseHeader] of f, except that it allocates no string while
// the connection's client ID stays the same.
func (r *Reader) ParseHeader(f *Frame) (Header, []byte, error) {
	h, body, err := parseHeader(f.Body, r.clientID, served)
	if err == nil {
		r.clientID = h.ClientID
	}
	return h, body, err
}

// Buffered is the number of bytes behind the last frame that have been read from
// the connection already.
func (r *Reader) Buffered() int { return r.buf.Buffered() }

func (r *Reader) readLength(atLeast int) (int, error) {
	if err := r.armIdle(); err != nil {
		return 0, err
	}
	prefix, err := r.buf.Peek(lengthPrefix)
	if err != nil {
		return 0, r.prefixError(prefix, err)
	}
	length := int(int32(binary.BigEndian.Uint32(prefix)))
	if err := r.checkLength(length, atLeast, prefix); err != nil {
		return 0, err
	}
	_, err = r.buf.Discard(lengthPrefix)
	return length, err
}

func (r *Reader) prefixError(prefix []byte, err error) error {
	switch {
	case errors.Is(err, io.EOF) && len(prefix) == 0:
		return io.EOF
	case errors.Is(err, io.EOF):
		return fmt.Errorf("connection closed within a frame's length prefix: %w", io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no request for %v: %w", r.limits.IdleTimeout, ErrIdle)
	default:
		return err
	}
}

func (r *Reader) checkLength(length, atLeast int, prefix []byte) error {
	refuse := func(sentinel error, reason string) error {
		return &FrameError{Key: unknown, Version: unknown, Reason: reason, Err: sentinel}
	}
	switch {
	case length >= atLeast && length <= r.maxFrame:
		return nil
	case otherProtocol(prefix) != "":
		return refuse(ErrMalformed, otherProtocol(prefix))
	case length < 0:
		return refuse(ErrMalformed, fmt.Sprintf("its length %d is negative", length))
	case length < atLeast:
		return refuse(ErrMalformed, fmt.Sprintf("its length %d is shorter than a request header", length))
	default:
		return refuse(ErrTooLarge, fmt.Sprintf("its length %d is above the limit of %d bytes", length, r.maxFrame))
	}
}

// otherProtocol recognises who often knocks at the wrong port.
func otherProtocol(prefix []byte) string {
	switch string(prefix) {
	case "GET ", "POST", "PUT ", "HEAD", "OPTI", "PRI ":
		return "this is the Kafka port and the client speaks HTTP: use the HTTP address"
	}
	const tlsHandshake, tlsMajor = 0x16, 0x03
	if prefix[0] == tlsHandshake && prefix[1] == tlsMajor {
		return "the client starts TLS, but this listener speaks plaintext: set security.protocol=PLAINTEXT in the client"
	}
	return ""
}

// reserve takes the frame's buffer from budget and pool. The whole buffer is
// charged, not only the part in use: that is what it costs.
func (r *Reader) reserve(ctx context.Context, length int) (*Frame, error) {
	_, size := sizeClass(length)
	if !r.budget.TryAcquire(int64(size)) {
		if err := r.awaitBudget(ctx, int64(size)); err != nil {
			return nil, err
		}
	}
	f := r.pool.get(length)
	f.budget = r.budget
	return f, nil
}

func (r *Reader) awaitBudget(ctx context.Context, size int64) error {
	wait, cancel := context.WithTimeout(ctx, r.limits.BudgetWait)
	defer cancel()
	err := r.budget.Acquire(wait, size)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("a frame waited %v for %d bytes of the memory budget of %d bytes: %w", r.limits.BudgetWait, size, r.budget.LimitBytes(), ErrBusy)
	}
	return err
}

func (r *Reader) readBody(body []byte) error {
	if r.buf.Buffered() < len(body) {
		r.idleFrom = time.Time{}
		if err := r.setDeadline(time.Now().Add(r.limits.FrameTimeout)); err != nil {
			return err
		}
	}
	n, err := io.ReadFull(r.buf, body)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("connection closed after %d of a frame's %d bytes: %w", n, len(body), io.ErrUnexpectedEOF)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("only %d of a frame's %d bytes arrived within %v: %w", n, len(body), r.limits.FrameTimeout, err)
	default:
		return err
	}
}

// armIdle sets the idle deadline, unless a whole next frame may be here already
// or the one in force still has three quarters of its time: moving a deadline
// costs more than parsing a small request.
func (r *Reader) armIdle() error {
	if r.buf.Buffered() >= lengthPrefix {
		return nil
	}
	now := time.Now()
	if now.Sub(r.idleFrom) < r.limits.IdleTimeout/4 {
		return nil
	}
	r.idleFrom = now
	return r.setDeadline(now.Add(r.limits.IdleTimeout))
}
