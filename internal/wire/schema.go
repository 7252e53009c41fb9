package wire

import (
	"math"
	"unsafe"
)

// This file is the notation in which requests.go writes down the shape of each
// request, and its translation into one flat shape per version.

// request is one request kind: the versions that can be read and its fields in
// wire order. Names, types and versions are those of Kafka's message schemas.
type request struct {
	key, min, max int16
	flexible      int16 // first version with compact lengths and tag sections
	name          string
	fields        []field
}

type kind uint8

const (
	fixed kind = iota // width bytes
	text              // string
	blob              // bytes or records
	list              // array
	group             // a struct on its own, not in an array
)

// never is a version that no request reaches.
const never = math.MaxInt16

// field is one field over all versions.
type field struct {
	name      string
	typ       string // Kafka's type
	kind      kind
	width     int   // of a fixed field, bytes
	first     int16 // first version that has the field
	last      int16 // last version that has it
	nullFirst int16 // first version in which it may be null
	tag       int16 // tag number, or noTag for a field in line

	elem     []field // of a list: what one element holds; of a group: what it holds
	bare     bool    // elements are plain values: no tag section follows each
	elemHeap int     // bytes that kmsg allocates per element, or for a group that may be null, without its strings
	leanHeap int     // the same of this package's own decoder
	leanMore int     // what it allocates on top of that from version leanMoreFrom on
	boxed    bool    // kmsg holds the string behind a pointer even where it cannot be null

	leanMoreFrom int16
}

const noTag = -1

func plain(name, typ string, width int) field {
	return field{name: name, typ: typ, kind: fixed, width: width, last: never, nullFirst: never, tag: noTag}
}

func boolean(name string) field { return plain(name, "bool", 1) }
func i8(name string) field      { return plain(name, "int8", 1) }
func i16(name string) field     { return plain(name, "int16", 2) }
func i32(name string) field     { return plain(name, "int32", 4) }
func i64(name string) field     { return plain(name, "int64", 8) }
func uuid(name string) field    { return plain(name, "uuid", 16) }

func str(name string) field {
	f := plain(name, "string", 0)
	f.kind = text
	return f
}

func bytesOf(name, typ string) field {
	f := plain(name, typ, 0)
	f.kind = blob
	return f
}

// values is an array of plain values.
func values(name string, elem field) field {
	f := plain(name, "[]"+elem.typ, 0)
	f.kind, f.elem, f.bare = list, []field{elem}, true
	f.elemHeap = elem.width
	if elem.kind == text {
		f.elemHeap = int(unsafe.Sizeof(""))
	}
	f.leanHeap = f.elemHeap
	return f
}

// structs is an array of structs; E is the type that kmsg decodes each into.
func structs[E any](name string, fields ...field) field {
	f := plain(name, "[]struct", 0)
	f.kind, f.elem = list, fields
	f.elemHeap = int(unsafe.Sizeof(*new(E)))
	f.leanHeap = f.elemHeap
	return f
}

// object is a struct on its own; E is the type that kmsg decodes it into, behind
// a pointer where it may be null.
func object[E any](name string, fields ...field) field {
	f := plain(name, "struct", 0)
	f.kind, f.elem = group, fields
	f.elemHeap = int(unsafe.Sizeof(*new(E)))
	return f
}

// lean says that our own decoder, which aliases the frame, uses an L for each
// element.
func lean[L any](f field) field {
	f.leanHeap = int(unsafe.Sizeof(*new(L)))
	return f
}

// leanMore says that from that version on it uses an L more for each.
func leanMore[L any](version int16, f field) field {
	f.leanMoreFrom, f.leanMore = version, int(unsafe.Sizeof(*new(L)))
	return f
}

func (f field) from(version int16) field      { f.first = version; return f }
func (f field) until(version int16) field     { f.last = version; return f }
func (f field) nullable(version int16) field  { f.nullFirst = version; return f }
func (f field) tagged(tag int16) field        { f.tag = tag; return f }
func (f field) pointer() field                { f.boxed = true; return f }
func (f field) in(version int16) bool         { return f.first <= version && version <= f.last }
func (f field) nullableIn(version int16) bool { return version >= f.nullFirst }

// shape is what a request body, or one element of an array, holds in one
// version: its fields in wire order, with neighbouring fixed fields merged into
// one run.
type shape struct {
	nodes    []node
	tags     []node // known tags
	flexible bool   // lengths are compact
	tagged   bool   // a tag section follows the nodes
	min      int    // fewest bytes that it can take
	constant bool   // it always takes min bytes
	lists    int    // of a whole body: how many arrays its schema has
}

// node is one field, or a run of fixed fields, in one version.
type node struct {
	name     string
	kind     kind
	width    int
	nullable bool
	boxed    bool
	tag      int16
	slot     int // of a list: its place among the request's arrays
	elem     *shape
	elemHeap int
	leanHeap int
}

// compiler turns fields into the shape of one version.
type compiler struct {
	version  int16
	flexible bool
	lists    int // arrays seen so far
}

func compile(fields []field, version int16, flexible bool) shape {
	c := compiler{version: version, flexible: flexible}
	s := c.shape(fields, flexible)
	s.lists = c.lists
	return s
}

func (c *compiler) shape(fields []field, tagged bool) shape {
	s := shape{flexible: c.flexible, tagged: tagged}
	for _, f := range fields {
		switch {
		case !f.in(c.version):
		case f.tag != noTag:
			s.tags = append(s.tags, c.node(f))
		default:
			s.add(c.node(f))
		}
	}
	s.measure()
	return s
}

func (c *compiler) node(f field) node {
	n := node{
		name: f.name, kind: f.kind, width: f.width, tag: f.tag,
		nullable: f.nullableIn(c.version), elemHeap: f.elemHeap, leanHeap: f.leanHeap,
	}
	n.boxed = n.nullable || f.boxed
	if c.version >= f.leanMoreFrom {
		n.leanHeap += f.leanMore
	}
	if f.kind == list {
		n.slot = c.lists
		c.lists++
	}
	if f.elem != nil {
		elem := c.shape(f.elem, c.flexible && !f.bare)
		n.elem = &elem
	}
	return n
}

func (s *shape) add(n node) {
	if last := len(s.nodes) - 1; n.kind == fixed && last >= 0 && s.nodes[last].kind == fixed {
		s.nodes[last].width += n.width
		s.nodes[last].name += ", " + n.name
		return
	}
	s.nodes = append(s.nodes, n)
}

// measure finds the fewest bytes that the shape takes: what an array's count
// is checked against before its elements are looked at.
func (s *shape) measure() {
	s.min, s.constant = 0, !s.tagged
	if s.tagged {
		s.min = 1
	}
	for _, n := range s.nodes {
		s.min += n.min(s.flexible)
		s.constant = s.constant && n.kind == fixed
	}
}

func (n node) min(flexible bool) int {
	switch {
	case n.kind == fixed:
		return n.width
	case n.kind == group && !n.nullable:
		return n.elem.min
	case flexible || n.kind == group:
		return 1
	case n.kind == text:
		return 2
	default:
		return 4
	}
}
