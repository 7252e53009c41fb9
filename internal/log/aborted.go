package log

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"millrace/record"
)

// AbortedTxn is one aborted transaction in this partition: the producer's
// transactional records from First up to its marker at Last do not count.
type AbortedTxn struct {
	ProducerID  int64
	First, Last record.Offset
}

// The index of aborted transactions has an entry per abort marker in its
// segment, in Kafka's format:
//
//	0          2             10             18            26                  34
//	| version  | producer id | first offset | last offset | last stable offset |
//	| int16: 0 | int64       | int64        | int64       | int64              |
//
// The last stable offset is that behind this marker: who needs nothing at or
// above it need not read on. Readers at read_committed are served wrong records
// when an entry is lost, so the entries of a segment that is written no more end
// with a seal, which has the place of an entry that overlaps nothing: producer -1,
// first offset 2^63-1 less the CRC-32C of the entries before it. Those of the
// active segment are sealed by the producer snapshot.
const abortedEntrySize = 34

type abortedEntry struct {
	AbortedTxn
	stable record.Offset
}

const sealProducer = -1

func (e abortedEntry) append(b []byte) []byte {
	be := binary.BigEndian
	b = be.AppendUint16(b, 0)
	b = be.AppendUint64(b, uint64(e.ProducerID))
	b = be.AppendUint64(b, uint64(e.First))
	b = be.AppendUint64(b, uint64(e.Last))
	return be.AppendUint64(b, uint64(e.stable))
}

func decodeAborted(b []byte) (e abortedEntry) {
	be := binary.BigEndian
	e.ProducerID = int64(be.Uint64(b[2:]))
	e.First, e.Last = record.Offset(be.Uint64(b[10:])), record.Offset(be.Uint64(b[18:]))
	e.stable = record.Offset(be.Uint64(b[26:]))
	return e
}

func sealOf(crc uint32, last record.Offset) abortedEntry {
	return abortedEntry{AbortedTxn: AbortedTxn{ProducerID: sealProducer, First: maxOffset - record.Offset(crc), Last: last}}
}

// abortedWriter makes the entries of one segment: of the active one, for the
// log's appender, or of one after the other while a start reads the batches.
type abortedWriter struct {
	seg    *segment
	count  int64
	crc    uint32        // of the entries
	last   record.Offset // of the newest entry
	staged abortedEntry  // in the file, but it does not count yet
	dirty  bool          // the file has entries that no checkpoint has synced
}

// stage writes an entry. It counts once its marker is written too: see commit.
func (w *abortedWriter) stage(e abortedEntry) error {
	w.staged = e
	return w.put(e)
}

// commit makes the staged entry count.
func (w *abortedWriter) commit() {
	w.crc = crc32.Update(w.crc, castagnoli, w.staged.append(nil))
	w.last = w.staged.Last
	w.count++
	w.seg.aborted.Store(w.count)
}

func (w *abortedWriter) put(e abortedEntry) error {
	f, err := w.seg.openOrCreateIndex(&w.seg.txns, txnFile)
	if err != nil {
		return err
	}
	defer w.seg.txns.release()
	w.dirty = true
	_, err = f.Writev([][]byte{e.append(make([]byte, 0, abortedEntrySize))}, w.count*abortedEntrySize)
	return err
}

// seal ends the index of a segment that is written no more.
func (w *abortedWriter) seal() error {
	if w.count == 0 {
		return nil
	}
	return w.put(sealOf(w.crc, w.last))
}

// abortedMark seals the index of the active segment as of a producer snapshot.
type abortedMark struct {
	base  record.Offset // of the segment
	count int64         // entries
	crc   uint32        // of them
}

func (w *abortedWriter) mark() abortedMark { return abortedMark{w.seg.base, w.count, w.crc} }

