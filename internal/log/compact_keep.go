package log

import (
	"errors"

	"millrace/internal/batch"
	"millrace/record"
)

// keeper decides what a pass leaves of each batch. The rules are those of
// Kafka's log cleaner: of each key the newest record stays; a tombstone, or the
// marker of a transaction that has no data left, until delete.retention.ms after
// a pass first saw it so; aborted data goes; and of each producer the last batch
// stays, if need be without records, so that its sequence is found again.
type keeper struct {
	newest  *offsetMap
	mapped  record.Offset // the map knows the keys below; what comes later stays as it is
	start   record.Offset // of the log: below it nothing is served any more
	nowMs   int64
	horizon int64 // what is first seen now may go from then on
	lastOf  map[int64]lastBatch
	txns    cleanedTxns
	faults  compactionFaults

	rewriter   batch.Rewriter
	empty      []byte
	unreadable int // batches whose records cannot be read, which stay as they are
}

// lastBatch is a producer's newest batch of data, or, without one, its marker.
type lastBatch struct {
	offset record.Offset // of its last record; -1: only a marker is known
	epoch  int16
}

// keep gives what stays of the batch b with header h: b itself, other bytes that
// are valid until the next call, or nil.
func (k *keeper) keep(b []byte, h batch.Header) ([]byte, error) {
	discard := k.txns.discards(h)
	switch {
	case h.BaseOffset >= k.mapped:
		return b, nil
	case h.Control(): // below the log start too: a batch that stays for its producer must not seem to be in an open transaction
		return k.marker(b, h, discard)
	case discard || h.LastOffset() < k.start:
		return k.without(h), nil
	}
	kept, err := k.filter(b, h)
	if errors.Is(err, batch.ErrInvalid) || errors.Is(err, batch.ErrTooLarge) || errors.Is(err, batch.ErrCodec) {
		k.unreadable++ // nobody can read it, and nobody has said that it may go
		return b, nil
	}
	return kept, err
}

// without is what stays of a batch that has lost all its records.
func (k *keeper) without(h batch.Header) []byte {
	if !k.lastOfProducer(h) {
		return nil
	}
	k.empty = batch.AppendEmpty(k.empty[:0], h)
	return k.empty
}

func (k *keeper) lastOfProducer(h batch.Header) bool {
	last, known := k.lastOf[h.ProducerID]
	switch {
	case h.ProducerID == batch.NoProducerID || !known || k.faults.forgetProducers:
		return false
	case last.offset < 0:
		return h.Control() && h.ProducerEpoch == last.epoch
	}
	return h.LastOffset() == last.offset
}

// marker decides about the end of a transaction, which readers need for as long
// as there is data of it, and some time more: one of them may be in its middle.
func (k *keeper) marker(b []byte, h batch.Header, dataGone bool) ([]byte, error) {
	horizon, set := h.DeleteHorizon()
	switch {
	case !dataGone:
		return b, nil
	case set && horizon <= k.nowMs || k.faults.dropMarkers:
		if k.lastOfProducer(h) {
			return b, nil
		}
		return nil, nil
	case set:
		return b, nil
	}
	return k.stamped(b, h)
}

// stamped is b with the delete horizon of this pass.
func (k *keeper) stamped(b []byte, h batch.Header) ([]byte, error) {
	if h.Count == 0 || h.LastOffset() >= k.mapped {
		return b, nil
	}
	if err := k.rewriter.Reset(b); err != nil {
		return nil, err
	}
	for k.rewriter.Next() {
		k.rewriter.Keep()
	}
	if err := k.rewriter.Err(); err != nil {
		return nil, err
	}
	return k.rewriter.Build(k.horizon)
}

// filter leaves the records that are still wanted.
func (k *keeper) filter(b []byte, h batch.Header) ([]byte, error) {
	w := &k.rewriter
	if err := w.Reset(b); err != nil {
		return nil, err
	}
	horizon, set := h.DeleteHorizon()
	expired := set && horizon <= k.nowMs || k.faults.dropTombstones
	tombstones := false
	for w.Next() {
		r := w.Record()
		if !k.wanted(r, expired) {
			continue
		}
		w.Keep()
		tombstones = tombstones || r.Value == nil
	}
	if err := w.Err(); err != nil {
		return nil, err
	}
	stamp := tombstones && !set && h.LastOffset() < k.mapped
	switch {
	case w.Kept() == 0:
		return k.without(h), nil
	case stamp:
		return w.Build(k.horizon)
	case w.Changed():
		return w.Build(batch.NoDeleteHorizon)
	}
	return b, nil
}

// wanted says whether the record stays. expired: its batch's delete horizon has
// passed. A record without a key cannot be the newest of anything: the topic was
// not compacted when it was written.
func (k *keeper) wanted(r batch.View, expired bool) bool {
	switch {
	case r.Offset < k.start:
		return false
	case r.Offset >= k.mapped:
		return true
	case r.Key == nil:
		return false
	case k.faults.keepOldest:
		return k.newest.newest(r.Key) < 0 || r.Offset < k.newest.newest(r.Key)
	}
	return r.Offset >= k.newest.newest(r.Key) && !(r.Value == nil && expired)
}
