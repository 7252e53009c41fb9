package wiretest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
)

// Mutation says what was done to a valid frame.
type Mutation uint8

// The mutations. All but PrefixLie keep the frame's length prefix honest, so a
// reader stays in step and the next frame on the connection is read as one.
const (
	None      Mutation = iota // a valid frame
	Flip                      // one to eight bits, anywhere
	Truncate                  // the end is cut off
	Extend                    // bytes follow the end
	LengthLie                 // of a string, bytes or records
	CountLie                  // of an array
	TagLie                    // of a tag section: count, size, or many unknown tags
	HeaderLie                 // key, version or client ID
	Overwrite                 // two to eight bytes become an extreme number
	Splice                    // a part is replaced by a part of another frame
	PrefixLie                 // the length prefix does not tell the frame's length
	mutations
)

var mutationNames = [...]string{"none", "flip", "truncate", "extend", "length lie", "count lie", "tag lie", "header lie", "overwrite", "splice", "prefix lie"}

// String is the mutation's name for people.
func (m Mutation) String() string {
	if int(m) < len(mutationNames) {
		return mutationNames[m]
	}
	return fmt.Sprintf("mutation %d", uint8(m))
}

// Frame is one made frame.
type Frame struct {
	Bytes    []byte // with the length prefix; valid until the next frame is made
	Key      int16  // of the valid frame that it was made from
	Version  int16
	Mutation Mutation
}

// Mutator makes frames from a seed. The same seed, keys and calls give the same
// frames. It belongs to one goroutine.
type Mutator struct {
	rng     *rand.Rand
	samples []sample
	buf     []byte
	number  int32 // of the frame: its correlation ID
}

// sample is a valid frame and what it is made of.
type sample struct {
	frame        []byte
	key, version int16
	bodyAt       int         // where the body starts in frame
	marks        []wire.Mark // Offset from the frame's start
}

const (
	samplesPerVersion = 16
	clientID          = "wiretest"
	prefixSize        = 4
	clientIDAt        = prefixSize + 8
)

// NewMutator makes frames of the given keys, or of every served key.
func NewMutator(seed uint64, keys ...int16) *Mutator {
	m := &Mutator{rng: rand.New(rand.NewPCG(seed, uint64(len(keys))))}
	m.sample(slices.DeleteFunc(wire.Served(), func(api wire.API) bool { return !wanted(api.Key, keys) }))
	return m
}

// NewKnownMutator makes frames of every kind and version that wire can read,
// also of those that are not served.
func NewKnownMutator(seed uint64) *Mutator {
	m := &Mutator{rng: rand.New(rand.NewPCG(seed, 0))}
	m.sample(wire.Known())
	return m
}

func (m *Mutator) sample(apis []wire.API) {
	for _, api := range apis {
		for v := api.Min; v <= api.Max; v++ {
			for range samplesPerVersion {
				m.samples = append(m.samples, newSample(m.rng, api.Key, v))
			}
		}
	}
}

func wanted(key int16, keys []int16) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return len(keys) == 0
}

func newSample(rng *rand.Rand, key, version int16) sample {
	req := Filled(rng, key, version)
	s := sample{key: key, version: version}
	s.frame = kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, 0)
	s.bodyAt = len(s.frame) - len(req.AppendTo(nil))
	marks, err := wire.Layout(nil, key, version, s.frame[s.bodyAt:])
	if err != nil {
		panic(fmt.Sprintf("wiretest: made a %s v%d that is not valid: %v", wire.Name(key), version, err))
	}
	for i := range marks {
		marks[i].Offset += s.bodyAt
	}
	if req.IsFlexible() { // the header ends with a tag section of its own
		marks = append(marks, wire.Mark{Offset: s.bodyAt - 1, Kind: wire.MarkTags})
	}
	s.marks = marks
	return s
}

