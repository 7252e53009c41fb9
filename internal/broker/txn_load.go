package broker

import (
	"errors"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/txn"
	"millrace/record"
)

// recover reads all ids, has what was decided finished, and sees to data that
// was left open in partitions.
func (x *txns) recover() {
	for _, s := range x.allShards() {
		l := txnLoader{shard: s, ids: map[string]txn.Txn{}}
		x.damaged = l.run() || x.damaged
	}
	open := x.openInPartitions()
	for _, lt := range x.all() {
		lt.mu.Lock()
		for _, id := range lt.mu.txn.ProducerIDs() {
			lt.mu.open = append(lt.mu.open, open[id]...)
			delete(open, id)
		}
		if lt.mu.txn.State.Prepared() && x.b.cfg.txnFaults.abortPrepared {
			lt.mu.txn.State = txn.PrepareAbort
		}
		lt.become(lt.mu.txn)
		if lt.mu.txn.State.Prepared() {
			lt.finishLater()
		} else {
			lt.adopt()
		}
		lt.mu.Unlock()
	}
	for _, orphans := range open {
		x.endOrphans(orphans)
	}
}

// openTxn is a transaction that is open in one partition.
type openTxn struct {
	tp       record.TopicPartition
	log      *log.Log
	producer txn.Producer
}

// openInPartitions is what the logs hold open, by producer id.
func (x *txns) openInPartitions() map[int64][]openTxn {
	open := map[int64][]openTxn{}
	for _, l := range x.b.store.Logs() {
		if _, _, _, any := l.OldestOpenTxn(); !any {
			continue
		}
		for _, p := range l.Producers() {
			if p.TxnStart >= 0 {
				open[p.ID] = append(open[p.ID], openTxn{l.TP(), l, txn.Producer{ID: p.ID, Epoch: p.Epoch}})
			}
		}
	}
	return open
}

// adopt sees to what the start found open and the present state does not name. A
// crash has kept the data and lost the record that came before it: of the present
// producer it belongs to the transaction, and the client may believe that it is
// there. Of any other one it belongs to a transaction that was decided without it:
// nobody was told that it is there, because that waits for the record too. The
// caller holds mu; the state is not Prepared.
func (lt *liveTxn) adopt() {
	var ours []record.TopicPartition
	var orphans []openTxn
	for _, o := range lt.mu.open {
		switch {
		case !o.stillOpen():
		case o.producer != lt.mu.txn.Producer:
			orphans = append(orphans, o)
		case !lt.mu.txn.Has(o.tp):
			ours = append(ours, o.tp)
		}
	}
	lt.mu.open = nil
	if lt.shard.x.b.cfg.txnFaults.noAdoption {
		return
	}
	lt.shard.x.endOrphans(orphans)
	lt.bringBack(ours)
}

// bringBack makes the partitions part of the transaction. The caller holds mu.
func (lt *liveTxn) bringBack(ours []record.TopicPartition) {
	if len(ours) == 0 {
		return
	}
	x := lt.shard.x
	step, err := lt.mu.txn.AddPartitions(x.now(), txn.AddRequest{Producer: lt.mu.txn.Producer, Partitions: ours, Version: txn.V2})
	if err = lt.take(step, err); err != nil {
		x.b.logger.Error("partitions could not be brought back into their transaction: they hold up readers at read_committed until the next start",
			"transactional_id", lt.id, "partitions", ours, "error", err)
		return
	}
	x.b.logger.Info("a crash had lost which partitions belong to a transaction: they are part of it again", "transactional_id", lt.id, "partitions", len(ours))
}

// stillOpen reports whether what the start found open is so now.
func (o openTxn) stillOpen() bool {
	for _, now := range o.log.Producers() {
		if now.ID == o.producer.ID {
			return now.TxnStart >= 0 && now.Epoch == o.producer.Epoch
		}
	}
	return false
}

// endOrphans aborts what no transactional id will ever end. Not when a part of
// the transaction topic is lost, which may have held a decision to commit. The
// marker's epoch is above that of the data, so that no later batch is taken for a
// repeated one of these.
func (x *txns) endOrphans(orphans []openTxn) {
	for _, o := range orphans {
		if x.damaged {
			x.b.logger.Error("a transaction is open whose record was in a damaged part of the transaction topic: abort it by hand when its fate is known",
				"partition", o.tp.String(), "producer_id", o.producer.ID)
			continue
		}
		_, err := x.b.writeMarker(o.tp, log.Marker{ProducerID: o.producer.ID, ProducerEpoch: o.producer.FencingEpoch()})
		x.b.logger.Warn("a transaction without an owner was aborted", "partition", o.tp.String(), "producer_id", o.producer.ID, "error", err)
	}
}

// txnLoader reads one shard.
type txnLoader struct {
	shard   *txnShard
	it      batch.Iterator
	ids     map[string]txn.Txn
	strange int // records that were passed over
}

// run reports whether a part could not be read.
func (l *txnLoader) run() (damaged bool) {
	s := l.shard
	next, end := s.log.StartOffset(), s.log.HighWatermark()
	buf := make([]byte, 0, loadPiece)
	for next < end {
		data, err := s.log.Read(next, loadPiece, buf[:0])
		if err != nil {
			damaged = true
			if next = l.passDamage(err, end); next < end {
				continue
			}
			break
		}
		if len(data) == 0 {
			break
		}
		next = l.apply(data, next)
		buf = data
	}
	for id, t := range l.ids {
		s.mu.ids[id] = newLiveTxn(s, id, t)
		s.x.ids.Add(1)
	}
	if l.strange > 0 {
		s.x.b.logger.Warn("records in the transaction topic that this version does not know were passed over", "partition", s.log.TP().String(), "records", l.strange)
	}
	return damaged
}

// apply takes the batches of one piece, and returns the offset behind them.
func (l *txnLoader) apply(data []byte, next record.Offset) record.Offset {
	for b, err := range batch.Split(data) {
		if err != nil {
			break // the log gives whole batches only
		}
		h, _ := batch.ParseHeader(b)
		next = h.LastOffset() + 1
		if err := l.it.Reset(b, nil); err != nil {
			l.strange++
			continue
		}
		if h.Control() {
			continue
		}
		for l.it.Next() {
			l.applyRecord(l.it.Record())
		}
		if l.it.Err() != nil {
			l.strange++
		}
	}
	return next
}

func (l *txnLoader) applyRecord(r batch.View) {
	id, err := parseTxnKey(r.Key)
	if err != nil {
		l.strange++
		return
	}
	if r.Value == nil {
		delete(l.ids, id)
		return
	}
	t, err := parseTxnValue(r.Value)
	if err != nil {
		l.strange++
		return
	}
	l.ids[id] = t
}

// passDamage is where to read on behind what cannot be read.
func (l *txnLoader) passDamage(err error, end record.Offset) record.Offset {
	next := end
	if corrupt := (*log.CorruptError)(nil); errors.As(err, &corrupt) {
		next = corrupt.Next
	}
	l.shard.x.b.logger.Error("a part of the transaction topic cannot be read: transactional ids may have an older state than their clients were told",
		"partition", l.shard.log.TP().String(), "offset", int64(next), "error", err)
	return next
}
