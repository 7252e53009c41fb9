package batch

import (
	"fmt"
	"hash/crc32"
	"iter"
)

// Split yields the batches that lie one behind the other in b. What is left at
// the end and is no whole batch is yielded last, with the reason: ErrTorn when
// it may be the front of a batch, ErrMagic or ErrCorrupt otherwise. Only the
// shape is checked; the batches still need [CheckCRC] or [Validate].
func Split(b []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(b) > 0 {
			h, err := parseWhole(b)
			if err != nil {
				yield(b, err)
				return
			}
			if !yield(b[:h.Size():h.Size()], nil) {
				return
			}
			b = b[h.Size():]
		}
	}
}

// parseWhole is ParseHeader for a b that must hold all of the batch; bytes
// behind it are left alone.
func parseWhole(b []byte) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if h.Size() > len(b) {
		return Header{}, fmt.Errorf("%w: %d of its %d bytes", ErrTorn, len(b), h.Size())
	}
	return h, nil
}

// CheckCRC proves that the batch at the start of b is as it was written: the
// checksum holds and the header's offsets make sense. That is what a reader of
// stored batches asks, since compaction leaves counts that no producer may send.
// Bytes behind the batch are left alone. Errors as [ParseHeader], ErrTorn when
// the batch is longer than b, ErrCorrupt for a wrong checksum, ErrInvalid for
// impossible offsets under a right one.
func CheckCRC(b []byte) (Header, error) {
	h, err := parseWhole(b)
	if err != nil {
		return Header{}, err
	}
	if crc := crc32.Checksum(b[posAttributes:h.Size()], castagnoli); crc != h.CRC {
		return Header{}, fmt.Errorf("%w: checksum %08x, the header says %08x", ErrCorrupt, crc, h.CRC)
	}
	if err := h.checkCounts(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// checkCounts holds for every batch that Kafka stores, compacted ones included:
// offsets rise within a batch, so it cannot have more records than offsets.
func (h Header) checkCounts() error {
	if h.LastOffsetDelta < 0 {
		return fmt.Errorf("%w: last offset delta %d", ErrInvalid, h.LastOffsetDelta)
	}
	if h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1 {
		return fmt.Errorf("%w: %d records up to offset delta %d", ErrInvalid, h.Count, h.LastOffsetDelta)
	}
	return nil
}

// Validate proves that b is exactly one batch that may be appended to a log as
// it stands. Beyond [CheckCRC] it asks for at least one record and no gap in
// the offsets, a codec that exists, and a producer's epoch and sequence where
// there is a producer; the records of an uncompressed batch must fill it exactly.
// Compressed records are left as they are: their reader checks them.
//
// The producer's timestamps are not judged, max timestamp included: clients are
// known to send that of the last record. Whether a control batch or the log
// append time bit is welcome is for the caller to say.
func Validate(b []byte) (Header, error) {
	h, err := CheckCRC(b)
	if err != nil {
		return Header{}, err
	}
	if extra := len(b) - h.Size(); extra != 0 {
		return Header{}, fmt.Errorf("%w: %d bytes behind the batch", ErrInvalid, extra)
	}
	if err := h.checkProduced(); err != nil {
		return Header{}, err
	}
	if h.Codec() == None {
		if err := checkRecords(h, b[HeaderSize:]); err != nil {
			return Header{}, err
		}
	}
	return h, nil
}

// checkProduced holds for a batch as a producer sends it, on top of checkCounts.
// The rules are those of Kafka's LogValidator and MemoryRecordsBuilder.
func (h Header) checkProduced() error {
	switch {
	case int64(h.Count) != int64(h.LastOffsetDelta)+1:
		return fmt.Errorf("%w: %d records, but the last has offset delta %d", ErrInvalid, h.Count, h.LastOffsetDelta)
	case h.Codec() > Zstd:
		return fmt.Errorf("%w: %d", ErrCodec, h.Codec())
	case h.ProducerID < NoProducerID:
		return fmt.Errorf("%w: producer id %d", ErrInvalid, h.ProducerID)
	case h.ProducerID == NoProducerID:
		if h.Transactional() {
			return fmt.Errorf("%w: transactional without a producer id", ErrInvalid)
		}
		return nil // epoch and sequence mean nothing; kafkajs sends 0 and 0, others -1
	case h.ProducerEpoch < 0:
		return fmt.Errorf("%w: producer %d with epoch %d", ErrInvalid, h.ProducerID, h.ProducerEpoch)
	case h.BaseSequence < 0 && !h.Control(): // markers carry -1
		return fmt.Errorf("%w: producer %d with sequence %d", ErrInvalid, h.ProducerID, h.BaseSequence)
	}
	return nil
}

// checkRecords walks uncompressed records. The counts have been checked.
func checkRecords(h Header, records []byte) error {
	var it Iterator
	it.start(h, records)
	for it.Next() {
	}
	return it.Err()
}