// Next makes a frame: one in eight is valid, the others bear one mutation each.
// Its length prefix is honest.
func (m *Mutator) Next() Frame {
	if m.rng.IntN(8) == 0 {
		return m.Make(None)
	}
	return m.Make(Flip + Mutation(m.rng.IntN(int(PrefixLie-Flip))))
}

// Make makes a frame with that mutation. A frame that has nothing of the kind
// to lie about gets a flipped bit instead, and says so.
func (m *Mutator) Make(mutation Mutation) Frame {
	s := &m.samples[m.rng.IntN(len(m.samples))]
	m.buf = append(m.buf[:0], s.frame...)
	m.number++
	binary.BigEndian.PutUint32(m.buf[prefixSize+4:], uint32(m.number))
	done := m.apply(s, mutation)
	if done != PrefixLie {
		binary.BigEndian.PutUint32(m.buf, uint32(len(m.buf)-prefixSize))
	}
	return Frame{Bytes: m.buf, Key: s.key, Version: s.version, Mutation: done}
}

// apply changes m.buf and says which mutation it became.
func (m *Mutator) apply(s *sample, mutation Mutation) Mutation {
	switch mutation {
	case None:
		return None
	case Truncate:
		m.buf = m.buf[:prefixSize+m.rng.IntN(len(m.buf)-prefixSize)]
	case Extend:
		m.extend()
	case LengthLie, CountLie, TagLie:
		if !m.lie(s, mutation) {
			return m.flip()
		}
	case HeaderLie:
		m.lieInHeader()
	case Overwrite:
		m.overwrite()
	case Splice:
		m.splice()
	case PrefixLie:
		m.liePrefix()
	default:
		return m.flip()
	}
	return mutation
}

func (m *Mutator) flip() Mutation {
	for range 1 + m.rng.IntN(8) {
		at := prefixSize + m.rng.IntN(len(m.buf)-prefixSize)
		m.buf[at] ^= 1 << m.rng.IntN(8)
	}
	return Flip
}

func (m *Mutator) extend() {
	for range 1 + m.rng.IntN(16) {
		m.buf = append(m.buf, byte(m.rng.Uint32()))
	}
}

func (m *Mutator) overwrite() {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(m.extreme(0)))
	width := 2 << m.rng.IntN(3)
	at := prefixSize + m.rng.IntN(len(m.buf)-prefixSize)
	copy(m.buf[at:], number[8-width:])
}

// splice puts a part of another frame where a part of this one was.
func (m *Mutator) splice() {
	other := m.samples[m.rng.IntN(len(m.samples))].frame
	from := prefixSize + m.rng.IntN(len(other)-prefixSize)
	part := other[from : from+m.rng.IntN(len(other)-from)]
	at := prefixSize + m.rng.IntN(len(m.buf)-prefixSize)
	m.replace(at, m.rng.IntN(len(m.buf)-at), part)
}

func (m *Mutator) liePrefix() {
	binary.BigEndian.PutUint32(m.buf, uint32(m.extreme(int64(len(m.buf)-prefixSize))))
}

// extreme is a number at which readers go wrong, or one near the true value.
func (m *Mutator) extreme(true int64) int64 {
	numbers := [...]int64{
		0, -1, -2, 1, true + 1, true - 1, true * 2, 127, 128, 255, 256, 1 << 14, 32767, 32768, 65535,
		100_000, 5_000_000, 1 << 24, 1<<31 - 1, -1 << 31, 1<<32 - 1, 1<<63 - 1, -1 << 63,
	}
	return numbers[m.rng.IntN(len(numbers))]
}

// replace puts part in the place of size bytes at at.
func (m *Mutator) replace(at, size int, part []byte) {
	tail := len(m.buf) - at - size
	if grow := len(part) - size; grow > 0 {
		for range grow {
			m.buf = append(m.buf, 0)
		}
	}
	copy(m.buf[at+len(part):], m.buf[at+size:at+size+tail])
	copy(m.buf[at:], part)
	m.buf = m.buf[:at+len(part)+tail]
}
