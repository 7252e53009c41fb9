package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxElements is the most array elements, over all its arrays, that one request
// may hold. An answer grows with them as well, so the frame's size alone is no
// bound: 16 MiB hold more than a million topic names. 100,000 is ten times the
// partitions that one node is made for.
const MaxElements = 100_000

// A decoded body of n bytes may cost heapPerByte*n + heapSlack bytes. The
// request's own struct, and what else one request costs once, is paid from
// heapFixed of the slack.
const (
	heapPerByte = 4
	heapSlack   = 64 << 10
	heapFixed   = 2 << 10
)

// Walk checks that body is exactly one request of that kind and version: each
// length, count and tag lies within it, nothing is left over, no value is null
// that must not be, and what kmsg would allocate for it stays within the
// package's bound. It allocates nothing unless it refuses, and then the error
// is a *FrameError whose Offset counts from body's start. It takes every version
// of [Known]; that it is served is for [ParseHeader] to check.
func Walk(key, version int16, body []byte) error {
	a := known(key, version)
	if a == nil {
		return refuseAPI(key, version)
	}
	w := newWalker(a, version, body)
	if err := w.body(); err != nil {
		return err
	}
	return nil
}

// walker is one pass over a body.
type walker struct {
	buf    []byte
	pos    int
	api    *api
	number int16 // version

	lean     bool // see makeLean
	heap     int  // bytes that decoding will allocate
	heapMax  int
	elements int
	counts   [8]int // elements by array, see node.slot

	marks *[]Mark // nil unless the layout is wanted
}

func newWalker(a *api, version int16, body []byte) walker {
	return walker{buf: body, api: a, number: version, heap: heapFixed, heapMax: heapPerByte*len(body) + heapSlack}
}

// makeLean counts what our own decoders allocate: they alias the frame, skip
// unknown tags, and gather the elements of each array of the schema in one
// slice, however often it occurs.
func (w *walker) makeLean() {
	w.lean = true
	w.heap += heapPage * w.api.shape(w.number).lists // to which the allocator may round each up
}

func (w *walker) body() *FrameError {
	if err := w.shape(w.api.shape(w.number)); err != nil {
		return err
	}
	if left := len(w.buf) - w.pos; left > 0 {
		return w.malformed("%d bytes follow the end of the request", left)
	}
	return nil
}

func (w *walker) shape(s *shape) *FrameError {
	for i := range s.nodes {
		if err := w.node(&s.nodes[i], s.flexible); err != nil {
			return err
		}
	}
	if s.tagged {
		return w.tags(s)
	}
	return nil
}

func (w *walker) node(n *node, flexible bool) *FrameError {
	switch n.kind {
	case fixed:
		return w.skip(n.width, n.name)
	case list:
		return w.list(n, flexible)
	case group:
		return w.group(n)
	default:
		return w.sized(n, flexible)
	}
}

func (w *walker) skip(size int, name string) *FrameError {
	if size > len(w.buf)-w.pos {
		return w.malformed("%s: %d bytes needed, %d left", name, size, len(w.buf)-w.pos)
	}
	w.pos += size
	return nil
}

// sized passes a string or bytes.
func (w *walker) sized(n *node, flexible bool) *FrameError {
	size, err := w.length(n, flexible)
	if err != nil {
		return err
	}
	if size > len(w.buf)-w.pos {
		return w.malformed("%s: length %d, but %d bytes are left", n.name, size, len(w.buf)-w.pos)
	}
	w.pos += max(size, 0)
	if w.lean {
		return nil
	}
	cost := heapSize(max(size, 0))
	if n.kind == text && n.boxed && size >= 0 {
		cost += stringHeader
	}
	return w.spend(cost, n.name)
}

const stringHeader = 16

// list passes an array. Elements that always take the same bytes are passed at
// once.
func (w *walker) list(n *node, flexible bool) *FrameError {
	count, err := w.length(n, flexible)
	if err != nil || count <= 0 {
		return err
	}
	left := len(w.buf) - w.pos
	if count > left/n.elem.min {
		return w.malformed("%s: %d elements of at least %d bytes claimed, but %d bytes are left", n.name, count, n.elem.min, left)
	}
	if w.elements += count; w.elements > MaxElements {
		return w.tooLarge("%s: the request holds more than %d array elements; send several requests", n.name, MaxElements)
	}
	w.counts[n.slot] += count
	cost := heapSize(count * n.elemHeap)
	if w.lean {
		cost = count * n.leanHeap
	}
	if err := w.spend(cost, n.name); err != nil {
		return err
	}
	if n.elem.constant {
		w.pos += count * n.elem.min
		return nil
	}
	for range count {
		if err := w.shape(n.elem); err != nil {
			return err
		}
	}
	return nil
}

// group passes a struct. Where it may be null a byte in front says so: -1 is
// null, 1 is not.
func (w *walker) group(n *node) *FrameError {
	if !n.nullable {
		return w.shape(n.elem)
	}
	if err := w.skip(1, n.name); err != nil {
		return err
	}
	switch int8(w.buf[w.pos-1]) {
	case -1:
		return nil
	case 1:
		if err := w.spend(heapSize(n.elemHeap), n.name); err != nil {
			return err
		}
		return w.shape(n.elem)
	default:
		w.pos--
		return w.malformed("%s: %d says neither that it follows (1) nor that it is null (-1)", n.name, w.buf[w.pos])
	}
}

