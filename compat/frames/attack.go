package frames

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// Options of an attack.
type Options struct {
	Target target.Options
	Frames int // how many are sent
	Seed   uint64
	Until  time.Time // ends the attack early; zero for never
	Log    io.Writer // a line per round; nil for none
}

// Report says what became of the frames.
type Report struct {
	Sent     int64
	Answered int64 // the connection went on: a following request was answered
	Closed   int64 // the connection was closed
	Waiting  int64 // neither within patience: the frame made the broker wait
	MaxRSS   float64
	Slowest  time.Duration // the slowest request of the bystander
	Took     time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("%d frames: %d connections went on, %d were closed, %d waited; RSS at most %.0f MiB; "+
		"a bystander's slowest request %s; %s in all",
		r.Sent, r.Answered, r.Closed, r.Waiting, r.MaxRSS, r.Slowest.Round(time.Millisecond), r.Took.Round(time.Second))
}

const (
	// attackers send at the same time, so that one that waits does not stop
	// the others.
	attackers = 16
	// perRound frames go to one broker; then it must stop cleanly, and the next
	// round has a new directory. Damaged requests create topics.
	perRound = 250_000
	// patience is how long a frame may leave its connection without a word
	// before the attacker hangs up. Joining a group may rightly take longer.
	patience = 150 * time.Millisecond
	// rssLimit is far above what the broker needs, and far below what one
	// unchecked count would take.
	rssLimit = 512
	// bystanderLimit is how long the attack may hold up another client, and
	// stopWithin how long a clean stop may take: the promises are 5 s of a machine
	// that does nothing else, and who breaks them does so for good.
	bystanderLimit = 30 * time.Second
	stopWithin     = 30 * time.Second
)

// Attack sends the frames and returns the first broken promise as an error.
func Attack(ctx context.Context, o Options) (Report, error) {
	began := time.Now()
	var total Report
	for round := uint64(0); total.Sent < int64(o.Frames) && ctx.Err() == nil; round++ {
		if !o.Until.IsZero() && time.Now().After(o.Until) {
			break
		}
		n := min(perRound, o.Frames-int(total.Sent))
		err := attackRound(ctx, o, round, n, &total)
		total.Took = time.Since(began)
		if o.Log != nil {
			fmt.Fprintln(o.Log, total)
		}
		if err != nil {
			return total, fmt.Errorf("seed %d, round %d: %w", o.Seed, round, err)
		}
	}
	return total, ctx.Err()
}

func attackRound(ctx context.Context, o Options, round uint64, n int, total *Report) error {
	b, err := target.Start(ctx, o.Target)
	if err != nil {
		return err
	}
	defer b.Close()
	by, err := newBystander(ctx, b)
	if err != nil {
		return err
	}
	served, err := by.served(ctx)
	if err != nil {
		return err
	}
	watch, stopWatching := context.WithCancel(ctx)
	var failure atomic.Pointer[error]
	fail := func(err error) { failure.CompareAndSwap(nil, &err); stopWatching() }
	var group sync.WaitGroup
	group.Go(func() {
		if err := by.watch(watch); err != nil {
			fail(err)
		}
	})
	var senders sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for i := range uint64(attackers) {
		senders.Go(func() {
			a := newAttacker(b.Addr, served, rand.New(rand.NewPCG(o.Seed, round*attackers+i)))
			for left.Add(-1) >= 0 && watch.Err() == nil {
				if err := a.send(ctx); err != nil {
					fail(err)
				}
			}
			a.addTo(total)
		})
	}
	senders.Wait()
	stopWatching()
	group.Wait()
	total.MaxRSS, total.Slowest = max(total.MaxRSS, by.maxRSS), max(total.Slowest, by.slowest)
	if err := failure.Load(); err != nil {
		return fmt.Errorf("%w\nthe broker's last words:\n%s", *err, b.LogTail())
	}
	if err := by.verify(ctx); err != nil {
		return err
	}
	stop, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	return b.Stop(stop)
}

// attacker sends damaged frames over connections of its own.
type attacker struct {
	addr    string
	random  *rand.Rand
	inside  []seed // requests that the broker serves
	outside []seed // all others
	conn    net.Conn
	answer  []byte
	report  Report
	pingID  int32
}

func newAttacker(addr string, served map[int16]probe.Versions, r *rand.Rand) *attacker {
	inside, outside := deep(seeds(r), served)
	return &attacker{addr: addr, random: r, inside: inside, outside: outside, answer: make([]byte, 64<<10)}
}

// next returns the next damaged frame; one in ten is of a request that is not
// served.
func (a *attacker) next() []byte {
	from := a.inside
	if a.random.IntN(10) == 0 {
		from = a.outside
	}
	return mutate(a.random, from[a.random.IntN(len(from))].frame)
}

// addTo adds up under a lock of its own: attackers end at the same time.
var adding sync.Mutex

func (a *attacker) addTo(total *Report) {
	if a.conn != nil {
		a.conn.Close()
	}
	adding.Lock()
	defer adding.Unlock()
	total.Sent += a.report.Sent
	total.Answered += a.report.Answered
	total.Closed += a.report.Closed
	total.Waiting += a.report.Waiting
}

// send sends one damaged frame and a sound request behind it, and looks what
// becomes of the connection. Only a broker that takes no connections any more
// is an error.
func (a *attacker) send(ctx context.Context) error {
	if a.conn == nil {
		conn, err := a.dial(ctx)
		if err != nil {
			return err
		}
		a.conn = conn
	}
	frame := a.next()
	a.report.Sent++
	a.pingID = a.random.Int32()
	a.conn.SetDeadline(time.Now().Add(patience))
	_, err := a.conn.Write(append(frame, ping(a.pingID)...))
	if err == nil {
		err = a.awaitPing()
	}
	var timeout net.Error
	switch {
	case err == nil:
		a.report.Answered++
		return nil
	case errors.As(err, &timeout) && timeout.Timeout():
		a.report.Waiting++
	default:
		a.report.Closed++
	}
	a.conn.Close()
	a.conn = nil
	return nil
}

func (a *attacker) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: bystanderLimit}
	conn, err := d.DialContext(ctx, "tcp", a.addr)
	if err != nil {
		return nil, fmt.Errorf("the broker takes no connection: %w", err)
	}
	// Reset instead of TIME_WAIT: hundreds of thousands of connections would
	// use up the ports.
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	return conn, nil
}

// awaitPing reads answers until the one of the sound request.
func (a *attacker) awaitPing() error {
	for {
		var head [8]byte
		if _, err := io.ReadFull(a.conn, head[:]); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head[:])) - 4
		if size < 0 || size > 64<<20 {
			return fmt.Errorf("an answer of %d bytes", size)
		}
		for size > 0 {
			n, err := a.conn.Read(a.answer[:min(size, len(a.answer))])
			if err != nil {
				return err
			}
			size -= n
		}
		if int32(binary.BigEndian.Uint32(head[4:])) == a.pingID {
			return nil
		}
	}
}

// ping is an ApiVersions request of version 0.
func ping(id int32) []byte {
	b := []byte{0, 0, 0, 10, 0, 18, 0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	return append(b, 0xff, 0xff)
}
