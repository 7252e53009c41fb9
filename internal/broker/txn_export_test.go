package broker

import (
	"testing"
	"time"

	"millrace/internal/txn"
	"millrace/record"
)

// TxnFaults are the planted bugs of the transaction edge.
type TxnFaults = txnFaults

// Plant makes the bugs part of a configuration.
func (c Config) Plant(f TxnFaults) Config {
	c.txnFaults = f
	return c
}

// The planted bugs by name.
var PlantedTxnBugs = map[string]TxnFaults{
	"markers before the decision is durable":  {earlyMarkers: true},
	"complete before the markers are durable": {earlyComplete: true},
	"no record of the decision":               {noPrepare: true},
	"staged offsets lost in a restart":        {forgetStaged: true},
	"open data is left alone by a restart":    {noAdoption: true},
	"a restart aborts what was decided":       {abortPrepared: true},
}

// EndTransactions aborts what clients left open and waits until all markers are
// durable.
func (b *Broker) EndTransactions(t testing.TB) {
	t.Helper()
	for _, lt := range b.txns.all() {
		b.WaitSettled(t, lt.id) // after a restart, data may become part of a transaction then
		lt.mu.Lock()
		if lt.mu.txn.State == txn.Ongoing {
			if err := lt.store(lt.mu.txn.Abort(b.txns.now())); err != nil {
				t.Fatal(err)
			}
		}
		lt.mu.Unlock()
		b.WaitSettled(t, lt.id)
	}
}

// WaitSettled waits until the markers of the ids are written.
func (b *Broker) WaitSettled(t testing.TB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		lt := b.txns.find(id)
		lt.mu.Lock()
		settled := lt.mu.settled
		lt.mu.Unlock()
		if settled == nil {
			continue
		}
		select {
		case <-settled:
		case <-time.After(90 * time.Second):
			t.Fatalf("the markers of %q do not get written", id)
		}
	}
}

// GroupOffset is a group's committed position, -1 without one; staged says
// whether a transaction may move it.
func (b *Broker) GroupOffset(id, topic string, partition int32) (offset int64, staged bool) {
	lg := b.groups.lockGroup(id)
	if lg == nil {
		return -1, false
	}
	defer lg.unlock()
	tp := record.TopicPartition{Topic: record.Topic(topic), Partition: record.Partition(partition)}
	o, ok := lg.mu.group.Offset(tp)
	if !ok {
		o.Offset = -1
	}
	return int64(o.Offset), lg.mu.group.HasStaged(tp)
}

// AbortOverdue does what the keeper does every second.
func (b *Broker) AbortOverdue() { b.txns.abortOverdue() }

// ExpireTransactionalIDs does what the keeper does every hour.
func (b *Broker) ExpireTransactionalIDs() { b.txns.expireIDs() }

// TransactionRounds is the sync rounds per transaction so far.
func (b *Broker) TransactionRounds() (rounds, transactions int64) {
	return b.txns.counts.rounds.Load(), b.txns.counts.answered.Load()
}

// HasTransactionalID reports whether the id is known.
func (b *Broker) HasTransactionalID(id string) bool { return b.txns.find(id) != nil }

// SetProducerEpoch makes a producer as old as that.
func (b *Broker) SetProducerEpoch(t testing.TB, id string, epoch int16) {
	t.Helper()
	lt := b.txns.find(id)
	lt.mu.Lock()
	defer lt.mu.Unlock()
	next := lt.mu.txn
	next.Producer.Epoch = epoch
	if err := lt.store(next); err != nil {
		t.Fatal(err)
	}
}

// ForgetTransactionalID removes an id, whatever it has open.
func (b *Broker) ForgetTransactionalID(t testing.TB, id string) {
	t.Helper()
	lt := b.txns.find(id)
	lt.mu.Lock()
	defer lt.mu.Unlock()
	if err := lt.forget(); err != nil {
		t.Fatal(err)
	}
}

// SmallSegments makes what is written to the broker's own topics compactable soon.
func (b *Broker) SmallSegments() {
	for _, l := range b.store.Logs() {
		if reservedName(string(l.TP().Topic)) {
			cfg := l.Config()
			cfg.SegmentBytes, cfg.MinCleanableDirtyRatio = 1024, 0.01
			l.SetConfig(cfg)
		}
	}
}

// OwnTopicBytes is the size of the broker's own topics.
func (b *Broker) OwnTopicBytes() (size int64) {
	for _, l := range b.store.Logs() {
		if reservedName(string(l.TP().Topic)) {
			size += l.SizeBytes()
		}
	}
	return size
}