// length reads a length or count prefix; -1 is null.
func (w *walker) length(n *node, flexible bool) (int, *FrameError) {
	at := w.pos
	size, err := w.prefix(n, flexible)
	if err != nil {
		return 0, err
	}
	switch {
	case size < -1:
		w.pos = at
		return 0, w.malformed("%s: length %d is negative", n.name, size)
	case size == -1 && !n.nullable:
		w.pos = at
		return 0, w.malformed("%s: null is not allowed here", n.name)
	}
	w.mark(at, n.kind)
	return size, nil
}

func (w *walker) prefix(n *node, flexible bool) (int, *FrameError) {
	if flexible {
		v, err := w.uvarint(n.name)
		return int(v) - 1, err
	}
	left := w.buf[w.pos:]
	if n.kind == text {
		if len(left) < 2 {
			return 0, w.malformed("%s: the frame ends within its length", n.name)
		}
		w.pos += 2
		return int(int16(binary.BigEndian.Uint16(left))), nil
	}
	if len(left) < 4 {
		return 0, w.malformed("%s: the frame ends within its length", n.name)
	}
	w.pos += 4
	return int(int32(binary.BigEndian.Uint32(left))), nil
}

func (w *walker) uvarint(name string) (uint32, *FrameError) {
	v, size := uvarint(w.buf[w.pos:])
	if size <= 0 {
		return 0, w.malformed("%s: the variable-length number is cut off or too long", name)
	}
	w.pos += size
	return v, nil
}

// tags passes a tag section. The count is the sender's word, so it is checked
// against the bytes that are left: a tag takes at least two.
func (w *walker) tags(s *shape) *FrameError {
	at := w.pos
	count, err := w.uvarint("tag count")
	if err != nil {
		return err
	}
	if left := len(w.buf) - w.pos; uint64(count) > uint64(left/2) {
		return w.malformed("%d tags claimed, but %d bytes are left", count, left)
	}
	w.markTags(at)
	unknownTags := 0
	for range count {
		known, err := w.tag(s)
		if err != nil {
			return err
		}
		if !known {
			unknownTags++
			if err := w.spendTag(unknownTags); err != nil {
				return err
			}
		}
	}
	return nil
}

// tag passes one tagged field. A known one must fill its size exactly.
func (w *walker) tag(s *shape) (known bool, err *FrameError) {
	number, err := w.uvarint("tag")
	if err != nil {
		return false, err
	}
	size, err := w.uvarint("tag size")
	if err != nil {
		return false, err
	}
	if left := len(w.buf) - w.pos; uint64(size) > uint64(left) {
		return false, w.malformed("tag %d: size %d, but %d bytes are left", number, size, left)
	}
	end := w.pos + int(size)
	for i := range s.tags {
		if n := &s.tags[i]; uint32(n.tag) == number {
			return true, w.taggedField(n, s.flexible, end)
		}
	}
	w.pos = end
	return false, nil
}

func (w *walker) taggedField(n *node, flexible bool, end int) *FrameError {
	whole := w.buf
	w.buf = whole[:end]
	err := w.node(n, flexible)
	w.buf = whole
	if err == nil && w.pos != end {
		err = w.malformed("tag %s: %d of its bytes are left over", n.name, end-w.pos)
	}
	return err
}

func (w *walker) spend(bytes int, name string) *FrameError {
	if w.heap += bytes; w.heap > w.heapMax {
		return w.tooLarge("%s: decoding would take more than %d bytes of memory for %d bytes of request; send several smaller requests", name, w.heapMax, len(w.buf))
	}
	return nil
}

func (w *walker) spendTag(nth int) *FrameError {
	if w.lean {
		return nil
	}
	return w.spend(tagHeap(nth), "unknown tags")
}

func (w *walker) malformed(format string, args ...any) *FrameError {
	return w.refuse(ErrMalformed, format, args...)
}

func (w *walker) tooLarge(format string, args ...any) *FrameError {
	return w.refuse(ErrTooLarge, format, args...)
}

func (w *walker) refuse(sentinel error, format string, args ...any) *FrameError {
	return &FrameError{Key: w.api.key, Version: w.number, Offset: w.pos, Reason: fmt.Sprintf(format, args...), Err: sentinel}
}

// refuseAPI says that the request kind, or that version of it, is not served.
func refuseAPI(key, version int16) *FrameError {
	a := lookup(key)
	if a == nil || !a.isServed() {
		return &FrameError{Key: key, Version: version, Err: ErrUnknownAPI,
			Reason: fmt.Sprintf("API key %d is not served by this broker", key)}
	}
	return &FrameError{Key: key, Version: version, Offset: 2, Err: ErrUnsupportedVersion,
		Reason: fmt.Sprintf("versions %d to %d are served", a.served.min, a.served.max)}
}
