package log_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// txnKinds are the steps of a workload with transactions.
var txnKinds = []stepKind{
	{"append in a transaction", 34, (*world).appendInTxn},
	{"end a transaction", 18, (*world).endTxn},
	{"read at read_committed", 6, (*world).readTxns},
	{"a fenced producer", 5, (*world).fenced},
	{"append and wait", 6, func(w *world) error { return w.appendOne(true) }},
	{"append", 4, func(w *world) error { return w.appendOne(false) }},
	{"delete records", 4, (*world).deleteRecords},
	{"short sleep", 4, func(*world) error { time.Sleep(150 * time.Millisecond); return nil }},
	{"long sleep", 4, func(*world) error { time.Sleep(6 * time.Second); return nil }},
	{"retention", 2, func(*world) error { time.Sleep(31 * time.Second); return nil }},
	{"create", 2, (*world).create},
	{"delete", 1, (*world).delete},
	{"clean restart", 2, func(w *world) error { return w.restart(w.closeAndKeep) }},
	{"kill and restart", 2, func(w *world) error { return w.restart(w.kill) }},
	{"power cut and restart", 2, func(w *world) error { return w.restart(w.cutPower) }},
}

// txnSeeds and those above are of workloads with transactions.
const txnSeeds = 1_000_000

// txnProducer writes transactions into one partition.
type txnProducer struct {
	id      int64
	epoch   int16
	version int16 // of Kafka's transaction.version: from 2 on each marker raises the epoch
	in      *partition
	next    int32 // sequence
	open    bool
}

// txnSlot is a producer by chance, a new one if its partition is gone. nil when
// there is nowhere to write.
func (w *world) txnSlot() *txnProducer {
	slot := w.rng.IntN(len(w.txns))
	q := w.txns[slot]
	if q != nil && w.writable(q.in) {
		return q
	}
	p, _ := w.some()
	if p == nil {
		return nil
	}
	w.made++
	q = &txnProducer{id: int64(w.made), version: pick(w.rng, int16(1), 2), in: p}
	w.txns[slot] = q
	return q
}

func (w *world) appendInTxn() error {
	q := w.txnSlot()
	if q == nil {
		return nil
	}
	sync := w.rng.IntN(3) > 0
	o := batch.BuilderOptions{ProducerID: q.id, ProducerEpoch: q.epoch, BaseSequence: q.next, Transactional: true}
	a, s, err := w.send(q.in, w.logs[q.in.tp], o, sync)
	if err != nil || s == nil {
		return err
	}
	q.next, q.open = q.next+s.Count, true
	if !sync {
		return nil
	}
	return w.wait(q.in, a)
}

// endTxn ends a transaction, or says again that one has ended.
func (w *world) endTxn() error {
	q := w.txnSlot()
	if q == nil || !q.open && w.rng.IntN(4) > 0 {
		return nil
	}
	m := log.Marker{ProducerID: q.id, ProducerEpoch: q.epoch, Commit: w.rng.IntN(2) == 0, TransactionVersion: q.version}
	if q.version >= 2 && q.open {
		m.ProducerEpoch++
	}
	a, ok, err := w.sendMarker(q.in, w.logs[q.in.tp], m)
	if err != nil || !ok {
		return err
	}
	q.open = false
	if m.ProducerEpoch != q.epoch {
		q.epoch, q.next = m.ProducerEpoch, 0
	}
	if w.rng.IntN(3) == 0 {
		return nil
	}
	return w.wait(q.in, a)
}

// sendMarker is send for a marker. ok is false when the disk failed as it was
// expected to.
func (w *world) sendMarker(p *partition, l *log.Log, m log.Marker) (a log.Appended, ok bool, err error) {
	s, err := markerBatch(m, w.nowMs, p.next)
	if err != nil {
		return a, false, err
	}
	w.say("  %s: marker at %d of producer %d, epoch %d, commit %v", p.tp, s.BaseOffset, m.ProducerID, m.ProducerEpoch, m.Commit)
	refused := w.failed[p.tp]
	if !refused {
		w.update(func() { p.add(s) })
	}
	a, err = l.AppendMarker(m)
	switch {
	case err == nil && refused:
		return a, false, fmt.Errorf("%s took a marker after it had failed", p.tp)
	case err == nil && a.Base != s.BaseOffset:
		return a, false, fmt.Errorf("%s: marker appended at %d, expected %d", p.tp, a.Base, s.BaseOffset)
	case err == nil:
		w.update(func() { p.pending, s.appendTimeMs = false, a.AppendTimeMs })
		return a, true, nil
	case !w.faulty:
		return a, false, err
	}
	w.say("  failed: %v", err)
	synctest.Wait() // a sync that was under way may still count
	w.update(func() { w.notAppended(p, err) })
	return log.Appended{}, false, nil
}

