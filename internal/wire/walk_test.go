package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

// eachVersion runs check for every served kind and version.
func eachVersion(t *testing.T, check func(t *testing.T, api wire.API, version int16)) {
	t.Helper()
	for _, api := range wire.Served() {
		t.Run(api.Name, func(t *testing.T) {
			for v := api.Min; v <= api.Max; v++ {
				check(t, api, v)
			}
		})
	}
}

func TestWalkAcceptsWhatKmsgWritesAndNothingLonger(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	eachVersion(t, func(t *testing.T, api wire.API, version int16) {
		for range 200 {
			body := wiretest.Filled(rng, api.Key, version).AppendTo(nil)
			if err := wire.Walk(api.Key, version, body); err != nil {
				t.Fatalf("v%d: %v\nbody %x", version, err, body)
			}
			err := wire.Walk(api.Key, version, append(body, 0))
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("v%d: a byte too many: got %v", version, err)
			}
		}
	})
}

func TestWalkRefusesEveryTruncation(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	eachVersion(t, func(t *testing.T, api wire.API, version int16) {
		for range 50 {
			body := wiretest.Filled(rng, api.Key, version).AppendTo(nil)
			for n := range body {
				if err := wire.Walk(api.Key, version, body[:n:n]); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("v%d cut to %d of %d bytes: got %v\nbody %x", version, n, len(body), err, body)
				}
			}
		}
	})
}

func TestDecodedRequestWritesTheSameBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	eachVersion(t, func(t *testing.T, api wire.API, version int16) {
		for range 50 {
			body := wiretest.Filled(rng, api.Key, version).AppendTo(nil)
			req, err := wire.Decode(wire.Header{Key: api.Key, Version: version}, bytes.Clone(body))
			if err != nil {
				t.Fatalf("v%d: %v", version, err)
			}
			if again := req.AppendTo(nil); !bytes.Equal(again, body) {
				t.Fatalf("v%d: decoded and encoded again\n got %x\nwant %x", version, again, body)
			}
		}
	})
}
