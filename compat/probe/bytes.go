package probe

import (
	"encoding/binary"
	"errors"
)

// errShort means that an answer ended inside a field.
var errShort = errors.New("probe: answer too short")

// writer builds a request body in Kafka's classic (not flexible) encoding.
type writer struct{ b []byte }

func (w *writer) int8(v int8)   { w.b = append(w.b, byte(v)) }
func (w *writer) int16(v int16) { w.b = binary.BigEndian.AppendUint16(w.b, uint16(v)) }
func (w *writer) int32(v int32) { w.b = binary.BigEndian.AppendUint32(w.b, uint32(v)) }
func (w *writer) int64(v int64) { w.b = binary.BigEndian.AppendUint64(w.b, uint64(v)) }

func (w *writer) string(s string) {
	w.int16(int16(len(s)))
	w.b = append(w.b, s...)
}

// reader walks an answer. The first short read is kept in err; after it every
// value is zero, so callers check err once at the end.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.err, r.b = errShort, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string reads a string, null as empty.
func (r *reader) string() string { return string(r.take(max(0, int(r.int16())))) }

// bytes reads a byte string, null as empty.
func (r *reader) bytes() []byte { return r.take(max(0, int(r.int32()))) }

// count reads an array's length, null as empty. A length that the rest of the
// answer cannot hold is an error.
func (r *reader) count() int {
	n := int(r.int32())
	if n > len(r.b) {
		r.err, r.b = errShort, nil
		return 0
	}
	return max(0, n)
}
