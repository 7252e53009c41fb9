package log

import (
	"fmt"
	"sync"

	"millrace/internal/batch"
	"millrace/record"
)

// Marker ends a producer's transaction in one partition.
type Marker struct {
	ProducerID    int64
	ProducerEpoch int16 // under transaction.version 2, above that of the transaction's batches
	Commit        bool  // else it aborts

	// CoordinatorEpoch fences coordinators: a marker of an older one is refused.
	CoordinatorEpoch int32

	// TransactionVersion is Kafka's feature level under which the transaction ran.
	// From 2 on a marker ends only transactions of an older epoch.
	TransactionVersion int16

	// SyncLater leaves it to the caller to start the sync of this marker with
	// others, by [Store.SyncTogether]. It is not part of what is stored.
	SyncLater bool
}

// AppendMarker appends the control batch that ends the producer's transaction
// here. Readers take the transaction as decided once Wait returns nil. A marker
// for a producer without an open transaction is appended as well and changes
// nothing but the epochs, so it may be repeated. ErrStaleEpoch when the producer
// has a newer epoch, ErrCoordinatorFenced when a newer coordinator has written;
// the other errors are those of Append.
func (l *Log) AppendMarker(m Marker) (Appended, error) {
	cfg := l.config.Load()
	nowMs := l.store.opts.Now().UnixMilli()
	builder := markerBuilders.Get().(*batch.Builder)
	defer markerBuilders.Put(builder)
	b, err := m.encode(builder, nowMs)
	if err != nil {
		return Appended{}, err
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		return Appended{}, err
	}
	l.appender.Lock()
	defer l.appender.Unlock()
	if err := l.stopped(); err != nil {
		return Appended{}, err
	}
	if err := l.appender.producers.decideMarker(m); err != nil && !l.store.opts.faults.unfencedMarkers {
		return Appended{}, err
	}
	return l.add(b, []batch.Header{h}, addition{marker: &m, cfg: cfg, nowMs: nowMs, internal: true, sync: !m.SyncLater})
}

var markerBuilders = sync.Pool{New: func() any { return new(batch.Builder) }}

// encode makes the control batch, which belongs to the builder.
func (m Marker) encode(b *batch.Builder, nowMs int64) ([]byte, error) {
	b.Reset(batch.BuilderOptions{
		ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, BaseSequence: -1,
		Transactional: true, Control: true,
	})
	key, value := batch.EndTxn{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch}.Encode()
	b.Append(record.Timestamp(nowMs), key, value, nil)
	return b.Build()
}

// decodeMarker reads a stored control batch. ok is false for one that is no
// marker.
func decodeMarker(h batch.Header, b []byte) (m Marker, ok bool) {
	var it batch.Iterator
	if err := it.Reset(b, nil); err != nil || !it.Next() {
		return m, false
	}
	r := it.Record()
	end, ok, err := batch.ParseEndTxn(r.Key, r.Value)
	return Marker{ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Commit: end.Commit, CoordinatorEpoch: end.CoordinatorEpoch}, ok && err == nil
}

// stageAborted prepares the index entry of a marker that aborts. It comes before
// the marker, so that readers who see one find the other.
func (l *Log) stageAborted(m *Marker) error {
	if m == nil || m.Commit {
		return nil
	}
	a := &l.appender
	p := a.producers.byID[m.ProducerID]
	if p == nil || p.txnFirst == noTxn {
		return nil
	}
	last := l.NextOffset()
	l.tail.Lock()
	stable := l.tail.unstable.without(p.txnFirst, last+1)
	l.tail.Unlock()
	err := a.aborted.stage(abortedEntry{AbortedTxn{m.ProducerID, p.txnFirst, last}, stable})
	if isNoSpace(err) {
		l.store.space.exhausted()
		return fmt.Errorf("marker in %s: %w: %w", l.tp, ErrNoSpace, err)
	}
	if err != nil {
		return fmt.Errorf("marker in %s: %w", l.tp, err)
	}
	return nil
}
