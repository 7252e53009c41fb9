package log_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// keyedLog is the slow model of a compacted partition: all records that were ever
// appended, of which a log may have fewer, as long as no reader is told a lie.
type keyedLog struct {
	cfg     log.Config
	records []keyedRecord
	txns    []keyedTxn
	next    record.Offset
	pending *keyedAppend // Append has not returned yet

	// The log start lies between what was promised and what was asked for; in a
	// check it is what the log says.
	start, startMax record.Offset

	// present is which offsets still held a record, or a marker, when nothing was
	// going on and everything was synced. What was gone then must not come back.
	present map[record.Offset]bool
	seen    record.Offset // present is about offsets below
}

// keyedRecord is one record as it was appended.
type keyedRecord struct {
	offset  record.Offset
	ts      record.Timestamp
	key     string
	value   []byte // nil is a tombstone
	txn     int    // index of its transaction; -1: none
	putAtMs int64  // by the wall clock
}

// keyedTxn is one transaction in the partition.
type keyedTxn struct {
	producer int64
	marker   record.Offset // -1 while it is open
	aborted  bool
	endAtMs  int64
}

// keyedAppend is what one append adds.
type keyedAppend struct {
	records []keyedRecord
	begins  *keyedTxn
	ends    int // index of a transaction; -1: none
	aborted bool
	atMs    int64
	next    record.Offset
}

// snapshot is the model at one moment. Slices only grow, but for txns.
func (k *keyedLog) snapshot() *keyedLog {
	twin := *k
	twin.txns = slices.Clone(k.txns)
	return &twin
}

// apply makes an append part of the log.
func (k *keyedLog) apply(a *keyedAppend) {
	k.records = append(k.records[:len(k.records):len(k.records)], a.records...)
	if a.begins != nil {
		k.txns = append(k.txns, *a.begins)
	}
	if a.ends >= 0 {
		t := &k.txns[a.ends]
		t.marker, t.aborted, t.endAtMs = a.next-1, a.aborted, a.atMs
	}
	k.next, k.pending = a.next, nil
}

// keyedFound is what a reader finds in a log.
type keyedFound struct {
	headers []batch.Header
	records map[record.Offset]batch.View
	markers map[record.Offset]bool
}

// readKeyed reads the whole log, batch by batch.
func readKeyed(l *log.Log) (f keyedFound, err error) {
	f = keyedFound{records: map[record.Offset]batch.View{}, markers: map[record.Offset]bool{}}
	for off := l.StartOffset(); off < l.HighWatermark(); {
		data, err := l.Read(off, 1, nil)
		if err != nil {
			return f, err
		}
		var it batch.Iterator
		if err := it.Reset(data, nil); err != nil {
			return f, fmt.Errorf("batch at %d: %w", off, err)
		}
		h := it.Header()
		for it.Next() {
			if h.Control() {
				f.markers[it.Record().Offset] = true
			} else {
				f.records[it.Record().Offset] = it.Record()
			}
		}
		if it.Err() != nil {
			return f, fmt.Errorf("batch at %d: %w", off, it.Err())
		}
		f.headers = append(f.headers, h)
		off = h.LastOffset() + 1
	}
	return f, nil
}

// errFalseAlarm: an append that nobody was promised was cut off by a power cut and
// looks like rot. The crash world of all logs counts how often that is.
var errFalseAlarm = errors.New("what was not promised is called damaged")

// check holds a log against the model.
func (k *keyedLog) check(l *log.Log, nowMs int64) error {
	if start := l.StartOffset(); start < k.start || start > k.startMax {
		return fmt.Errorf("log start %d, promised was %d, asked for %d", start, k.start, k.startMax)
	}
	k.start = l.StartOffset()
	promised := k.next
	if k.pending != nil && l.NextOffset() == k.pending.next {
		k.apply(k.pending)
	}
	k.pending = nil
	f, err := readKeyed(l)
	if damage, is := errors.AsType[*log.CorruptError](err); is && damage.Offset >= promised {
		return errFalseAlarm
	}
	if err != nil {
		return err
	}
	if l.NextOffset() != k.next || l.HighWatermark() != k.next {
		return fmt.Errorf("next offset %d, high watermark %d, want %d", l.NextOffset(), l.HighWatermark(), k.next)
	}
	return errors.Join(k.checkRecords(f), k.checkGone(f), k.checkStays(f, nowMs), k.checkMarkers(f, nowMs),
		k.checkSegments(l, f), k.checkCommitted(l, f, nowMs))
}

