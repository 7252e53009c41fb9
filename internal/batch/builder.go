package batch

import (
	"fmt"
	"math"

	"millrace/record"
)

// BuilderOptions are the header fields that a producer chooses. The zero value
// means the producer with id 0, since Kafka's ids start there: a batch without an
// idempotent producer needs NoProducerID.
type BuilderOptions struct {
	Codec         Codec
	ProducerID    int64 // NoProducerID: no idempotent producer, the next two are not looked at
	ProducerEpoch int16
	BaseSequence  int32 // of the first record; -1 in a control batch
	Transactional bool
	Control       bool
}

// Builder makes one batch after the other in buffers that it reuses. Each starts
// with NewBuilder or Reset. It is for one goroutine.
type Builder struct {
	opts   BuilderOptions
	plain  []byte // room for the header, then the records
	packed []byte // the same, compressed
	enc    encoder

	count         int
	baseTimestamp record.Timestamp
	maxTimestamp  record.Timestamp
}

// NewBuilder is a Builder for its first batch.
func NewBuilder(o BuilderOptions) *Builder {
	b := new(Builder)
	b.Reset(o)
	return b
}

// Reset drops what was appended and starts the next batch.
func (b *Builder) Reset(o BuilderOptions) {
	b.opts = o
	if b.plain == nil {
		b.plain = make([]byte, 0, 4<<10)
	}
	b.plain = b.plain[:HeaderSize]
	b.count = 0
}

// Append adds one record with the next offset. A nil key or value is Kafka's
// null. The bytes are copied.
func (b *Builder) Append(ts record.Timestamp, key, value []byte, headers []record.Header) {
	if b.count == 0 {
		b.baseTimestamp, b.maxTimestamp = ts, ts
	}
	b.maxTimestamp = max(b.maxTimestamp, ts)
	tsDelta, delta := int64(ts-b.baseTimestamp), int64(b.count)
	b.count++

	p := appendVarint(b.plain, int64(recordSize(tsDelta, delta, key, value, headers)))
	p = append(p, 0) // attributes, unused
	p = appendVarint(p, tsDelta)
	p = appendVarint(p, delta)
	p = appendBytes(p, key)
	p = appendBytes(p, value)
	p = appendVarint(p, int64(len(headers)))
	for _, h := range headers {
		p = appendVarint(p, int64(len(h.Key)))
		p = append(p, h.Key...)
		p = appendBytes(p, h.Value)
	}
	b.plain = p
}

// recordSize is the bytes of a record behind its length.
func recordSize(tsDelta, delta int64, key, value []byte, headers []record.Header) int {
	size := 1 + varintSize(tsDelta) + varintSize(delta) + bytesSize(key) + bytesSize(value) + varintSize(int64(len(headers)))
	for _, h := range headers {
		size += varintSize(int64(len(h.Key))) + len(h.Key) + bytesSize(h.Value)
	}
	return size
}

func bytesSize(p []byte) int {
	if p == nil {
		return 1
	}
	return varintSize(int64(len(p))) + len(p)
}

func appendBytes(b, p []byte) []byte {
	if p == nil {
		return append(b, 1) // -1, zigzag
	}
	return append(appendVarint(b, int64(len(p))), p...)
}

// Len is the number of records appended.
func (b *Builder) Len() int { return b.count }

// SizeBytes is the size of the batch so far, before compression.
func (b *Builder) SizeBytes() int { return len(b.plain) }

// Build returns the batch, with base offset 0 and leader epoch -1 as producers
// send it. It is valid until the next call of Build, Append or Reset. An error,
// never a bad batch, when there is no record, more than 2 GiB or 2^31-1 records,
// or options that contradict each other.
func (b *Builder) Build() ([]byte, error) {
	h := b.header()
	if b.count == 0 {
		return nil, fmt.Errorf("%w: no record appended", ErrInvalid)
	}
	if err := h.checkProduced(); err != nil {
		return nil, err
	}
	whole, err := b.pack()
	if err != nil {
		return nil, err
	}
	if size := max(len(b.plain), len(whole)); size > math.MaxInt32 || b.count > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d records in %d bytes do not fit one batch", ErrInvalid, b.count, size)
	}
	h.Length = int32(len(whole) - lengthEnd)
	h.encode(whole)
	writeCRC(whole)
	return whole, nil
}

// pack is the room for the header and the records behind it, compressed.
func (b *Builder) pack() ([]byte, error) {
	if b.opts.Codec == None {
		return b.plain, nil
	}
	packed, err := b.enc.compress(append(b.packed[:0], b.plain[:HeaderSize]...), b.opts.Codec, b.plain[HeaderSize:])
	if err != nil {
		return nil, fmt.Errorf("batch: compress with %s: %w", b.opts.Codec, err)
	}
	b.packed = packed
	return packed, nil
}

func (b *Builder) header() Header {
	h := Header{
		LeaderEpoch:     -1,
		Attributes:      int16(b.opts.Codec),
		LastOffsetDelta: int32(b.count - 1),
		BaseTimestamp:   int64(b.baseTimestamp),
		MaxTimestamp:    int64(b.maxTimestamp),
		ProducerID:      NoProducerID,
		ProducerEpoch:   -1,
		BaseSequence:    -1,
		Count:           int32(b.count),
	}
	if b.opts.ProducerID != NoProducerID {
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = b.opts.ProducerID, b.opts.ProducerEpoch, b.opts.BaseSequence
	}
	if b.opts.Transactional {
		h.Attributes |= attrTransactional
	}
	if b.opts.Control {
		h.Attributes |= attrControl
	}
	return h
}
