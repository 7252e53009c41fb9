package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

// eachVersion runs check for every kind and version that can be read.
func eachVersion(t *testing.T, check func(t *testing.T, api wire.API, version int16)) {
	t.Helper()
	for _, api := range wire.Known() {
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

// Each check of the walk alone: what is refused, where, and in which words.
func TestWalkRefuses(t *testing.T) {
	const fetchV12 = "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x01\x01\x01"
	for name, c := range map[string]struct {
		key, version int16
		body         string
		err          error
		at           int
		reason       string
	}{
		"an unknown key":              {9999, 0, "", wire.ErrUnknownAPI, 0, "9999"},
		"an unserved version":         {12, 5, "", wire.ErrUnsupportedVersion, 2, "0 to 4"},
		"a fixed field cut off":       {0, 0, "\x00\x01\x00", wire.ErrMalformed, 0, "Acks, TimeoutMs: 6 bytes needed, 3 left"},
		"a string's length cut off":   {10, 0, "\x00", wire.ErrMalformed, 0, "Key: the frame ends within its length"},
		"a string cut off":            {10, 0, "\x00\x05abcd", wire.ErrMalformed, 2, "Key: length 5, but 4 bytes are left"},
		"a null string":               {10, 0, "\xff\xff", wire.ErrMalformed, 0, "Key: null is not allowed"},
		"a compact null string":       {10, 3, "\x00\x00\x00", wire.ErrMalformed, 0, "Key: null is not allowed"},
		"a string of length -2":       {10, 0, "\xff\xfe", wire.ErrMalformed, 0, "Key: length -2 is negative"},
		"a nullable string of -2":     {22, 0, "\xff\xfe\x00\x00\x00\x00", wire.ErrMalformed, 0, "TransactionalId: length -2"},
		"an array's length cut off":   {42, 0, "\x00\x00\x00", wire.ErrMalformed, 0, "GroupsNames: the frame ends"},
		"a null array":                {42, 0, "\xff\xff\xff\xff", wire.ErrMalformed, 0, "GroupsNames: null"},
		"an array of -2":              {3, 1, "\xff\xff\xff\xfe", wire.ErrMalformed, 0, "Topics: length -2"},
		"null bytes":                  {14, 0, "\x00\x01g\x00\x00\x00\x01\x00\x01m\x00\x00\x00\x01\x00\x01m\xff\xff\xff\xff", wire.ErrMalformed, 17, "Assignment: null"},
		"a count beyond the frame":    {3, 1, "\x00\x00\x00\x03\x00\x00\x00\x00", wire.ErrMalformed, 4, "3 elements of at least 2 bytes claimed, but 4 bytes are left"},
		"a struct's presence cut off": {75, 0, "\x01\x00\x00\x00\x00", wire.ErrMalformed, 5, "Cursor: 1 bytes needed, 0 left"},
		"a struct half present":       {75, 0, "\x01\x00\x00\x00\x00\x02\x00", wire.ErrMalformed, 5, "Cursor: 2 says neither"},
		"a struct cut off":            {75, 0, "\x01\x00\x00\x00\x00\x01\x02a\x00", wire.ErrMalformed, 8, "PartitionIndex: 4 bytes needed"},
		"a byte too many":             {42, 0, "\x00\x00\x00\x00\x00", wire.ErrMalformed, 4, "1 bytes follow the end"},
		"a tag section missing":       {42, 2, "\x01", wire.ErrMalformed, 1, "tag count"},
		"a tag's number cut off":      {42, 2, "\x01\x01\x80\x80", wire.ErrMalformed, 2, "tag:"},
		"a tag count that is a lie":   {42, 2, "\x01\x02\x05\x00\x06", wire.ErrMalformed, 2, "2 tags claimed, but 3 bytes"},
		"a tag beyond the frame":      {42, 2, "\x01\x01\x05\x02x", wire.ErrMalformed, 4, "tag 5: size 2, but 1 bytes"},
		"a known tag that ends early": {1, 12, fetchV12 + "\x01\x00\x03\x01xy", wire.ErrMalformed, 32, "tag ClusterId: 2 of its bytes are left over"},
		"a known tag that ends late":  {1, 12, fetchV12 + "\x01\x00\x02\x03xy", wire.ErrMalformed, 32, "ClusterId: length 2, but 1 bytes are left"},
		"an overlong varint":          {42, 2, "\x81\x80\x80\x80\x80\x00\x00", wire.ErrMalformed, 0, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			checkRefusal(t, wire.Walk(c.key, c.version, []byte(c.body)), c.err, c.at, c.reason)
		})
	}
}

// Unknown tags are passed.
func TestWalkPassesTags(t *testing.T) {
	for name, body := range map[string]string{
		"none":                "\x01\x00",
		"one":                 "\x01\x01\x05\x02xy",
		"two, one of no size": "\x01\x02\x05\x00\x03\x01z",
	} {
		if err := wire.Walk(42, 2, []byte(body)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