// checkRecords: what is there is as it was appended, at the same offset.
func (k *keyedLog) checkRecords(f keyedFound) error {
	for off, got := range f.records {
		want := k.at(off)
		if want == nil || want.key != string(got.Key) || want.ts != got.Timestamp || !bytes.Equal(want.value, got.Value) || (want.value == nil) != (got.Value == nil) {
			return fmt.Errorf("at %d is %q=%q (time %d), appended was %+v", off, got.Key, got.Value, got.Timestamp, want)
		}
	}
	return nil
}

func (k *keyedLog) at(off record.Offset) *keyedRecord {
	i, found := slices.BinarySearchFunc(k.records, off, func(r keyedRecord, off record.Offset) int { return int(r.offset - off) })
	if !found {
		return nil
	}
	return &k.records[i]
}

// checkGone: what was gone does not come back.
func (k *keyedLog) checkGone(f keyedFound) error {
	for off := range f.records {
		if off < k.seen && !k.present[off] {
			return fmt.Errorf("the record at %d came back", off)
		}
	}
	for off := range f.markers {
		if off < k.seen && !k.present[off] {
			return fmt.Errorf("the marker at %d came back", off)
		}
	}
	return nil
}

// expired says that what came at that time may have been dropped for its age.
func (k *keyedLog) expired(atMs, nowMs int64) bool { return nowMs >= atMs+k.cfg.DeleteRetentionMs }

// aborted says whether a record does not count; open whether nobody knows yet.
func (k *keyedLog) aborted(r keyedRecord) bool { return r.txn >= 0 && k.txns[r.txn].aborted }
func (k *keyedLog) open(r keyedRecord) bool    { return r.txn >= 0 && k.txns[r.txn].marker < 0 }

// checkStays: the newest record of each key is there, as is all of a transaction
// that nobody has decided.
func (k *keyedLog) checkStays(f keyedFound, nowMs int64) error {
	newest := map[string]keyedRecord{}
	for _, r := range k.records {
		if _, there := f.records[r.offset]; k.open(r) && !there && r.offset >= k.start {
			return fmt.Errorf("the record at %d of an open transaction is gone", r.offset)
		}
		if !k.aborted(r) && !k.open(r) {
			newest[r.key] = r
		}
	}
	for key, r := range newest {
		if _, there := f.records[r.offset]; there || r.offset < k.start || r.value == nil && k.expired(r.putAtMs, nowMs) {
			continue
		}
		return fmt.Errorf("the newest record of %s, at %d, is gone (tombstone: %v)", key, r.offset, r.value == nil)
	}
	return nil
}

// checkMarkers: a marker goes only after its data and its time.
func (k *keyedLog) checkMarkers(f keyedFound, nowMs int64) error {
	data := map[int]bool{}
	for off := range f.records {
		if r := k.at(off); r != nil && r.txn >= 0 {
			data[r.txn] = true
		}
	}
	for i, t := range k.txns {
		if t.marker >= k.start && !f.markers[t.marker] && (data[i] || !k.expired(t.endAtMs, nowMs)) {
			return fmt.Errorf("the marker at %d of producer %d is gone; data there: %v", t.marker, t.producer, data[i])
		}
	}
	return nil
}

