package wire

import "encoding/binary"

// cursor reads a body that walker has accepted. It does not check again: a read
// beyond the end would be our own broken invariant, and panics.
type cursor struct {
	buf      []byte
	pos      int
	flexible bool
}

func (c *cursor) i8() int8 {
	v := int8(c.buf[c.pos])
	c.pos++
	return v
}

func (c *cursor) i16() int16 {
	v := binary.BigEndian.Uint16(c.buf[c.pos:])
	c.pos += 2
	return int16(v)
}

func (c *cursor) i32() int32 {
	v := binary.BigEndian.Uint32(c.buf[c.pos:])
	c.pos += 4
	return int32(v)
}

func (c *cursor) i64() int64 {
	v := binary.BigEndian.Uint64(c.buf[c.pos:])
	c.pos += 8
	return int64(v)
}

func (c *cursor) boolean() bool { return c.i8() != 0 }

func (c *cursor) uvarint() uint32 {
	v, size := uvarint(c.buf[c.pos:])
	c.pos += size
	return v
}

// text is a string as a slice of the frame; nil is null.
func (c *cursor) text() []byte {
	if c.flexible {
		return c.take(int(c.uvarint()) - 1)
	}
	return c.take(int(c.i16()))
}

// topic is a topic's name, or its ID as a part of the frame.
func (c *cursor) topic(byID bool) ([]byte, *TopicID) {
	if byID {
		return nil, c.uuid()
	}
	return c.text(), nil
}

func (c *cursor) uuid() *TopicID { return (*TopicID)(c.take(len(TopicID{}))) }

// blob is bytes or records as a slice of the frame; nil is null.
func (c *cursor) blob() []byte { return c.take(c.count()) }

// count is the number of elements of an array; -1 is null.
func (c *cursor) count() int {
	if c.flexible {
		return int(c.uvarint()) - 1
	}
	return int(c.i32())
}

func (c *cursor) take(size int) []byte {
	if size < 0 {
		return nil
	}
	b := c.buf[c.pos : c.pos+size : c.pos+size]
	c.pos += size
	return b
}

// skipTags passes a tag section, which only flexible versions have.
func (c *cursor) skipTags() {
	if !c.flexible {
		return
	}
	for range c.uvarint() {
		c.uvarint()
		c.take(int(c.uvarint()))
	}
}
