package wiretest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

// accepted reports whether the frame passes header and walk.
func accepted(frame []byte) error {
	h, body, err := wire.ParseHeader(frame[4:])
	if err != nil {
		return err
	}
	return wire.Walk(h.Key, h.Version, body)
}

func TestSameSeedSameFrames(t *testing.T) {
	a, b, c := wiretest.NewMutator(7), wiretest.NewMutator(7), wiretest.NewMutator(8)
	same := 0
	const frames = 10_000
	for range frames {
		fa, fb, fc := a.Next(), b.Next(), c.Next()
		if !bytes.Equal(fa.Bytes, fb.Bytes) || fa.Mutation != fb.Mutation {
			t.Fatalf("the same seed made %x and %x", fa.Bytes, fb.Bytes)
		}
		if bytes.Equal(fa.Bytes, fc.Bytes) {
			same++
		}
	}
	if same > frames/100 {
		t.Errorf("another seed made %d of %d frames the same", same, frames)
	}
}

func TestUnmutatedFramesAreValidAndOfEveryVersion(t *testing.T) {
	m := wiretest.NewMutator(1)
	type kind struct{ key, version int16 }
	seen := map[kind]bool{}
	for range 100_000 {
		f := m.Make(wiretest.None)
		if err := accepted(f.Bytes); err != nil {
			t.Fatalf("%s v%d: %v", wire.Name(f.Key), f.Version, err)
		}
		seen[kind{f.Key, f.Version}] = true
	}
	for _, api := range wire.Served() {
		for v := api.Min; v <= api.Max; v++ {
			if !seen[kind{api.Key, v}] {
				t.Errorf("%s v%d was never made", api.Name, v)
			}
		}
	}
}

// Each mutation does what its name says often enough to be worth sending: the
// lies are refused most of the time, and the prefix is honest but for PrefixLie.
func TestMutationsBite(t *testing.T) {
	const frames = 5000
	for mutation := wiretest.Flip; mutation <= wiretest.PrefixLie; mutation++ {
		t.Run(mutation.String(), func(t *testing.T) {
			m := wiretest.NewMutator(uint64(mutation))
			became, refused, lied := 0, 0, 0
			for range frames {
				f := m.Make(mutation)
				if f.Mutation == mutation {
					became++
				}
				if int(binary.BigEndian.Uint32(f.Bytes)) != len(f.Bytes)-4 {
					lied++
				}
				if accepted(f.Bytes) != nil {
					refused++
				}
			}
			if became < frames/4 { // only flexible versions have tags
				t.Errorf("only %d of %d frames could bear it", became, frames)
			}
			if mutation == wiretest.PrefixLie {
				if lied < frames*9/10 || refused > 0 {
					t.Errorf("%d of %d prefixes lie, %d bodies are refused", lied, frames, refused)
				}
				return
			}
			if lied > 0 || refused < frames/10 {
				t.Errorf("%d of %d prefixes lie, %d frames are refused", lied, frames, refused)
			}
		})
	}
}

func TestOnlyTheWantedKeys(t *testing.T) {
	m := wiretest.NewMutator(1, 0, 18)
	for range 1000 {
		if f := m.Next(); f.Key != 0 && f.Key != 18 {
			t.Fatalf("made a %s", wire.Name(f.Key))
		}
	}
}

func BenchmarkNext(b *testing.B) {
	m := wiretest.NewMutator(1)
	b.ReportAllocs()
	var refused, bytes int64
	for b.Loop() {
		f := m.Next()
		bytes += int64(len(f.Bytes))
		if err := accepted(f.Bytes); errors.Is(err, wire.ErrMalformed) {
			refused++
		}
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "B/frame")
	b.ReportMetric(float64(refused)/float64(b.N), "malformed/frame")
}
