package wire

import (
	"encoding/binary"
	"fmt"
)

// Header is the front of a request.
//
//	0     2         4                8           n
//	| key | version | correlation ID | client ID | tags, if the body is flexible
//
// This is Kafka's request header v1, and v2 with the tags. Header v0, without a
// client ID, belongs to ControlledShutdown v0 alone, which is not served.
type Header struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // empty also for null, as in Kafka

	size int // bytes of the header, so that errors count from the frame's start
}

// shortHeader is key, version and correlation ID.
const shortHeader = 8

// ParseHeader splits a frame, without its length prefix, into header and body.
//
// A key that is not served fails with [ErrUnknownAPI], a version outside the
// served range with [ErrUnsupportedVersion]; the returned Header then holds
// key, version and correlation ID, which is enough for the answer that
// ApiVersions owes (see [AppendUnsupportedApiVersions]).
func ParseHeader(frame []byte) (h Header, body []byte, err error) {
	return parseHeader(frame, "", served)
}

// parseHeader returns lastClientID, instead of a new string, when the frame
// carries the same: a connection's client ID rarely changes.
// find, served or known, says which request kinds are taken.
func parseHeader(frame []byte, lastClientID string, find func(key, version int16) *api) (Header, []byte, error) {
	if len(frame) < shortHeader {
		return Header{Key: unknown, Version: unknown}, nil, &FrameError{Key: unknown, Version: unknown, Offset: len(frame), Err: ErrMalformed,
			Reason: fmt.Sprintf("%d bytes are too few for a request header", len(frame))}
	}
	h := Header{
		Key:           int16(binary.BigEndian.Uint16(frame)),
		Version:       int16(binary.BigEndian.Uint16(frame[2:])),
		CorrelationID: int32(binary.BigEndian.Uint32(frame[4:])),
		size:          shortHeader,
	}
	a := find(h.Key, h.Version)
	if a == nil {
		return h, nil, refuseAPI(h.Key, h.Version)
	}
	w := walker{buf: frame, pos: shortHeader, api: a, number: h.Version, lean: true}
	id, ferr := w.clientID(a.flexibleAt(h.Version))
	if ferr != nil {
		return h, nil, ferr
	}
	if h.ClientID = lastClientID; string(id) != lastClientID {
		h.ClientID = string(id)
	}
	h.size = w.pos
	return h, frame[w.pos:], nil
}

// clientID reads the rest of the header. The client ID is never compact, also
// in a flexible header; the tags after it have no known fields.
func (w *walker) clientID(flexible bool) ([]byte, *FrameError) {
	size, err := w.length(&clientIDField, false)
	if err != nil {
		return nil, err
	}
	id := w.buf[w.pos:]
	if err := w.skip(max(size, 0), clientIDField.name); err != nil {
		return nil, err
	}
	id = id[:max(size, 0)]
	if flexible {
		return id, w.tags(&headerTags)
	}
	return id, nil
}

var (
	clientIDField = node{name: "client ID", kind: text, nullable: true}
	headerTags    = shape{flexible: true, tagged: true}
)
