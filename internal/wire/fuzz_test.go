package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

// FuzzDecode: any body of any kind and version is refused with a *FrameError or
// decoded, at the cost that its size allows. What is decoded has a canonical
// form that stays the same from then on, and our own decoders read in it what
// kmsg reads.
func FuzzDecode(f *testing.F) {
	rng := rand.New(rand.NewPCG(30, 0))
	for _, api := range wire.Known() {
		for v := api.Min; v <= api.Max; v++ {
			f.Add(api.Key, v, wiretest.Filled(rng, api.Key, v).AppendTo(nil))
		}
	}
	for _, c := range readCaptures(f) {
		if h, body, err := wire.ParseHeader(c.frame); err == nil {
			f.Add(h.Key, h.Version, body)
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		checkBody(t, wire.Header{Key: key, Version: version}, body)
	})
}

// checkBody is the oracle of every body, however it came about.
func checkBody(t *testing.T, h wire.Header, body []byte) {
	t.Helper()
	var ferr *wire.FrameError
	if _, err := wire.CheckCost(t, h, body); err != nil && !errors.As(err, &ferr) {
		t.Fatalf("%v is a %T, not a *FrameError", err, err)
	}
	if !wire.Knows(h.Key, h.Version) {
		if ferr == nil {
			t.Fatalf("key %d v%d is not known and was decoded", h.Key, h.Version)
		}
		return
	}
	if ferr != nil && (ferr.Offset < 0 || ferr.Offset > len(body)) {
		t.Fatalf("refused at byte %d of %d: %v", ferr.Offset, len(body), ferr)
	}
	req, err := wire.Decode(h, body)
	if err != nil {
		return
	}
	compareOwn(t, h, body)
	canonical := req.AppendTo(nil)
	again, err := wire.Decode(h, canonical)
	if err != nil {
		t.Fatalf("%s v%d: the canonical form is refused: %v\nbody %x\ncanonical %x", wire.Name(h.Key), h.Version, err, body, canonical)
	}
	if twice := again.AppendTo(nil); !bytes.Equal(twice, canonical) {
		t.Fatalf("%s v%d: the canonical form changes\n from %x\n   to %x", wire.Name(h.Key), h.Version, canonical, twice)
	}
}

// FuzzHeader: any frame is split into header and body or refused with a
// *FrameError that lies within it, and what was refused for its key or version
// still tells the correlation ID.
func FuzzHeader(f *testing.F) {
	for _, c := range readCaptures(f) {
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := wire.ParseHeader(frame)
		var ferr *wire.FrameError
		switch {
		case err == nil:
			if !bytes.HasSuffix(frame, body) || !wire.Supports(h.Key, h.Version) {
				t.Fatalf("%+v is not served, or its body is not the frame's end", h)
			}
		case !errors.As(err, &ferr) || ferr.Offset < 0 || ferr.Offset > len(frame):
			t.Fatalf("%v: not a *FrameError within %d bytes", err, len(frame))
		case len(frame) >= 8 && h.CorrelationID != int32(frame[4])<<24|int32(frame[5])<<16|int32(frame[6])<<8|int32(frame[7]):
			t.Fatalf("correlation ID %d is not that of %x", h.CorrelationID, frame)
		}
	})
}

// FuzzReadFrame: any stream of bytes is cut into frames, and every second one
// read as a token, until one is refused or the stream ends; no byte of the
// budget is lost.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add(framed(make([]byte, 8)))
	f.Add(append(framed(make([]byte, 600)), framed(make([]byte, 9))...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		p := newPeer(t, wire.Limits{MaxFrameBytes: 1 << 16})
		p.sendThenClose(stream)
		rest := stream
		read, next := p.ReadFrame, p.ReadToken
		for {
			frame, err := read(t.Context())
			read, next = next, read
			if err != nil {
				break
			}
			if !bytes.HasPrefix(rest, framed(frame.Body)) {
				t.Fatalf("read %x where %x came", frame.Body, rest)
			}
			rest = rest[4+len(frame.Body):]
			frame.Release()
		}
		equal(t, "budget", p.budget.UsedBytes(), 0)
	})
}

// Mutated frames of every kind and version, each within its cost. The fuzz
// targets search for longer; this runs with every test.
func TestMutatedFramesAreRefusedOrDecoded(t *testing.T) {
	const frames = 30_000
	m := wiretest.NewKnownMutator(31)
	decoded := 0
	keys := map[int16]bool{}
	for range frames {
		made := m.Next()
		h, body, err := wire.ParseKnownHeader(made.Bytes[4:])
		if err != nil {
			continue
		}
		checkMutated(t, made.Mutation, wire.Header{Key: h.Key, Version: h.Version}, body)
		decoded++
		keys[h.Key] = true
	}
	if decoded < frames/2 || len(keys) != len(wire.Known()) {
		t.Errorf("only %d of %d frames, of %d of %d kinds, had a header", decoded, frames, len(keys), len(wire.Known()))
	}
}

func checkMutated(t *testing.T, m wiretest.Mutation, h wire.Header, body []byte) {
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("%s v%d, %v: panic %v\nbody %x", wire.Name(h.Key), h.Version, m, r, body)
		}
	}()
	checkBody(t, h, body)
}
