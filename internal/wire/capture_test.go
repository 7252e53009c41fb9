package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"millrace/internal/wire"
)

// capture is one frame of testdata/captures.txt.
type capture struct {
	client       string
	key, version int16
	frame        []byte
}

// capturedKinds is how many request kinds the captures hold at least.
const capturedKinds = 36

func readCaptures(t testing.TB) []capture {
	t.Helper()
	text, err := os.ReadFile("testdata/captures.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []capture
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var c capture
		var digits string
		if _, err := fmt.Sscan(line, &c.client, &c.key, &c.version, &digits); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if c.frame, err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// What real clients send is taken, down to the last byte: kmsg writes it again
// as it came.
func TestCapturedFramesOfRealClients(t *testing.T) {
	keys, clients := map[int16]bool{}, map[string]bool{}
	for _, c := range readCaptures(t) {
		clients[c.client] = true
		h, body, err := wire.ParseHeader(c.frame)
		if !wire.Supports(c.key, c.version) {
			if c.key != apiVersionsKey || !errors.Is(err, wire.ErrUnsupportedVersion) {
				t.Errorf("%s: %s v%d: %v", c.client, wire.Name(c.key), c.version, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.client, err)
			continue
		}
		equal(t, "key", h.Key, c.key)
		equal(t, "version", h.Version, c.version)
		checkBody(t, wire.Header{Key: h.Key, Version: h.Version}, body)
		req, err := wire.Decode(h, body)
		if err != nil {
			t.Errorf("%s: %v", c.client, err)
			continue
		}
		if again := req.AppendTo(nil); !bytes.Equal(again, body) {
			t.Errorf("%s: %s v%d changes\n from %x\n   to %x", c.client, wire.Name(c.key), c.version, body, again)
		}
		keys[c.key] = true
	}
	if len(keys) < capturedKinds || len(clients) < 9 {
		t.Errorf("the captures have %d kinds of %d clients, want at least %d and 9", len(keys), len(clients), capturedKinds)
	}
}
