package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// request is one frame of a connection, checked and decoded.
type request struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string
	Body          kmsg.Request // at Version; nil for Produce and Fetch, which have decoders of their own
}

// handler executes one request. It runs on the connection's reader, in the
// order of arrival, beside the handlers of all other connections. It may append
// and change state but must not wait: the connection reads on only when it
// returns. What must wait (a sync, other members of a group, new records, slow
// file work) belongs into the reply.
//
// A nil reply means that the client gets no answer (acks=0).
type handler func(c *conn, req *request) reply

// reply gives the response of one request. It runs on the connection's writer
// when all earlier responses of this connection have left (W3), so it may wait.
// ctx ends with the connection, or when the broker begins to stop: a reply that
// waits for anything but the disk must then return, with a response or with
// ctx.Err(). An error closes the connection without a response.
type reply func(ctx context.Context) (response, error)

// response is a body at its version. Every kmsg.Response is one.
type response interface {
	Key() int16
	IsFlexible() bool
	AppendTo(dst []byte) []byte
}

// answer is the reply of a handler that has nothing to wait for.
func answer(resp response) reply {
	return func(context.Context) (response, error) { return resp, nil }
}
