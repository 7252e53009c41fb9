package frames

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/compat/target"
)

// TestAttack sends 50,000 damaged frames, or what FRAMES says, to the real
// binary. The long form is cmd soak's.
func TestAttack(t *testing.T) {
	kind, err := target.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	n, err := target.NumberFromEnv("FRAMES", 50_000)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := target.SeedFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	report, err := Attack(t.Context(), Options{
		Target: target.Options{Kind: kind}, Frames: int(n), Seed: seed, Log: os.Stdout,
	})
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	// A broker that closes everything, or nothing, was not reached.
	if report.Sent < int64(n) || report.Answered < report.Sent/100 || report.Closed < report.Sent/100 {
		t.Errorf("INVALID: %s", report)
	}
}

const controlledShutdown = 7

// TestSeeds checks that the requests that get damaged are sound before.
func TestSeeds(t *testing.T) {
	all := seeds(rand.New(rand.NewPCG(1, 2)))
	keys := map[int16]bool{}
	for _, s := range all {
		keys[s.key] = true
		if key, version := header(s.frame); key != s.key || version != s.version {
			t.Errorf("key %d version %d is framed as %d, %d", s.key, s.version, key, version)
		}
		if s.key == controlledShutdown && s.version == 0 {
			continue // its header has no client id
		}
		request := kmsg.RequestForKey(s.key)
		request.SetVersion(s.version)
		body := s.frame[8+2+len("frames"):]
		if request.IsFlexible() {
			body = body[1:] // no tags
		}
		if err := request.ReadFrom(body); err != nil {
			t.Errorf("key %d version %d does not read back: %v", s.key, s.version, err)
		}
	}
	if len(keys) < 60 {
		t.Errorf("only %d keys", len(keys))
	}
}

func header(b []byte) (key, version int16) {
	return int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
}

// TestReplay checks that a seed gives the same frames again, and mostly
// damaged ones.
func TestReplay(t *testing.T) {
	stream := func() (frames [][]byte, sound int) {
		r := rand.New(rand.NewPCG(7, 7))
		all := seeds(r)
		for range 5000 {
			whole := all[r.IntN(len(all))].frame
			damaged := mutate(r, whole)
			if bytes.Equal(damaged[4:], whole) {
				sound++
			}
			frames = append(frames, damaged)
		}
		return frames, sound
	}
	one, sound := stream()
	two, _ := stream()
	for i := range one {
		if !bytes.Equal(one[i], two[i]) {
			t.Fatalf("frame %d differs between two runs of one seed", i)
		}
	}
	if sound == 0 || sound > len(one)/2 {
		t.Errorf("%d of %d frames are undamaged", sound, len(one))
	}
}
