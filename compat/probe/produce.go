package probe

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

const keyProduce = 0

// BuildBatch returns an uncompressed record batch of a producer that is not
// idempotent, with null keys and the present time.
func BuildBatch(values ...[]byte) []byte { return BuildBatchAt(time.Now(), values...) }

// BuildBatchAt is BuildBatch with the time of the records.
func BuildBatchAt(at time.Time, values ...[]byte) []byte {
	records := make([]Record, len(values))
	for i, value := range values {
		records[i].Value = value
	}
	return buildBatch(at, records, noProducer, 0)
}

// BuildKeyed is BuildBatch of records with keys. A nil value is a tombstone.
func BuildKeyed(records []Record) []byte { return buildBatch(time.Now(), records, noProducer, 0) }

// Sequence is the place of a batch in what an idempotent producer sends.
type Sequence struct {
	ProducerID int64
	Epoch      int16
	First      int32
}

// noProducer is a producer that is not idempotent.
var noProducer = Sequence{-1, -1, -1}

// BuildTransactional is BuildBatch of records that belong to a transaction.
func BuildTransactional(s Sequence, values ...[]byte) []byte {
	records := make([]Record, len(values))
	for i, value := range values {
		records[i].Value = value
	}
	return buildBatch(time.Now(), records, s, transactional)
}

// transactional is the attribute bit of a batch inside a transaction.
const transactional = 0x10

func buildBatch(at time.Time, records []Record, s Sequence, attributes int16) []byte {
	var w writer
	w.int64(0)          // base offset: the broker's to set
	w.int32(0)          // length, below
	w.int32(0)          // leader epoch
	w.int8(2)           // magic
	w.int32(0)          // checksum, below
	w.int16(attributes) // no compression, create time
	w.int32(int32(len(records) - 1))
	now := at.UnixMilli()
	w.int64(now)
	w.int64(now)
	w.int64(s.ProducerID)
	w.int16(s.Epoch)
	w.int32(s.First)
	w.int32(int32(len(records)))
	for i, record := range records {
		w.b = appendRecord(w.b, i, record)
	}
	binary.BigEndian.PutUint32(w.b[8:], uint32(len(w.b)-12))
	binary.BigEndian.PutUint32(w.b[17:], crc32.Checksum(w.b[21:], castagnoli))
	return w.b
}

func appendRecord(b []byte, offsetDelta int, r Record) []byte {
	record := []byte{0}                     // attributes
	record = binary.AppendVarint(record, 0) // timestamp delta
	record = binary.AppendVarint(record, int64(offsetDelta))
	record = appendNullable(record, r.Key)
	record = appendNullable(record, r.Value)
	record = binary.AppendVarint(record, 0) // no headers
	b = binary.AppendVarint(b, int64(len(record)))
	return append(b, record...)
}

// appendNullable appends a length and bytes; nil is null, with length -1.
func appendNullable(b, value []byte) []byte {
	if value == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(value)))
	return append(b, value...)
}

// Produce appends one batch and returns its first offset. acks is 1 or -1.
func (c *Conn) Produce(topic string, partition int32, acks int16, batch []byte) (int64, error) {
	w := writer{b: make([]byte, 0, len(batch)+64)}
	w.int16(-1) // no transaction
	w.int16(acks)
	w.int32(int32(exchangeWithin / time.Millisecond))
	w.int32(1)
	w.string(topic)
	w.int32(1)
	w.int32(partition)
	w.int32(int32(len(batch)))
	w.b = append(w.b, batch...)
	r, err := c.exchange(keyProduce, 7, w.b)
	if err != nil {
		return 0, err
	}
	r.count()
	r.string()
	r.count()
	r.int32() // partition
	code, base := r.int16(), r.int64()
	if err := check(code, "produce to %s-%d", topic, partition); err != nil {
		return 0, err
	}
	return base, r.err
}
