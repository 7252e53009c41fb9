package batch

import (
	"fmt"
	"iter"

	"millrace/record"
)

// minRecordSize is a record with null key and value: seven fields of one byte.
const minRecordSize = 7

// View is one record inside a batch. Its slices point into the batch or into the
// [Decoder]'s buffer: they are valid until the iterator is reset.
type View struct {
	Offset    record.Offset
	Timestamp record.Timestamp
	Key       []byte // nil is Kafka's null
	Value     []byte // nil is Kafka's null

	headers     []byte // encoded, already checked
	headerCount int32
}

// HeaderCount is the number of headers.
func (v View) HeaderCount() int { return int(v.headerCount) }

// Headers yields the record's headers in order, key and value. A key may occur
// twice; a nil value is Kafka's null.
func (v View) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		i := 0
		for range v.headerCount {
			var key, value []byte
			key, i = bytesField(v.headers, i)
			value, i = bytesField(v.headers, i)
			if !yield(key, value) {
				return
			}
		}
	}
}

// Iterator walks over the records of one batch. The zero value is ready for
// Reset and can be used again for the next batch. It does not allocate, except
// in a Decoder that has to grow. It trusts no byte of the batch, but bit rot is
// only found by [CheckCRC].
//
//	for it.Next() {
//		use(it.Record())
//	}
//	if err := it.Err(); err != nil { ... }
type Iterator struct {
	header    Header
	records   []byte // decompressed
	pos       int    // of the next record
	left      int32  // records to come
	lastDelta int32  // offset delta of the current record; -1 before the first
	view      View
	err       error
	own       *Decoder // for callers that bring none
}

// Reset moves the iterator to the start of the batch that stands at the start of
// b. A compressed batch is decompressed into d's buffer; with a nil d the
// iterator keeps a decoder with the default limits. ErrTorn, ErrMagic and
// ErrCorrupt as [ParseHeader]; ErrCodec and ErrTooLarge as [Decoder.Decompress];
// ErrInvalid when header or compressed bytes break the format.
func (it *Iterator) Reset(b []byte, d *Decoder) error {
	h, records, err := it.open(b, d)
	it.start(h, records)
	if err != nil {
		it.err = err
	}
	return it.err
}

func (it *Iterator) open(b []byte, d *Decoder) (Header, []byte, error) {
	h, err := parseWhole(b)
	if err != nil {
		return Header{}, nil, err
	}
	if err := h.checkCounts(); err != nil {
		return Header{}, nil, err
	}
	records, err := it.decompress(h.Codec(), b[HeaderSize:h.Size()], d)
	if err != nil {
		return Header{}, nil, err
	}
	return h, records, nil
}

func (it *Iterator) decompress(c Codec, records []byte, d *Decoder) ([]byte, error) {
	if c == None {
		return records, nil
	}
	if d == nil {
		if it.own == nil {
			it.own = new(Decoder)
		}
		d = it.own
	}
	return d.Decompress(c, records)
}

func (it *Iterator) start(h Header, records []byte) {
	it.header, it.records, it.pos = h, records, 0
	it.left, it.lastDelta = h.Count, -1
	it.view, it.err = View{}, nil
	if int64(h.Count) > int64(len(records)/minRecordSize) {
		it.fail("%d records cannot fit into %d bytes", h.Count, len(records))
	}
}

// Header is the header of the batch.
func (it *Iterator) Header() Header { return it.header }

// Record is the record that the last Next found.
func (it *Iterator) Record() View { return it.view }

// Err says why Next ended before the last record; nil when it did not. The error
// wraps ErrInvalid, or is that of Reset.
func (it *Iterator) Err() error { return it.err }

