package wire

import "strings"

func flexibleAt(key, version int16) bool { return byKey[key].flexibleAt(version) }

// encoder appends a response body.
type encoder struct {
	dst      []byte
	flexible bool
}

func (e *encoder) i16(v int16) { e.dst = appendInt16(e.dst, v) }
func (e *encoder) i32(v int32) { e.dst = appendInt32(e.dst, v) }
func (e *encoder) i64(v int64) { e.dst = appendInt64(e.dst, v) }

// count starts an array, or bytes, of n elements.
func (e *encoder) count(n int) {
	if e.flexible {
		e.dst = appendUvarint(e.dst, uint32(n)+1)
		return
	}
	e.i32(int32(n))
}

func (e *encoder) text(s []byte) {
	e.textLength(len(s))
	e.dst = append(e.dst, s...)
}

func (e *encoder) textLength(n int) {
	if e.flexible {
		e.dst = appendUvarint(e.dst, uint32(n)+1)
		return
	}
	e.i16(int16(n))
}

// maxMessage keeps an error message below what a 16-bit length can hold.
const maxMessage = 1 << 10

// message is an error text; an empty one is null.
func (e *encoder) message(s string) {
	if s == "" {
		e.textLength(-1)
		return
	}
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "")
	}
	e.textLength(len(s))
	e.dst = append(e.dst, s...)
}

func (e *encoder) noTags() {
	if e.flexible {
		e.dst = append(e.dst, 0)
	}
}

// topicNames keeps the names or IDs of a request's topics, and how many
// partitions of each were asked for, apart from the request's frame.
type topicNames struct {
	bytes   []byte
	entries []topicName
}

type topicName struct {
	from, to   int  // in bytes
	isID       bool // the bytes are an ID
	partitions int
}

func (t *topicNames) reset() {
	t.bytes, t.entries = emptied(t.bytes), emptied(t.entries)
}

// add keeps one topic's name, or its ID unless that is nil.
func (t *topicNames) add(name []byte, id *TopicID, partitions int) {
	from := len(t.bytes)
	if id != nil {
		name = id[:]
	}
	t.bytes = append(t.bytes, name...)
	t.entries = append(t.entries, topicName{from: from, to: len(t.bytes), isID: id != nil, partitions: partitions})
}

// encode writes the name or ID of the ith topic and returns its partitions.
func (t *topicNames) encode(e *encoder, i int) (partitions int) {
	topic := t.entries[i]
	name := t.bytes[topic.from:topic.to]
	if topic.isID {
		e.dst = append(e.dst, name...)
	} else {
		e.text(name)
	}
	return topic.partitions
}
