package broker

import (
	"context"
	"errors"
	"time"

	"millrace/internal/log"
	"millrace/internal/txn"
	"millrace/record"
)

// How long to wait before markers that could not be written are tried again.
const (
	markerPause        = 50 * time.Millisecond
	longestMarkerPause = 5 * time.Second
)

// finishLater has a goroutine write the markers of the decision that was taken,
// once it is durable, and complete the id when they are. A decision has one such
// goroutine, or finishHere. The caller holds mu.
func (lt *liveTxn) finishLater() {
	x, t, prepared := lt.shard.x, lt.mu.txn, lt.mu.written
	x.running.Go(func() {
		if prepared.any && !x.b.cfg.txnFaults.earlyMarkers && prepared.Wait(x.ctx) != nil {
			return // nobody knows whether it is decided: the next start does
		}
		x.finish(lt, t, t.Partitions)
	})
}

// finishHere is finishLater for a decision that is durable, on the caller's
// goroutine. What cannot be done at once is done later.
func (x *txns) finishHere(lt *liveTxn, t txn.Txn) {
	left := x.mark(x.b.syncing, lt, t, t.Partitions)
	if len(left) > 0 || !x.complete(lt, t) {
		x.running.Go(func() { x.finish(lt, t, left) })
	}
}

// finish writes the markers that are left and completes the id. A disk that is
// full holds it up; a partition that failed does so until a start, which finishes
// the transaction.
func (x *txns) finish(lt *liveTxn, t txn.Txn, left []record.TopicPartition) {
	for pause := markerPause; ; pause = min(2*pause, longestMarkerPause) {
		if left = x.mark(x.ctx, lt, t, left); len(left) == 0 && x.complete(lt, t) {
			return
		}
		if !sleep(x.ctx, pause) {
			return
		}
	}
}

// mark appends the marker to each of the partitions and waits until all of them
// are durable. It returns the partitions that have none yet.
func (x *txns) mark(ctx context.Context, lt *liveTxn, t txn.Txn, partitions []record.TopicPartition) (left []record.TopicPartition) {
	m := log.Marker{
		ProducerID: t.Producer.ID, ProducerEpoch: t.Producer.Epoch, Commit: t.State == txn.PrepareCommit,
		CoordinatorEpoch: lt.shard.log.LeaderEpoch(), TransactionVersion: int16(t.Version), SyncLater: true,
	}
	appended := make([]log.Appended, len(partitions))
	failed := make([]error, len(partitions))
	var logs []*log.Log
	for i, tp := range partitions {
		if l, err := x.b.partition(string(tp.Topic), int32(tp.Partition)); err == nil {
			logs = append(logs, l)
		}
		appended[i], failed[i] = x.b.writeMarker(tp, m)
	}
	x.b.store.SyncHere(logs...)
	for i, tp := range partitions {
		err := failed[i]
		if err == nil && !x.b.cfg.txnFaults.earlyComplete {
			err = appended[i].Wait(ctx)
		}
		switch {
		case err == nil, noLongerNeeded(err):
		case ctx.Err() != nil:
			left = append(left, tp)
		default:
			left = append(left, tp)
			x.b.complaints.warn("a transaction marker cannot be written; it is tried again", "transactional_id", lt.id, "partition", tp.String(), "error", err)
		}
	}
	return left
}

// noLongerNeeded reports whether a partition does not need the marker: it is
// gone, or a start writes again what it has already, behind which the producer
// has gone on under the epoch that the marker brought.
func noLongerNeeded(err error) bool {
	return errors.Is(err, errTopicUnknown) || errors.Is(err, log.ErrDeleted) || errors.Is(err, log.ErrStaleEpoch)
}

// writeMarker ends a producer's transaction in one partition, and tells the
// groups if that is one of theirs.
func (b *Broker) writeMarker(tp record.TopicPartition, m log.Marker) (log.Appended, error) {
	l, err := b.partition(string(tp.Topic), int32(tp.Partition))
	if err != nil {
		return log.Appended{}, err
	}
	a, err := l.AppendMarker(m)
	if errors.Is(err, log.ErrCoordinatorFenced) {
		m.CoordinatorEpoch = coordinatorEpoch(l, m.ProducerID) // of a transaction topic that was lost: this one is newer
		a, err = l.AppendMarker(m)
	}
	if err == nil && tp.Topic == offsetsTopic {
		b.groups.settle(tp.Partition, m, a)
	}
	return a, err
}

// coordinatorEpoch is that of the producer's newest marker in the log.
func coordinatorEpoch(l *log.Log, producerID int64) int32 {
	for _, p := range l.Producers() {
		if p.ID == producerID {
			return p.CoordinatorEpoch
		}
	}
	return 0
}

// complete stores that all markers are written. Nobody waits for its sync: when
// a crash loses it, the start writes the markers again. It is false when that
// cannot be stored now.
func (x *txns) complete(lt *liveTxn, t txn.Txn) bool {
	lt.mu.Lock()
	defer lt.mu.Unlock()
	next := t.Complete(x.now())
	if _, err := lt.shard.append(txnRecord(lt.id, next), x.b.cfg.txnFaults.earlyComplete); err != nil {
		return false
	}
	x.counts.settled(t, x.b.store.SyncRounds()-lt.mu.began)
	lt.become(next)
	lt.adopt()
	close(lt.mu.settled)
	lt.mu.settled = nil
	return true
}