// markerBatch is the control batch that a log must make of a marker.
func markerBatch(m log.Marker, nowMs int64, base record.Offset) (*sent, error) {
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, BaseSequence: -1, Transactional: true, Control: true})
	key, value := batch.EndTxn{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch}.Encode()
	b.Append(record.Timestamp(nowMs), key, value, nil)
	built, err := b.Build()
	if err != nil {
		return nil, err
	}
	h, err := batch.Validate(built)
	h.BaseOffset = base
	return &sent{Header: h, bytes: slices.Clone(built), appendTimeMs: -1, marker: &m}, err
}

// readTxns compares what a consumer at read_committed gets, while all is well.
func (w *world) readTxns() error {
	p, l := w.some()
	if p == nil || w.failed[p.tp] {
		return nil
	}
	if err := p.checkTxns(l); err != nil {
		return w.expected(err)
	}
	return nil
}

// fenced lets a producer's former self write.
func (w *world) fenced() error {
	q := w.txns[w.rng.IntN(len(w.txns))]
	if q == nil || !w.writable(q.in) || w.failed[q.in.tp] || q.epoch == 0 || q.in.forgot {
		return nil
	}
	l := w.logs[q.in.tp]
	b, _, err := build(w.rng, w.builder, w.nowMs, batch.BuilderOptions{ProducerID: q.id, ProducerEpoch: q.epoch - 1, Transactional: true})
	if err != nil {
		return err
	}
	if _, err := l.Append(b, log.AppendOptions{Sync: true, Txn: true}); !errors.Is(err, log.ErrStaleEpoch) {
		return fmt.Errorf("%s: epoch %d of producer %d wrote after %d: %v", q.in.tp, q.epoch-1, q.id, q.epoch, err)
	}
	if _, err := l.AppendMarker(log.Marker{ProducerID: q.id, ProducerEpoch: q.epoch - 1, Commit: true}); !errors.Is(err, log.ErrStaleEpoch) {
		return fmt.Errorf("%s: a marker of epoch %d of producer %d came after %d: %v", q.in.tp, q.epoch-1, q.id, q.epoch, err)
	}
	return nil
}

// resume finds out where the producer goes on after a restart. It is false when
// none of its batches is left, or one that may be is not known.
func (q *txnProducer) resume() bool {
	found := false
	q.epoch, q.next, q.open = 0, 0, false
	for _, s := range q.in.batches {
		if s.ProducerID != q.id {
			continue
		}
		if s.ProducerEpoch != q.epoch {
			q.epoch, q.next = s.ProducerEpoch, 0
		}
		found, q.open = true, s.marker == nil
		if s.marker == nil {
			q.next = s.BaseSequence + s.Count
		}
	}
	return found && !q.in.forgot
}

// endTxns ends some of the transactions that are still open after a crash.
func (x *examination) endTxns(p *partition, l *log.Log) error {
	if p.forgot {
		return p.checkTxns(l)
	}
	open := p.txnsOf(0, p.next).open
	for _, id := range slices.Sorted(maps.Keys(open)) {
		if x.rng.IntN(4) == 0 {
			continue
		}
		m := log.Marker{ProducerID: id, Commit: x.rng.IntN(2) == 0}
		for _, s := range p.batches {
			if s.ProducerID == id {
				m.ProducerEpoch = s.ProducerEpoch
			}
		}
		s, err := markerBatch(m, x.state.nowMs, p.next)
		if err != nil {
			return err
		}
		a, err := l.AppendMarker(m)
		if err == nil {
			err = a.Wait(context.Background())
		}
		if err != nil {
			return fmt.Errorf("end the transaction of producer %d: %w", id, err)
		}
		s.appendTimeMs = a.AppendTimeMs
		p.add(s)
		p.pending, p.mustHave = false, p.next
	}
	return p.checkTxns(l)
}