// Aborted appends to dst the aborted transactions of which some record may lie
// from from on and below to, ascending by first offset. to must not lie above the
// last stable offset.
func (l *Log) Aborted(dst []AbortedTxn, from, to record.Offset) ([]AbortedTxn, error) {
	start := len(dst)
	for {
		if err := l.unreadable(); err != nil {
			return dst[:start], err
		}
		found, err := l.view.Load().aborted(dst[:start], from, to)
		if errors.Is(err, errRetired) {
			continue // retention removed a segment: the new view knows
		}
		if err != nil {
			return dst[:start], l.readError(err)
		}
		slices.SortFunc(found[start:], func(a, b AbortedTxn) int { return cmp.Compare(a.First, b.First) })
		return found, nil
	}
}

func (v *view) aborted(dst []AbortedTxn, from, to record.Offset) ([]AbortedTxn, error) {
	for _, seg := range v.segments[v.at(max(from, v.segments[0].base)):] {
		var done bool
		var err error
		if dst, done, err = seg.abortedIn(dst, from, to); done || err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// abortedIn is view.aborted for one segment. done says that later ones have none.
func (s *segment) abortedIn(dst []AbortedTxn, from, to record.Offset) (found []AbortedTxn, done bool, err error) {
	count := s.aborted.Load()
	if count == 0 {
		return dst, false, nil
	}
	f, err := s.openIndex(&s.txns, txnFile)
	if f == nil || err != nil {
		return dst, false, cmp.Or(err, errNoTxnIndex)
	}
	defer s.txns.release()
	entries := entryReader{file: f, size: abortedEntrySize, count: count}
	i, err := entries.search(func(b []byte) bool { return decodeAborted(b).Last < from })
	for ; i < count && err == nil; i++ {
		var b []byte
		if b, err = entries.at(i); err != nil {
			break
		}
		e := decodeAborted(b)
		if e.First < to {
			dst = append(dst, e.AbortedTxn)
		}
		if e.stable >= to {
			return dst, true, nil
		}
	}
	return dst, false, err
}

var errNoTxnIndex = errors.New("the index of aborted transactions is gone: a restart makes it anew from the batches")

// sealedAborted is the number of entries in the index of a segment that is written
// no more. It is false when the entries are not as they were written.
func (s *segment) sealedAborted() (count int64, sound bool, err error) {
	err = s.withEntries(&s.txns, txnFile, abortedEntrySize, func(entries *entryReader) error {
		if entries.count < 2 {
			return nil
		}
		count = entries.count - 1
		crc, last, err := entries.checksum(count)
		if err != nil {
			return err
		}
		b, err := entries.at(count)
		sound = err == nil && decodeAborted(b) == sealOf(crc, last)
		return err
	})
	return count, sound, err
}

// checksum is the CRC-32C of the first n entries of an index of aborted
// transactions, and the last offset of the last of them.
func (r *entryReader) checksum(n int64) (crc uint32, last record.Offset, err error) {
	first := entryReader{file: r.file, size: r.size, count: n}
	_, err = first.prefix(func(b []byte) bool {
		crc = crc32.Update(crc, castagnoli, b)
		last = decodeAborted(b).Last
		return true
	})
	return crc, last, err
}

// resume makes the writer go on behind the first count entries of seg, which must
// have the given checksum. What follows them is cut off. false when they are not
// as they were written.
func (w *abortedWriter) resume(seg *segment, count int64, crc uint32) (sound bool, err error) {
	*w = abortedWriter{seg: seg}
	err = seg.withEntries(&seg.txns, txnFile, abortedEntrySize, func(entries *entryReader) error {
		if entries.count < count {
			return nil
		}
		var err error
		w.crc, w.last, err = entries.checksum(count)
		sound = err == nil && w.crc == crc
		return err
	})
	sound = sound || count == 0
	if !sound || err != nil {
		return false, err
	}
	w.count = count
	seg.aborted.Store(count)
	return true, trim(seg, &seg.txns, txnFile, count*abortedEntrySize)
}
