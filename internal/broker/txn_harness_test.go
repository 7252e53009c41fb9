package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
)

// txnProducer speaks the transaction protocol request by request, in one of its
// two versions.
type txnProducer struct {
	*rawConn
	id       string
	v2       bool
	producer int64
	epoch    int16
	sequence map[int32]int32 // next one by partition; starts anew with each epoch
	group    string
	member   string
	gen      int32
}

func newTxnProducer(t testing.TB, n *node, id string, v2 bool) *txnProducer {
	t.Helper()
	p := &txnProducer{rawConn: dial(t, n.addr), id: id, v2: v2, group: "g", gen: -1}
	p.mustInit()
	return p
}

// version is the one for clients of the newer or of the older protocol.
func (p *txnProducer) version(v1, v2 int16) int16 {
	if p.v2 {
		return v2
	}
	return v1
}

func (p *txnProducer) initRequest() *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &p.id, 60_000
	req.ProducerID, req.ProducerEpoch = -1, -1
	return req
}

func (p *txnProducer) mustInit() {
	p.t.Helper()
	r := call[*kmsg.InitProducerIDResponse](p.rawConn, 4, p.initRequest())
	if r.ErrorCode != 0 {
		p.t.Fatalf("InitProducerId: code %d", r.ErrorCode)
	}
	p.goOn(r.ProducerID, r.ProducerEpoch)
}

func (p *txnProducer) goOn(producer int64, epoch int16) {
	p.producer, p.epoch, p.sequence = producer, epoch, map[int32]int32{}
}

// add is AddPartitionsToTxn.
func (p *txnProducer) add(topic string, partitions ...int32) (code int16) {
	p.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.id, p.producer, p.epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: topic, Partitions: partitions}}
	resp := call[*kmsg.AddPartitionsToTxnResponse](p.rawConn, 3, req)
	for _, one := range resp.Topics[0].Partitions {
		code = max(code, one.ErrorCode)
	}
	return code
}

// write produces the value to each of the partitions, in one request.
func (p *txnProducer) write(topic, value string, partitions ...int32) (code int16) {
	p.t.Helper()
	req := produceRequest(-1, topic, 0, nil)
	req.TransactionID = &p.id
	req.Topics[0].Partitions = nil
	for _, partition := range partitions {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition = partition
		rp.Records = build(p.t, batch.BuilderOptions{
			ProducerID: p.producer, ProducerEpoch: p.epoch, BaseSequence: p.sequence[partition], Transactional: true,
		}, value)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	resp := call[*kmsg.ProduceResponse](p.rawConn, p.version(9, 12), req)
	for _, one := range resp.Topics[0].Partitions {
		if code = max(code, one.ErrorCode); one.ErrorCode == 0 {
			p.sequence[one.Partition]++
		}
	}
	return code
}

// addGroup is AddOffsetsToTxn.
func (p *txnProducer) addGroup() int16 {
	p.t.Helper()
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.producer, p.epoch, p.group
	return call[*kmsg.AddOffsetsToTxnResponse](p.rawConn, 3, req).ErrorCode
}

// stage is TxnOffsetCommit of partition 0 of the topic.
func (p *txnProducer) stage(topic string, offset int64) int16 {
	p.t.Helper()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.id, p.producer, p.epoch, p.group
	req.Generation, req.MemberID = p.gen, p.member
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rp.Offset = offset
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return call[*kmsg.TxnOffsetCommitResponse](p.rawConn, p.version(3, 5), req).Topics[0].Partitions[0].ErrorCode
}

func (p *txnProducer) endRequest(commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, p.producer, p.epoch, commit
	return req
}

// end is EndTxn. Under version 2 the producer goes on with what it is told.
func (p *txnProducer) end(commit bool) int16 {
	p.t.Helper()
	r := call[*kmsg.EndTxnResponse](p.rawConn, p.version(3, 5), p.endRequest(commit))
	if r.ErrorCode == 0 && p.v2 {
		p.goOn(r.ProducerID, r.ProducerEpoch)
	}
	return r.ErrorCode
}

// transaction writes to both partitions, stages an offset and ends.
func (p *txnProducer) transaction(topic, value string, offset int64, commit bool) {
	p.t.Helper()
	p.prepare(topic, value, offset)
	p.must("EndTxn", p.end(commit))
}

// prepare is all of a transaction but its end.
func (p *txnProducer) prepare(topic, value string, offset int64) {
	p.t.Helper()
	if !p.v2 {
		p.must("AddPartitionsToTxn", p.add(topic, 0, 1))
	}
	p.must("Produce", p.write(topic, value, 0, 1))
	if !p.v2 {
		p.must("AddOffsetsToTxn", p.addGroup())
	}
	p.must("TxnOffsetCommit", p.stage(topic, offset))
}

func (p *txnProducer) must(what string, code int16) {
	p.t.Helper()
	if code != 0 {
		p.t.Fatalf("%s: code %d", what, code)
	}
}

// committedIn is the values of a partition that are committed, in order, and
// whether everything in it is decided.
func committedIn(t testing.TB, n *node, topic string, partition int32) (values []string, settled bool) {
	t.Helper()
	l := n.LogOf(t, topic, partition)
	start, stable := l.StartOffset(), l.LastStableOffset()
	aborted, err := l.Aborted(nil, start, stable)
	if err != nil {
		t.Fatal(err)
	}
	for next := start; next < stable; {
		data, err := l.ReadCommitted(next, 1<<20, nil)
		if err != nil || len(data) == 0 {
			t.Fatalf("read at %d: %d bytes, %v", next, len(data), err)
		}
		for b, err := range batch.Split(data) {
			if err != nil {
				t.Fatal(err)
			}
			var it batch.Iterator
			if err := it.Reset(b, nil); err != nil {
				t.Fatal(err)
			}
			h := it.Header()
			next = h.LastOffset() + 1
			gone := h.Control()
			for _, a := range aborted {
				gone = gone || h.Transactional() && a.ProducerID == h.ProducerID && a.First <= h.BaseOffset && h.BaseOffset <= a.Last
			}
			for it.Next() && !gone {
				values = append(values, string(it.Record().Value))
			}
		}
	}
	return values, stable == l.HighWatermark()
}
