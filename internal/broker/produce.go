package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/auth"
	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/wire"
)

// What a producer waits for.
const (
	acksNone   = 0
	acksLeader = 1
	acksAll    = -1
)

// firstBatchVersion is the Produce version from which on records are batches of
// format v2; older ones are advertised (see wire.Served) but refused when used.
const firstBatchVersion = 3

// firstZstdVersion is the Produce version from which on clients may send zstd.
const firstZstdVersion = 7

// produceCall is one Produce request on its way: the handler fills it in, the
// reply waits on it. It is pooled, so that a request allocates next to nothing.
type produceCall struct {
	b        *Broker
	c        *conn
	req      wire.ProduceRequest
	resp     wire.ProduceResponse
	appended []appended
	deadline time.Time
	out      []byte
	logs     []*log.Log // to be synced together
	here     bool       // the reply runs behind the handler: it does the sync

	// Of a request within a transaction, see appendInTxn.
	inTxn   *liveTxn // held while the batches are appended
	refusal error    // why the transaction takes none of them
	joined  written  // the record that brings the partitions into it
	txn     *log.Log // where that record is
}

// appended is one partition's append that acks=all waits for.
type appended struct {
	log.Appended
	log    *log.Log
	result int // index in resp.Partitions
}

// produce appends every partition's batch in order, on the connection's reader.
// The reply waits for the sync that acks=all asks for; meanwhile the reader goes
// on with the next request (A1).
func (b *Broker) produce(c *conn, req *request) reply {
	call := b.produceCalls.Get().(*produceCall)
	call.b, call.c = b, c
	if err := call.req.Decode(req.Header, req.body); err != nil {
		call.release()
		return refuse(err)
	}
	call.resp.Reset(&call.req)
	call.appended = call.appended[:0]
	call.here = c.here
	call.deadline = time.Now().Add(time.Duration(call.req.TimeoutMs) * time.Millisecond)
	if err := call.admit(); err != nil {
		call.resp.Fail(codeOf(err), err.Error())
	} else if call.transactional() {
		call.appendInTxn(c)
	} else {
		call.append()
	}
	if call.req.Acks == acksNone {
		defer call.release()
		return call.unanswered()
	}
	return call.wait
}

// admit says why the request as a whole is refused.
func (call *produceCall) admit() error {
	switch req := &call.req; {
	case req.Version < firstBatchVersion:
		return refused(kerr.UnsupportedForMessageFormat, fmt.Sprintf("Produce version %d carries records of a format older than v2: use a client for Kafka 0.11 or newer", req.Version))
	case req.Acks < acksAll || req.Acks > acksLeader:
		return refused(kerr.InvalidRequiredAcks, fmt.Sprintf("acks=%d: use 0, 1 or all", req.Acks))
	case call.transactional() && !call.c.mayTransaction(auth.Write, string(req.TransactionalID)):
		return refused(kerr.TransactionalIDAuthorizationFailed, errTopicDenied.Error())
	}
	return call.admitTxn()
}

// unanswered is the reply under acks=0: none, unless something failed. Then the
// connection closes, which is all that the producer can notice (W3).
func (call *produceCall) unanswered() reply {
	for i := range call.resp.Partitions {
		if r := &call.resp.Partitions[i]; r.ErrorCode != 0 {
			return refuse(fmt.Errorf("%w: partition %d: %s", errUnanswered, r.Partition, r.ErrorMessage))
		}
	}
	return nil
}

var errUnanswered = errors.New("a produce request with acks=0 failed")

func (call *produceCall) append() {
	next := 0
	for i := range call.req.Topics {
		asked := &call.req.Topics[i]
		t, unknown := call.c.topic(auth.Write, asked.Name, (*topicID)(asked.ID))
		for j := range asked.Partitions {
			err := unknown
			if err == nil {
				err = call.appendTo(t, &asked.Partitions[j], next)
			}
			if err != nil {
				call.fail(next, err)
			}
			next++
		}
	}
}

func (call *produceCall) fail(result int, err error) {
	r := &call.resp.Partitions[result]
	r.ErrorCode, r.ErrorMessage = codeOf(err), err.Error()
	r.BaseOffset, r.LogStartOffset, r.LogAppendTimeMs = -1, -1, -1
}

