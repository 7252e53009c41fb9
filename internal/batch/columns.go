package batch

import (
	"slices"

	"millrace/record"
)

// Columns are records taken apart, so that a reader touches only what it needs:
// element i of each slice belongs to one record.
type Columns struct {
	Offsets    []record.Offset
	Timestamps []record.Timestamp
	Keys       [][]byte // a nil element is Kafka's null
	Values     [][]byte
	Headers    [][]record.Header // nil when no record has any
}

// Reset drops the records and keeps the room.
func (c *Columns) Reset() {
	c.Offsets, c.Timestamps = c.Offsets[:0], c.Timestamps[:0]
	c.Keys, c.Values, c.Headers = c.Keys[:0], c.Values[:0], nil
}

// Slice is the records from to end, end not included, in the same memory.
func (c *Columns) Slice(from, end int) Columns {
	s := Columns{Offsets: c.Offsets[from:end], Timestamps: c.Timestamps[from:end], Keys: c.Keys[from:end], Values: c.Values[from:end]}
	if c.Headers != nil {
		s.Headers = c.Headers[from:end]
	}
	return s
}

// Truncate drops all but the first n records.
func (c *Columns) Truncate(n int) {
	c.cut(n)
	if c.Headers != nil {
		c.Headers = c.Headers[:n]
	}
}

// room is the columns with n more elements, to be filled.
func (c *Columns) room(n int) Columns {
	size := len(c.Offsets) + n
	return Columns{
		Offsets:    slices.Grow(c.Offsets, n)[:size],
		Timestamps: slices.Grow(c.Timestamps, n)[:size],
		Keys:       slices.Grow(c.Keys, n)[:size],
		Values:     slices.Grow(c.Values, n)[:size],
		Headers:    c.Headers,
	}
}

func (c *Columns) cut(n int) {
	c.Offsets, c.Timestamps, c.Keys, c.Values = c.Offsets[:n], c.Timestamps[:n], c.Keys[:n], c.Values[:n]
	for c.Headers != nil && len(c.Headers) < n {
		c.Headers = append(c.Headers, nil)
	}
}

// setHeaders gives headers to record i; those before it that have none get nil.
func (c *Columns) setHeaders(i int, headers []record.Header) {
	for len(c.Headers) < i {
		c.Headers = append(c.Headers, nil)
	}
	c.Headers = append(c.Headers, headers)
}

// AppendTo appends the records to come whose offset is not below from, as Next
// would find them. Keys, values and headers point to where the batch's bytes
// lie. After an error, that of Err, c holds the records before the fault.
func (it *Iterator) AppendTo(c *Columns, from record.Offset) error {
	n := len(c.Offsets)
	*c = c.room(int(it.left))
	offsets, timestamps, keys, values := c.Offsets, c.Timestamps, c.Keys, c.Values
	for v := &it.view; it.Next(); {
		if v.Offset < from {
			continue
		}
		offsets[n], timestamps[n] = v.Offset, v.Timestamp
		keys[n], values[n] = v.Key, v.Value
		if v.headerCount > 0 {
			c.setHeaders(n, v.headerSlice())
		}
		n++
	}
	c.cut(n)
	return it.err
}

func (v *View) headerSlice() []record.Header {
	headers := make([]record.Header, 0, v.headerCount)
	for key, value := range v.Headers() {
		headers = append(headers, record.Header{Key: string(key), Value: value})
	}
	return headers
}
