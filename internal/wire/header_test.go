package wire_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// frameOf is a whole frame without its length prefix, as kmsg's own client
// would send it.
func frameOf(req kmsg.Request, clientID string) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	return f.AppendRequest(nil, req, 42)[4:]
}

func TestParseHeaderOfEveryServedVersion(t *testing.T) {
	for _, api := range wire.Served() {
		for v := api.Min; v <= api.Max; v++ {
			req := kmsg.RequestForKey(api.Key)
			req.SetVersion(v)
			h, body, err := wire.ParseHeader(frameOf(req, "kcat"))
			if err != nil {
				t.Fatalf("%s v%d: %v", api.Name, v, err)
			}
			equal(t, "key", h.Key, api.Key)
			equal(t, "version", h.Version, v)
			equal(t, "correlation ID", h.CorrelationID, 42)
			equal(t, "client ID", h.ClientID, "kcat")
			equal(t, "body", string(body), string(req.AppendTo(nil)))
		}
	}
}

func TestParseHeaderTakesNullClientIDForEmpty(t *testing.T) {
	h, body, err := wire.ParseHeader([]byte{0, 12, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 'b'})
	if err != nil || h.ClientID != "" || string(body) != "b" {
		t.Errorf("got %+v, body %q, %v", h, body, err)
	}
}

func TestParseHeaderPassesTags(t *testing.T) {
	// Heartbeat v4, client ID "c", two tags: 1 with 2 bytes, 300 with none.
	frame := []byte{0, 12, 0, 4, 0, 0, 0, 7, 0, 1, 'c', 2, 1, 2, 'x', 'y', 0xac, 2, 0, 'b'}
	h, body, err := wire.ParseHeader(frame)
	if err != nil || h.ClientID != "c" || string(body) != "b" {
		t.Errorf("got %+v, body %q, %v", h, body, err)
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		frame  string
		err    error
		at     int
		reason string
	}{
		"an empty frame":                 {"", wire.ErrMalformed, 0, "0 bytes are too few"},
		"a frame without correlation ID": {"\x00\x03\x00\x01\x00\x00\x00", wire.ErrMalformed, 7, "too few"},
		"R1: key 9999 in 14 bytes":       {"\x27\x0f\x00\x00\x00\x00\x00\x01\x00\x04test", wire.ErrUnknownAPI, 0, "9999"},
		"a negative key":                 {"\xff\xff\x00\x00\x00\x00\x00\x01\x00\x00", wire.ErrUnknownAPI, 0, "-1"},
		"a key of Kafka that is not served": {
			"\x00\x04\x00\x00\x00\x00\x00\x01\x00\x00", wire.ErrUnknownAPI, 0, "not served"},
		"a version above":           {"\x00\x0c\x00\x63\x00\x00\x00\x01\x00\x00", wire.ErrUnsupportedVersion, 2, "0 to 4"},
		"a negative version":        {"\x00\x0c\xff\xff\x00\x00\x00\x01\x00\x00", wire.ErrUnsupportedVersion, 2, "0 to 4"},
		"a version below":           {"\x00\x01\x00\x03\x00\x00\x00\x01\x00\x00", wire.ErrUnsupportedVersion, 2, "4 to "},
		"a client ID cut off":       {"\x00\x03\x00\x01\x00\x00\x00\x01\x00\x05abc", wire.ErrMalformed, 10, "client ID: 5 bytes needed, 3 left"},
		"no client ID length":       {"\x00\x03\x00\x01\x00\x00\x00\x01\x00", wire.ErrMalformed, 8, "client ID"},
		"a client ID of length -2":  {"\x00\x03\x00\x01\x00\x00\x00\x01\xff\xfe", wire.ErrMalformed, 8, "negative"},
		"5 million tags in 8 bytes": {"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\xc0\x96\xb1\x02\x00\x00\x00\x00", wire.ErrMalformed, 14, "5000000 tags claimed, but 4 bytes are left"},
		"a tag beyond the frame":    {"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\x01\x01\x05abc", wire.ErrMalformed, 13, "tag 1: size 5, but 3 bytes are left"},
		"a tag count of 6 bytes":    {"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\x80\x80\x80\x80\x80\x00", wire.ErrMalformed, 10, "too long"},
		"a tag count above 32 bits": {"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\xff\xff\xff\xff\x1f", wire.ErrMalformed, 10, "too long"},
		"no tag section":            {"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00", wire.ErrMalformed, 10, "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := wire.ParseHeader([]byte(c.frame))
			checkRefusal(t, err, c.err, c.at, c.reason)
		})
	}
}

func checkRefusal(t *testing.T, err, want error, at int, reason string) {
	t.Helper()
	var ferr *wire.FrameError
	switch {
	case !errors.Is(err, want):
		t.Errorf("got %v, want %v", err, want)
	case !errors.As(err, &ferr):
		t.Errorf("%v is a %T, not a *FrameError", err, err)
	case ferr.Offset != at:
		t.Errorf("refused at byte %d, want %d: %v", ferr.Offset, at, err)
	case !strings.Contains(err.Error(), reason):
		t.Errorf("%q does not say %q", err, reason)
	}
}

// An ApiVersions request of a version from the future still tells what the
// answer needs, whatever its header looks like (KIP-511).
func TestParseHeaderOfFutureApiVersions(t *testing.T) {
	h, _, err := wire.ParseHeader([]byte{0, 18, 0, 99, 0, 0, 0, 7, 0xde, 0xad})
	if !errors.Is(err, wire.ErrUnsupportedVersion) || h.Key != apiVersionsKey || h.Version != 99 || h.CorrelationID != 7 {
		t.Errorf("got %+v, %v", h, err)
	}
}

// Errors of the body count from the frame's start, as those of the header do.
func TestBodyErrorsCountFromTheFramesStart(t *testing.T) {
	for _, key := range []int16{produceKey, fetchKey, metadataKey, 12} {
		req := kmsg.RequestForKey(key)
		req.SetVersion(4)
		frame := frameOf(req, "client")
		frame = frame[:len(frame)-1]
		h, body, err := wire.ParseHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		err = wire.DecodeAny(h, body)
		var ferr *wire.FrameError
		if !errors.As(err, &ferr) || ferr.Key != key || ferr.Version != 4 {
			t.Fatalf("key %d: got %v", key, err)
		}
		if ferr.Offset < len(frame)-4 || ferr.Offset > len(frame) {
			t.Errorf("key %d: refused at byte %d of a frame of %d", key, ferr.Offset, len(frame))
		}
	}
}

func TestErrorsNameTheRequest(t *testing.T) {
	_, err := wire.Decode(wire.Header{Key: 15, Version: 5}, []byte{0xff, 0xff, 0xff, 0x7f, 0, 0})
	want := "DescribeGroups v5 request refused at byte 4: Groups: 268435454 elements of at least 1 bytes claimed, but 2 bytes are left"
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %v", err, want)
	}
}
