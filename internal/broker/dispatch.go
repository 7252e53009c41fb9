package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// request is one frame of a connection, checked and decoded. It is valid until
// its handler returns: what the reply needs of body must be copied.
type request struct {
	wire.Header
	body []byte       // of the frame, for the request kinds with a decoder of their own
	Body kmsg.Request // at Version; nil for those kinds: Produce, Fetch, Metadata
}

// handler executes one request. It runs on the connection's reader, in the
// order of arrival, beside the handlers of all other connections. It may append
// and change state but must not wait: the connection reads on only when it
// returns. What must wait (a sync, other members of a group, new records, slow
// file work) belongs into the reply.
//
// Handler and reply of a kind of request that waitsForDisk may run one after the
// other on the reader, which [conn.here] says.
//
// A nil reply means that the client gets no answer (acks=0).
type handler func(c *conn, req *request) reply

// reply gives the response of one request. It runs on the connection's writer, or
// on its reader where [conn.answersHere] says so, when all earlier responses of
// this connection have left (W3), so it may wait. ctx ends with the connection, or when the broker begins to stop: a reply that
// waits for anything but the disk must then return, with a response or with
// ctx.Err(). An error closes the connection without a response. When the
// connection breaks, the replies that are still queued are never called.
type reply func(ctx context.Context) (response, error)

// response is a wire.Response, such as every kmsg.Response at the request's
// version, or a frameWriter.
type response interface {
	Key() int16
}

// frameWriter is a response that writes its own frame.
type frameWriter interface {
	response
	writeFrame(c *conn, correlationID int32) error
}

// answer is the reply of a handler that has nothing to wait for.
func answer(resp response) reply {
	return func(context.Context) (response, error) { return resp, nil }
}

// later is the reply of a handler whose work may take the disk's time.
func later(work func() response) reply {
	return func(context.Context) (response, error) { return work(), nil }
}

// refuse is the reply that closes the connection once all earlier ones have left.
func refuse(err error) reply {
	return func(context.Context) (response, error) { return nil, err }
}

// on makes a handler of a function over the request's own type.
func on[R kmsg.Request](handle func(*conn, R) reply) handler {
	return func(c *conn, req *request) reply { return handle(c, req.Body.(R)) }
}

// waitsForDisk are the request kinds whose replies wait for the disk, or for the
// transaction before of the same client, and for nothing else.
func waitsForDisk(key int16) bool {
	switch kmsg.Key(key) {
	case kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn, kmsg.TxnOffsetCommit:
		return true
	}
	return false
}

// undecoded are the request kinds whose handlers decode the body themselves.
func undecoded(key int16) bool {
	return key == produceKey || key == fetchKey || key == metadataKey
}

const (
	produceKey     = int16(kmsg.Produce)
	fetchKey       = int16(kmsg.Fetch)
	metadataKey    = int16(kmsg.Metadata)
	apiVersionsKey = int16(kmsg.ApiVersions)
)

// maxAPIKey bounds the dispatch table; Kafka's keys are far below.
const maxAPIKey = 128

// dispatchTable is every request kind that is served, by its key. A test holds
// it against wire.Served.
func (b *Broker) dispatchTable() map[kmsg.Key]handler {
	table := map[kmsg.Key]handler{
		kmsg.Produce:                 b.produce,
		kmsg.Fetch:                   b.fetch,
		kmsg.ListOffsets:             on(b.listOffsets),
		kmsg.Metadata:                b.metadata,
		kmsg.ApiVersions:             on(b.apiVersions),
		kmsg.CreateTopics:            on(b.createTopics),
		kmsg.DeleteTopics:            on(b.deleteTopics),
		kmsg.DeleteRecords:           on(b.deleteRecords),
		kmsg.OffsetForLeaderEpoch:    on(b.offsetForLeaderEpoch),
		kmsg.DescribeConfigs:         on(b.describeConfigs),
		kmsg.AlterConfigs:            on(b.alterConfigs),
		kmsg.DescribeLogDirs:         on(b.describeLogDirs),
		kmsg.CreatePartitions:        on(b.createPartitions),
		kmsg.IncrementalAlterConfigs: on(b.incrementalAlterConfigs),
		kmsg.DescribeCluster:         on(b.describeCluster),
		kmsg.DescribeTopicPartitions: on(b.describeTopicPartitions),
	}
	for key, h := range b.groups.handlers() {
		table[key] = h
	}
	for key, h := range b.securityHandlers() {
		table[key] = h
	}
	for key, h := range b.txns.handlers() {
		table[key] = h
	}
	return table
}
