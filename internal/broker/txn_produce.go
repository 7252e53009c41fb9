package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/auth"
	"millrace/internal/batch"
	"millrace/internal/txn"
	"millrace/record"
)

// appendInTxn is append for a request with a transactional id. The id is held
// until all is appended, so that no decision comes between the look at the
// transaction and the write; and one sync round covers record and data.
//
// This is the one handler that may wait: for the markers of the same client's
// transaction before, for about a sync round, with settlePatience as its bound.
// Requests behind it on this connection could not be answered earlier anyway.
func (call *produceCall) appendInTxn(c *conn) {
	lt, err := call.b.txns.named(string(call.req.TransactionalID))
	if err == nil {
		err = lt.lockSettled(c.ctx)
	}
	if err != nil {
		err = writeError(err, call.req.Version)
		call.resp.Fail(codeOf(err), err.Error())
		return
	}
	if call.req.Version >= addsByWriting {
		call.refusal = call.join(lt)
	}
	call.inTxn = lt
	call.append()
	call.inTxn, call.refusal = nil, nil
	call.joined = lt.mu.written
	lt.mu.Unlock()
	call.txn = lt.shard.log
	if !call.here {
		call.startSync(call.b.store.SyncTogether)
	}
}

// join brings every partition that the request writes to into the transaction:
// one record for all of them.
func (call *produceCall) join(lt *liveTxn) error {
	var partitions []record.TopicPartition
	var p txn.Producer
	for i := range call.req.Topics {
		asked := &call.req.Topics[i]
		t, err := call.c.topic(auth.Write, asked.Name, (*topicID)(asked.ID))
		if err != nil || t.internal {
			continue
		}
		for j := range asked.Partitions {
			h, err := batch.ParseHeader(asked.Partitions[j].Records)
			if err != nil || !h.Transactional() || t.log(asked.Partitions[j].Partition) == nil {
				continue
			}
			p = txn.Producer{ID: h.ProducerID, Epoch: h.ProducerEpoch}
			partitions = append(partitions, t.partitionName(int(asked.Partitions[j].Partition)))
		}
	}
	if len(partitions) == 0 {
		return nil
	}
	return lt.admit(p, partitions, true)
}

// vouch says whether the batch may be written within the transaction that the
// request names, and for the log whether the coordinator knows of it.
func (call *produceCall) vouch(h batch.Header, tp record.TopicPartition) (vouched bool, err error) {
	switch {
	case !h.Transactional():
		return false, nil
	case call.inTxn == nil:
		return false, refused(kerr.TransactionalIDAuthorizationFailed, "the batch belongs to a transaction, but the request names no transactional id")
	case call.refusal != nil:
		return false, writeError(call.refusal, call.req.Version)
	}
	err = call.inTxn.mu.txn.Verify(txn.Producer{ID: h.ProducerID, Epoch: h.ProducerEpoch}, tp)
	return err == nil, writeError(err, call.req.Version)
}

// transactional reports whether the request writes within the transaction that it
// names. A client with a transactional id may also write outside of one.
func (call *produceCall) transactional() bool {
	if call.req.TransactionalID == nil {
		return false
	}
	for i := range call.req.Partitions {
		if h, err := batch.ParseHeader(call.req.Partitions[i].Records); err == nil && h.Transactional() {
			return true
		}
	}
	return false
}

// admitTxn says why a request that writes in a transaction is refused as a whole.
func (call *produceCall) admitTxn() error {
	if call.req.Acks != acksAll && call.transactional() {
		return refused(kerr.InvalidRequiredAcks, fmt.Sprintf("acks=%d: a transaction needs all, because its commit promises its records", call.req.Acks))
	}
	return nil
}
