package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"millrace/record"
)

// HeaderSize is the bytes of a batch before its first record.
const HeaderSize = 61

// Where the fields stand; the package comment draws them.
const (
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21 // the checksum covers from here to the end
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57

	lengthEnd = posLeaderEpoch // length counts from here
	minLength = HeaderSize - lengthEnd
	magic     = 2

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40
)

// NoProducerID is the producer id of a batch without an idempotent producer.
const NoProducerID = -1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the front of a batch, decoded. The package comment says what each
// field means.
type Header struct {
	BaseOffset      record.Offset
	Length          int32 // bytes behind the length field; at least 49
	LeaderEpoch     int32
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // ms
	MaxTimestamp    int64 // ms
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32
}

// Size is the whole batch in bytes, header included.
func (h Header) Size() int { return int(h.Length) + lengthEnd }

// LastOffset is the offset of the batch's last record, also when compaction has
// removed that record. The next batch starts behind it.
func (h Header) LastOffset() record.Offset { return h.BaseOffset + record.Offset(h.LastOffsetDelta) }

// Codec is how the records are compressed. It may be a codec that does not
// exist; [Validate] refuses such a batch.
func (h Header) Codec() Codec { return Codec(h.Attributes & attrCodec) }

// LogAppendTime says that every record's timestamp is MaxTimestamp, written by
// the broker.
func (h Header) LogAppendTime() bool { return h.Attributes&attrLogAppendTime != 0 }

// Transactional says that the records count only if their transaction commits.
func (h Header) Transactional() bool { return h.Attributes&attrTransactional != 0 }

// Control says that the batch holds a marker for readers and no user data; see
// [ParseControl].
func (h Header) Control() bool { return h.Attributes&attrControl != 0 }

// DeleteHorizon is the time in milliseconds from which on the batch's tombstones,
// or its transaction marker, may be removed by compaction. ok is false when no
// compaction has set one.
func (h Header) DeleteHorizon() (ms int64, ok bool) {
	return h.BaseTimestamp, h.Attributes&attrDeleteHorizon != 0
}

// ParseHeader decodes the header at the start of b, which may hold only a part
// of the batch. It checks what lies outside the checksum: magic, length and
// base offset. The rest is unproven until [CheckCRC] or [Validate] has passed.
// ErrTorn when b is shorter than a header, ErrMagic for another format,
// ErrCorrupt for an impossible length or base offset.
func ParseHeader(b []byte) (Header, error) {
	if len(b) > posMagic && b[posMagic] != magic { // first: old formats may be shorter than our header
		return Header{}, fmt.Errorf("%w: magic %d, only 2 is accepted", ErrMagic, int8(b[posMagic]))
	}
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes of a header of %d", ErrTorn, len(b), HeaderSize)
	}
	h := decodeHeader(b)
	if h.Length < minLength {
		return Header{}, fmt.Errorf("%w: length %d is below %d", ErrCorrupt, h.Length, minLength)
	}
	if h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-math.MaxInt32 {
		return Header{}, fmt.Errorf("%w: base offset %d", ErrCorrupt, h.BaseOffset)
	}
	return h, nil
}

func decodeHeader(b []byte) Header {
	b = b[:HeaderSize]
	be := binary.BigEndian
	return Header{
		BaseOffset:      record.Offset(be.Uint64(b)),
		Length:          int32(be.Uint32(b[posLength:])),
		LeaderEpoch:     int32(be.Uint32(b[posLeaderEpoch:])),
		CRC:             be.Uint32(b[posCRC:]),
		Attributes:      int16(be.Uint16(b[posAttributes:])),
		LastOffsetDelta: int32(be.Uint32(b[posLastOffsetDelta:])),
		BaseTimestamp:   int64(be.Uint64(b[posBaseTimestamp:])),
		MaxTimestamp:    int64(be.Uint64(b[posMaxTimestamp:])),
		ProducerID:      int64(be.Uint64(b[posProducerID:])),
		ProducerEpoch:   int16(be.Uint16(b[posProducerEpoch:])),
		BaseSequence:    int32(be.Uint32(b[posBaseSequence:])),
		Count:           int32(be.Uint32(b[posCount:])),
	}
}

// encode writes the header to the start of b. The checksum must already be in h.
func (h Header) encode(b []byte) {
	b = b[:HeaderSize]
	be := binary.BigEndian
	be.PutUint64(b, uint64(h.BaseOffset))
	be.PutUint32(b[posLength:], uint32(h.Length))
	be.PutUint32(b[posLeaderEpoch:], uint32(h.LeaderEpoch))
	b[posMagic] = magic
	be.PutUint32(b[posCRC:], h.CRC)
	be.PutUint16(b[posAttributes:], uint16(h.Attributes))
	be.PutUint32(b[posLastOffsetDelta:], uint32(h.LastOffsetDelta))
	be.PutUint64(b[posBaseTimestamp:], uint64(h.BaseTimestamp))
	be.PutUint64(b[posMaxTimestamp:], uint64(h.MaxTimestamp))
	be.PutUint64(b[posProducerID:], uint64(h.ProducerID))
	be.PutUint16(b[posProducerEpoch:], uint16(h.ProducerEpoch))
	be.PutUint32(b[posBaseSequence:], uint32(h.BaseSequence))
	be.PutUint32(b[posCount:], uint32(h.Count))
}

// SetBaseOffset writes the offset of the first record into the validated batch
// b. The field lies outside the checksum.
func SetBaseOffset(b []byte, o record.Offset) {
	binary.BigEndian.PutUint64(b, uint64(o))
}

// SetLeaderEpoch writes the leader epoch into the validated batch b. The field
// lies outside the checksum.
func SetLeaderEpoch(b []byte, epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime gives all records of b, exactly one validated batch, the
// timestamp ts in milliseconds: it sets the attribute and the max timestamp and
// writes a new checksum, since both lie under it. The records stay untouched.
func SetLogAppendTime(b []byte, ts int64) {
	attributes := binary.BigEndian.Uint16(b[posAttributes:]) | attrLogAppendTime
	binary.BigEndian.PutUint16(b[posAttributes:], attributes)
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ts))
	writeCRC(b)
}

// writeCRC computes the checksum of b, exactly one batch, and stores it.
func writeCRC(b []byte) {
	binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
}