// checkSegments: each segment begins with a batch, and any offset is found in the
// batch that a reader of everything finds it in.
func (k *keyedLog) checkSegments(l *log.Log, f keyedFound) error {
	bases := map[record.Offset]bool{l.NextOffset(): true}
	for _, h := range f.headers {
		bases[h.BaseOffset] = true
		for _, off := range []record.Offset{h.BaseOffset, h.LastOffset()} {
			data, err := l.Read(max(off, l.StartOffset()), 1, nil)
			if err != nil {
				return err
			}
			if got, err := batch.ParseHeader(data); err != nil || got != h {
				return fmt.Errorf("a read at %d finds the batch at %d, another one finds that at %d (%v)", off, got.BaseOffset, h.BaseOffset, err)
			}
		}
	}
	for _, seg := range l.Segments()[1:] {
		if !bases[seg.Base] {
			return fmt.Errorf("segment %d begins inside a batch", seg.Base)
		}
	}
	return nil
}

// checkCommitted reads as a consumer at read_committed does, from several
// offsets on: of each key it must end with the newest committed value.
func (k *keyedLog) checkCommitted(l *log.Log, f keyedFound, nowMs int64) error {
	stable := l.LastStableOffset()
	for _, t := range k.txns {
		if t.marker < 0 {
			stable = min(stable, k.firstOf(t))
		}
	}
	if l.LastStableOffset() != max(stable, l.StartOffset()) {
		return fmt.Errorf("last stable offset %d, want %d", l.LastStableOffset(), stable)
	}
	for i := 0; i < len(f.headers); i += 1 + len(f.headers)/3 {
		from := f.headers[i].BaseOffset
		got, err := readKeyedCommitted(l, f, max(from, l.StartOffset()))
		if err != nil {
			return err
		}
		if err := k.sameAsCommitted(got, from, nowMs); err != nil {
			return fmt.Errorf("reading at read_committed from %d: %w", from, err)
		}
	}
	return nil
}

func (k *keyedLog) firstOf(open keyedTxn) record.Offset {
	for _, r := range k.records {
		if r.txn >= 0 && k.txns[r.txn] == open {
			return r.offset
		}
	}
	return k.next
}

// readKeyedCommitted is Kafka's consumer: it skips a producer's transactional batches
// from the first offset of an aborted transaction on until its marker.
func readKeyedCommitted(l *log.Log, f keyedFound, from record.Offset) (map[string]batch.View, error) {
	stable := l.LastStableOffset()
	aborted, err := l.Aborted(nil, from, stable)
	if err != nil {
		return nil, err
	}
	newest := map[string]batch.View{}
	skipped := map[int64]bool{}
	for _, h := range f.headers {
		if h.LastOffset() < from || h.BaseOffset >= stable {
			continue
		}
		for len(aborted) > 0 && aborted[0].First <= h.LastOffset() {
			skipped[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		if h.Control() {
			delete(skipped, h.ProducerID)
			continue
		}
		if h.Transactional() && skipped[h.ProducerID] {
			continue
		}
		for off := h.BaseOffset; off <= h.LastOffset(); off++ {
			if r, there := f.records[off]; there && off >= from {
				newest[string(r.Key)] = r
			}
		}
	}
	return newest, nil
}

func (k *keyedLog) sameAsCommitted(got map[string]batch.View, from record.Offset, nowMs int64) error {
	want := map[string]keyedRecord{}
	for _, r := range k.records {
		if !k.aborted(r) && !k.open(r) && r.offset >= from && r.offset >= k.start {
			want[r.key] = r
		}
	}
	open := k.next
	for _, t := range k.txns {
		if t.marker < 0 {
			open = min(open, k.firstOf(t))
		}
	}
	for key, r := range want {
		g, there := got[key]
		switch {
		case r.offset >= open: // behind the last stable offset
		case there && g.Offset == r.offset:
		case !there && r.value == nil && k.expired(r.putAtMs, nowMs):
		default:
			return fmt.Errorf("key %s ends with the record at %d (%v), want that at %d", key, g.Offset, there, r.offset)
		}
	}
	for key, g := range got {
		if _, known := want[key]; !known {
			return fmt.Errorf("key %s has a record at %d that does not count", key, g.Offset)
		}
	}
	return nil
}

// observe notes what is gone for good: nothing is going on.
func (k *keyedLog) observe(f keyedFound) {
	k.present = map[record.Offset]bool{}
	for off := range f.records {
		k.present[off] = true
	}
	for off := range f.markers {
		k.present[off] = true
	}
	k.seen = k.next
}
