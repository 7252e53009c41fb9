package broker_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

// mutatedFramesEnv sends that many frames instead of as many as fit into
// mutatedFramesTime: the long run.
const mutatedFramesEnv = "MILLRACE_MUTATED_FRAMES"

const (
	mutatedFramesTime = 30 * time.Second
	frameSenders      = 8

	// framePatience is how long a sender waits for a frame to be dealt with: a
	// mutated fetch or join may be valid and ask to wait for days.
	framePatience = 300 * time.Millisecond
)

// TestMutatedFrames sends seeded frames, most of them wrong in one place, to a
// live broker: no panic, everybody else is served, and what is allocated stays
// in proportion to what was sent.
func TestMutatedFrames(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New(), MaxPartitions: 300, Limits: wire.Limits{FrameTimeout: time.Second}})
	bystander := dial(t, n.addr)
	bystander.createTopic("a", 1)
	goroutines := runtime.NumGoroutine()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	var tally frameTally
	more := frameTarget(t, tally.enough)
	var senders sync.WaitGroup
	for seed := range uint64(frameSenders) {
		senders.Go(func() {
			s := frameSender{addr: n.addr, mutator: wiretest.NewMutator(seed), tally: &tally, replies: bufio.NewReader(nil)}
			defer s.hangUp()
			for more(tally.total()) {
				if err := s.next(); err != nil {
					t.Errorf("seed %d: %v", seed, err)
					return
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { senders.Wait(); close(finished) }()
	for running := true; running; {
		select {
		case <-finished:
			running = false
		case <-time.After(100 * time.Millisecond):
			bystander.expectAlive()
		}
	}
	bystander.mustProduce("a", 0, "still here")

	waitUntil(t, "the broker lets go of all connections", func() bool { return runtime.NumGoroutine() <= goroutines+10 })
	waitUntil(t, "all memory is given back", func() bool { return n.RequestMemoryBytes()+n.AnswerMemoryBytes() == 0 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	perFrame := int64(after.TotalAlloc-before.TotalAlloc) / tally.total()
	t.Logf("%d frames answered, %d cost their connection, %d had to wait; %d bytes allocated per frame",
		tally.answered.Load(), tally.closed.Load(), tally.waiting.Load(), perFrame)
	if !tally.enough() {
		t.Error("too few frames were dealt with: the run proves nothing")
	}
	if perFrame > 64<<10 {
		t.Errorf("%d bytes were allocated per frame", perFrame)
	}
	if live := int64(after.HeapAlloc) - int64(before.HeapAlloc); live > 64<<20 {
		t.Errorf("%d MiB stay behind", live>>20)
	}
}

// frameTarget says, given the frames sent so far, whether to send more.
func frameTarget(t *testing.T, enough func() bool) func(sent int64) bool {
	if text := os.Getenv(mutatedFramesEnv); text != "" {
		count, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("%s=%s: %v", mutatedFramesEnv, text, err)
		}
		return func(sent int64) bool { return sent < count }
	}
	until := time.Now().Add(mutatedFramesTime)
	return func(int64) bool { return time.Now().Before(until) || !enough() }
}

// frameTally counts what became of the frames.
type frameTally struct{ answered, closed, waiting atomic.Int64 }

// enough frames of both kinds, for a run to prove something.
func (t *frameTally) enough() bool { return t.answered.Load() >= 1000 && t.closed.Load() >= 1000 }

func (t *frameTally) total() int64 { return t.answered.Load() + t.closed.Load() + t.waiting.Load() }

// frameSender sends one frame after another and waits until the broker has dealt
// with each: a plain request follows every frame, and either its answer comes or
// the connection ends.
type frameSender struct {
	addr    string
	mutator *wiretest.Mutator
	tally   *frameTally
	socket  net.Conn
	replies *bufio.Reader
	probe   int32
}

func (s *frameSender) next() error {
	if s.socket == nil {
		socket, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		s.socket = socket
		s.replies.Reset(socket)
	}
	s.probe--
	frame := append(s.mutator.Next().Bytes, 0, 0, 0, 10, 0, 18, 0, 0) // ApiVersions v0
	frame = binary.BigEndian.AppendUint32(frame, uint32(s.probe))
	frame = append(frame, 0xff, 0xff)
	_ = s.socket.SetDeadline(time.Now().Add(framePatience))
	_, err := s.socket.Write(frame)
	if err == nil {
		err = s.awaitProbe()
	}
	switch {
	case err == nil:
		s.tally.answered.Add(1)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.tally.waiting.Add(1)
	default:
		s.tally.closed.Add(1)
	}
	s.hangUp()
	return nil
}

// awaitProbe reads replies up to that of the probe.
func (s *frameSender) awaitProbe() error {
	for {
		head, err := s.replies.Peek(8)
		if err != nil {
			return err
		}
		length, id := binary.BigEndian.Uint32(head), int32(binary.BigEndian.Uint32(head[4:]))
		if _, err := s.replies.Discard(4 + int(length)); err != nil {
			return err
		}
		if id == s.probe {
			return nil
		}
	}
}

func (s *frameSender) hangUp() {
	if s.socket != nil {
		_ = s.socket.Close()
		s.socket = nil
	}
}
