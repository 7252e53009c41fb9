package batch

import (
	"encoding/binary"
	"fmt"
	"math"

	"millrace/record"
)

// Rewriter makes a stored batch anew with fewer records, as compaction does.
// What readers were told stays true: the base offset, the last offset, the
// leader epoch, the producer, the codec, whose time the records carry, and of
// each record that is kept its offset, timestamp and bytes. It works in buffers
// that it reuses and is for one goroutine.
//
//	for w.Next() {
//		if keep(w.Record()) {
//			w.Keep()
//		}
//	}
//	if err := w.Err(); err != nil { ... }
//	if w.Changed() {
//		b, err := w.Build(NoDeleteHorizon)
//	}
type Rewriter struct {
	it   Iterator
	dec  Decoder
	enc  encoder
	from int // where the current record starts

	runs []span // of the records that are kept, neighbours joined
	kept int32
	max  record.Timestamp // of those

	plain  []byte // room for the header, then the records
	packed []byte // the same, compressed
}

// span is a stretch of records, bytes.
type span struct{ from, to int }

// NoDeleteHorizon is the delete horizon of a batch that has none.
const NoDeleteHorizon = -1

// Reset starts with the batch that stands at the start of b, with errors as
// [Iterator.Reset]. The checksum is not looked at.
func (w *Rewriter) Reset(b []byte) error {
	w.runs, w.kept, w.from = w.runs[:0], 0, 0
	return w.it.Reset(b, &w.dec)
}

// Next moves to the next record and says whether there is one.
func (w *Rewriter) Next() bool {
	w.from = w.it.pos
	return w.it.Next()
}

// Record is the record that the last Next found.
func (w *Rewriter) Record() View { return w.it.view }

// Err says why Next ended before the last record, as [Iterator.Err].
func (w *Rewriter) Err() error { return w.it.Err() }

// Keep takes the current record over into the new batch.
func (w *Rewriter) Keep() {
	if w.kept == 0 || w.it.view.Timestamp > w.max {
		w.max = w.it.view.Timestamp
	}
	w.kept++
	if n := len(w.runs); n > 0 && w.runs[n-1].to == w.from {
		w.runs[n-1].to = w.it.pos
		return
	}
	w.runs = append(w.runs, span{w.from, w.it.pos})
}

// Kept is the number of records kept so far.
func (w *Rewriter) Kept() int { return int(w.kept) }

// Changed says that not all records were kept. All must have been visited.
func (w *Rewriter) Changed() bool { return w.kept != w.it.header.Count }

// Build is the batch with the records that were kept, of which there must be
// one, valid until the next call of Build or Reset. With a delete horizon it says
// from when on its tombstones may go: as Kafka has it (KIP-534) that time takes
// the place of the base timestamp. NoDeleteHorizon leaves a horizon that is there.
func (w *Rewriter) Build(horizonMs int64) ([]byte, error) {
	h := w.it.header
	if w.kept == 0 {
		return nil, fmt.Errorf("%w: no record kept", ErrInvalid)
	}
	if cap(w.plain) > keptBytes {
		w.plain, w.packed = nil, nil
	}
	w.plain = append(w.plain[:0], make([]byte, HeaderSize)...)
	if horizonMs == NoDeleteHorizon {
		w.copyRuns()
	} else {
		w.copyShifted(h.BaseTimestamp - horizonMs)
		h.Attributes |= attrDeleteHorizon
		h.BaseTimestamp = horizonMs
	}
	if !h.LogAppendTime() {
		h.MaxTimestamp = int64(w.max)
	}
	h.Count = w.kept
	whole, err := w.pack(h.Codec())
	if err != nil {
		return nil, err
	}
	h.seal(whole)
	return whole, nil
}

func (w *Rewriter) copyRuns() {
	for _, run := range w.runs {
		w.plain = append(w.plain, w.it.records[run.from:run.to]...)
	}
}

// copyShifted copies the records for a base timestamp that is lower by shift, so
// that each timestamp delta is that much larger.
func (w *Rewriter) copyShifted(shift int64) {
	for _, run := range w.runs {
		for b := w.it.records[run.from:run.to]; len(b) > 0; {
			size, body := varint32(b, 0) // the iterator has checked these fields
			delta, rest := varint64(b, body+1)
			end := body + int(size)
			w.plain = appendVarint(w.plain, int64(1+varintSize(delta+shift)+end-rest))
			w.plain = append(w.plain, b[body]) // attributes
			w.plain = appendVarint(w.plain, delta+shift)
			w.plain = append(w.plain, b[rest:end]...)
			b = b[end:]
		}
	}
}

func (w *Rewriter) pack(c Codec) ([]byte, error) {
	whole := w.plain
	if c != None {
		packed, err := w.enc.compress(append(w.packed[:0], w.plain[:HeaderSize]...), c, w.plain[HeaderSize:])
		if err != nil {
			return nil, fmt.Errorf("batch: compress with %s: %w", c, err)
		}
		w.packed, whole = packed, packed
	}
	if len(whole) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes do not fit one batch", ErrInvalid, len(whole))
	}
	return whole, nil
}

// seal writes the header, with the length and the checksum that b has.
func (h Header) seal(b []byte) {
	h.Length = int32(len(b) - lengthEnd)
	h.encode(b)
	writeCRC(b)
}

// AppendEmpty appends a batch without records that has the offsets, the epoch
// and the producer of the one with header h. It keeps a producer's last sequence
// when its records are gone, as Kafka's log cleaner does.
func AppendEmpty(dst []byte, h Header) []byte {
	h.Attributes &^= attrCodec | attrDeleteHorizon
	h.BaseTimestamp, h.Count = h.MaxTimestamp, 0
	at := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	h.seal(dst[at:])
	return dst
}

// AppendGap appends a batch without records and without a producer that takes
// the offsets from base to last, which must not lie further apart than 2^31-1.
func AppendGap(dst []byte, base, last record.Offset, epoch int32) []byte {
	return AppendEmpty(dst, Header{
		BaseOffset: base, LeaderEpoch: epoch, LastOffsetDelta: int32(last - base),
		MaxTimestamp: int64(record.NoTimestamp), ProducerID: NoProducerID, ProducerEpoch: -1, BaseSequence: -1,
	})
}

// SetLastOffset makes the stored batch b, which has no producer, end with the
// offset last: it then covers offsets behind its last record. The checksum
// covers that field and is written anew.
func SetLastOffset(b []byte, last record.Offset) {
	base := record.Offset(binary.BigEndian.Uint64(b))
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(last-base))
	writeCRC(b)
}