// appendTo appends one partition's records, whose bytes stay as they came but
// for the few that belong to the broker (P2).
func (call *produceCall) appendTo(t *topic, asked *wire.ProducePartition, result int) error {
	if t.internal {
		return fmt.Errorf("%w: %s", errTopicInternal, t.name)
	}
	l, err := t.partition(asked.Partition)
	if err != nil {
		return err
	}
	header, err := checkBatch(asked.Records, call.req.Version)
	if err != nil {
		return err
	}
	vouched, err := call.vouch(header, l.TP())
	if err != nil {
		return err
	}
	a, err := l.Append(asked.Records, log.AppendOptions{
		Sync: call.req.Acks == acksAll && call.inTxn == nil && !call.here, Txn: vouched, FromZero: vouched && call.req.Version >= addsByWriting,
	})
	if err != nil {
		return err
	}
	if !a.Duplicate {
		t.traffic.produced.add(int(header.Count), len(asked.Records))
	}
	r := &call.resp.Partitions[result]
	r.BaseOffset, r.LogAppendTimeMs, r.LogStartOffset = int64(a.Base), a.AppendTimeMs, int64(a.LogStart)
	if call.req.Acks == acksAll {
		call.appended = append(call.appended, appended{Appended: a, log: l, result: result})
	}
	return nil
}

// checkBatch holds what a client sent against Kafka's rules: exactly one batch,
// sound, and nothing in it that only a broker may write.
func checkBatch(records []byte, version int16) (batch.Header, error) {
	if len(records) == 0 {
		return batch.Header{}, refused(kerr.InvalidRecord, "no record batch: a partition in a Produce request needs exactly one")
	}
	h, err := batch.Validate(records)
	switch {
	case err != nil:
		return h, err
	case h.BaseOffset != 0:
		return h, refused(kerr.InvalidRecord, fmt.Sprintf("the batch has base offset %d: a producer must send 0", h.BaseOffset))
	case h.Control():
		return h, refused(kerr.InvalidRecord, "clients must not write control records")
	case h.Codec() == batch.Zstd && version < firstZstdVersion:
		return h, refused(kerr.UnsupportedCompressionType, fmt.Sprintf("zstd needs Produce version %d, this is %d", firstZstdVersion, version))
	}
	return h, nil
}

// wait is the reply: it waits for the syncs in turn, most of which share a round.
// It heeds the broker's patience with the disk, not the connection's ctx: what
// was appended is answered also while the broker stops.
func (call *produceCall) wait(context.Context) (response, error) {
	if len(call.appended) == 0 {
		return call, nil
	}
	if call.here {
		call.startSync(call.b.store.SyncHere)
	}
	ctx, cancel := context.WithDeadline(call.b.syncing, call.deadline)
	defer cancel()
	var joined error
	if call.joined.any {
		joined = call.joined.Wait(ctx)
	}
	for _, a := range call.appended {
		err := cmp.Or(joined, a.Wait(ctx))
		switch {
		case err == nil:
		case call.b.syncing.Err() != nil:
			return nil, err
		case errors.Is(err, context.DeadlineExceeded):
			call.fail(a.result, refused(kerr.RequestTimedOut, "the records are written, but the disk did not confirm them within the request's timeout"))
		default:
			call.fail(a.result, err)
		}
	}
	return call, nil
}

// startSync asks for one sync of all that was appended and is not as safe yet as
// its topic promises. In a transaction the topics do not matter: what comes
// behind, the decision, must not outlive what it is about.
func (call *produceCall) startSync(together func(...*log.Log)) {
	logs := call.logs[:0]
	for i := range call.appended {
		if a := &call.appended[i]; call.txn != nil || !a.Safe() {
			logs = append(logs, a.log)
		}
	}
	if call.txn != nil {
		logs = append(logs, call.txn)
	}
	together(logs...)
	clear(logs)
	call.logs = logs
}

// Key makes a produceCall its own response.
func (call *produceCall) Key() int16 { return produceKey }

func (call *produceCall) writeFrame(c *conn, correlationID int32) error {
	call.out = wire.AppendResponse(call.out[:0], correlationID, &call.resp)
	err := c.writeAll(call.out)
	call.release()
	return err
}

// release gives the call back, unless it grew beyond what is worth keeping.
func (call *produceCall) release() {
	call.c = nil
	clear(call.appended)
	call.joined, call.txn = written{}, nil
	clear(call.req.Topics) // they point into the frame
	clear(call.req.Partitions)
	if len(call.req.Partitions) > pooledPartitions {
		return
	}
	call.b.produceCalls.Put(call)
}

// pooledPartitions bounds the requests whose memory is kept for reuse.
const pooledPartitions = 1024
