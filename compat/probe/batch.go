package probe

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"
)

// Codec is the compression that a stored batch names in its attributes.
type Codec int8

// The codecs of Kafka's record batch, by number.
var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", int8(c))
}

// Batch is the header of one record batch v2, and its records as stored.
type Batch struct {
	Base          int64
	LeaderEpoch   int32
	Attributes    int16
	LastDelta     int32
	BaseTimestamp int64
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Count         int32
	Bytes         int // of the whole batch
	records       []byte
}

// Codec is the compression of the batch.
func (b Batch) Codec() Codec { return Codec(b.Attributes & 7) }

// Transactional says whether the batch belongs to a transaction.
func (b Batch) Transactional() bool { return b.Attributes&transactional != 0 }

// Control says whether the batch is the marker that ends a transaction, and
// holds nothing that a client wrote.
func (b Batch) Control() bool { return b.Attributes&0x20 != 0 }

// Last is the offset of the batch's last record.
func (b Batch) Last() int64 { return b.Base + int64(b.LastDelta) }

// Record is one record of a batch.
type Record struct {
	Offset     int64
	Timestamp  time.Time
	Key, Value []byte // nil is null
	Headers    []Header
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

const batchHeader = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batches splits what a fetch returned into batches. Every whole batch has its
// checksum verified; a batch cut off at the end is left away, as the protocol
// allows.
func Batches(raw []byte) ([]Batch, error) {
	var all []Batch
	for len(raw) >= batchHeader {
		size := 12 + int(int32(binary.BigEndian.Uint32(raw[8:])))
		if size < batchHeader {
			return nil, fmt.Errorf("probe: batch of %d bytes", size)
		}
		if size > len(raw) {
			return all, nil
		}
		b, err := parseBatch(raw[:size])
		if err != nil {
			return nil, err
		}
		all, raw = append(all, b), raw[size:]
	}
	return all, nil
}

func parseBatch(raw []byte) (Batch, error) {
	r := reader{b: raw}
	b := Batch{Bytes: len(raw), Base: r.int64()}
	r.int32() // length
	b.LeaderEpoch = r.int32()
	if magic := r.int8(); magic != 2 {
		return b, fmt.Errorf("probe: batch at %d has magic %d", b.Base, magic)
	}
	sum := uint32(r.int32())
	if got := crc32.Checksum(r.b, castagnoli); got != sum {
		return b, fmt.Errorf("probe: batch at %d: checksum %08x, header says %08x", b.Base, got, sum)
	}
	b.Attributes, b.LastDelta = r.int16(), r.int32()
	b.BaseTimestamp = r.int64()
	r.int64() // largest timestamp
	b.ProducerID, b.ProducerEpoch, b.BaseSequence = r.int64(), r.int16(), r.int32()
	b.Count, b.records = r.int32(), r.b
	return b, r.err
}

// Records parses the records of a batch, which must hold exactly as many as
// its header says.
func (b Batch) Records() ([]Record, error) {
	rest, err := b.inflate()
	if err != nil {
		return nil, fmt.Errorf("probe: batch at %d: %s: %w", b.Base, b.Codec(), err)
	}
	all := make([]Record, 0, b.Count)
	for range b.Count {
		body, after, ok := varintBytes(rest)
		if !ok || body == nil {
			return nil, fmt.Errorf("probe: batch at %d ends inside record %d", b.Base, len(all))
		}
		rec, err := b.parseRecord(body)
		if err != nil {
			return nil, err
		}
		all, rest = append(all, rec), after
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("probe: batch at %d: %d bytes behind its last record", b.Base, len(rest))
	}
	return all, nil
}

func (b Batch) parseRecord(body []byte) (Record, error) {
	broken := fmt.Errorf("probe: batch at %d holds a broken record", b.Base)
	if len(body) < 1 {
		return Record{}, broken
	}
	timeDelta, n := binary.Varint(body[1:])
	if n <= 0 {
		return Record{}, broken
	}
	body = body[1+n:]
	offsetDelta, n := binary.Varint(body)
	if n <= 0 {
		return Record{}, broken
	}
	key, rest, okKey := varintBytes(body[n:])
	value, rest, okValue := varintBytes(rest)
	headers, okHeaders := parseHeaders(rest)
	if !okKey || !okValue || !okHeaders {
		return Record{}, broken
	}
	return Record{
		Offset:    b.Base + offsetDelta,
		Timestamp: time.UnixMilli(b.BaseTimestamp + timeDelta),
		Key:       key,
		Value:     value,
		Headers:   headers,
	}, nil
}

func parseHeaders(b []byte) (all []Header, ok bool) {
	count, n := binary.Varint(b)
	if n <= 0 || count < 0 || count > int64(len(b)) {
		return nil, false
	}
	b = b[n:]
	for range count {
		key, rest, okKey := varintBytes(b)
		value, rest, okValue := varintBytes(rest)
		if !okKey || !okValue {
			return nil, false
		}
		all, b = append(all, Header{string(key), value}), rest
	}
	return all, len(b) == 0
}

// varintBytes reads a zigzag length and so many bytes; -1 is null.
func varintBytes(b []byte) (value, rest []byte, ok bool) {
	size, n := binary.Varint(b)
	if n <= 0 || size < -1 || size > int64(len(b)-n) {
		return nil, nil, false
	}
	if size == -1 {
		return nil, b[n:], true
	}
	return b[n : n+int(size) : n+int(size)], b[n+int(size):], true
}