// Next moves to the next record and says whether there is one.
func (it *Iterator) Next() bool {
	if it.left == 0 || it.err != nil {
		if it.err == nil && it.pos != len(it.records) {
			it.fail("%d bytes behind the last record", len(it.records)-it.pos)
		}
		return false
	}
	size, i := varint32(it.records, it.pos)
	if i == malformed || size < 0 || int(size) > len(it.records)-i {
		return it.fail("length of the record at byte %d", it.pos)
	}
	return it.decode(it.records[:i+int(size)], i)
}

// decode reads the record at b[i:], which ends with b, into it.view. The time of
// reading uncompressed batches is spent here, which is why the one byte varints
// that nearly every key, value and header count has are read inline.
func (it *Iterator) decode(b []byte, i int) bool {
	tsDelta, i := varint64(b, i+1) // behind the unused attributes
	delta, i := varint32(b, i)
	if i == malformed || delta <= it.lastDelta || delta > it.header.LastOffsetDelta {
		return it.fail("timestamp or offset delta of the record at byte %d", it.pos)
	}
	v := &it.view
	size, i, ok := oneByte(b, i)
	if !ok {
		size, i = varint32(b, i)
	}
	if !fits(b, i, size) {
		return it.fail("key of the record at byte %d", it.pos)
	}
	v.Key, i = cut(b, i, size)
	if size, i, ok = oneByte(b, i); !ok {
		size, i = varint32(b, i)
	}
	if !fits(b, i, size) {
		return it.fail("value of the record at byte %d", it.pos)
	}
	v.Value, i = cut(b, i, size)
	if v.headerCount, i, ok = oneByte(b, i); !ok {
		v.headerCount, i = varint32(b, i)
	}
	if i == malformed {
		return it.fail("header count of the record at byte %d", it.pos)
	}
	if v.headers = b[i:]; (v.headerCount != 0 || i != len(b)) && !v.headersFill() {
		return it.fail("headers of the record at byte %d", it.pos)
	}
	v.Offset = it.header.BaseOffset + record.Offset(delta)
	v.Timestamp = it.timestamp(tsDelta)
	it.lastDelta = delta
	it.pos = len(b)
	it.left--
	return true
}

// timestamp wraps on overflow, as in Java.
func (it *Iterator) timestamp(delta int64) record.Timestamp {
	if it.header.Attributes&attrLogAppendTime != 0 { // the method would copy the header
		return record.Timestamp(it.header.MaxTimestamp)
	}
	return record.Timestamp(it.header.BaseTimestamp + delta)
}

// headersFill says that v.headers holds exactly v.headerCount headers.
func (v *View) headersFill() bool {
	if v.headerCount < 0 {
		return false
	}
	i := 0
	for range v.headerCount {
		var key []byte
		key, i = bytesField(v.headers, i)
		_, i = bytesField(v.headers, i)
		if i == malformed || key == nil {
			return false
		}
	}
	return i == len(v.headers)
}

// bytesField decodes a length and its bytes at b[i:] and returns the position
// behind them. The length -1 gives nil, 0 an empty slice.
func bytesField(b []byte, i int) ([]byte, int) {
	size, i := varint32(b, i)
	switch {
	case i == malformed || size < -1 || int(size) > len(b)-i:
		return nil, malformed
	case size == -1:
		return nil, i
	}
	end := i + int(size)
	return b[i:end:end], end
}

func (it *Iterator) fail(format string, args ...any) bool {
	it.err = fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	it.left = 0
	return false
}

func fits(b []byte, i int, size int32) bool {
	return i != malformed && size >= -1 && int(size) <= len(b)-i
}

func cut(b []byte, i int, size int32) ([]byte, int) {
	if size < 0 {
		return nil, i
	}
	end := i + int(size)
	return b[i:end:end], end
}

// oneByte is the part of varint32 that is small enough to be inlined.
func oneByte(b []byte, i int) (v int32, next int, ok bool) {
	if i < len(b) && b[i] < 0x80 {
		return int32(b[i]>>1) ^ -int32(b[i]&1), i + 1, true
	}
	return 0, i, false
}
