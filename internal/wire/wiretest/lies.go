package wiretest

import (
	"encoding/binary"

	"millrace/internal/wire"
)

// lie changes one prefix of the wanted kind, or reports that the frame has none.
func (m *Mutator) lie(s *sample, mutation Mutation) bool {
	mark, ok := m.pick(s, mutation)
	if !ok {
		return false
	}
	if mutation == TagLie && m.rng.IntN(2) == 0 {
		m.insertTags(mark)
		return true
	}
	m.replacePrefix(mark)
	return true
}

// pick chooses a mark of the kind that the mutation lies about: the first one
// from a random place on.
func (m *Mutator) pick(s *sample, mutation Mutation) (wire.Mark, bool) {
	if len(s.marks) == 0 {
		return wire.Mark{}, false
	}
	start := m.rng.IntN(len(s.marks))
	for i := range s.marks {
		mark := s.marks[(start+i)%len(s.marks)]
		if liesAbout(mutation, mark.Kind) {
			return mark, true
		}
	}
	return wire.Mark{}, false
}

func liesAbout(mutation Mutation, kind wire.MarkKind) bool {
	switch kind {
	case wire.MarkCount:
		return mutation == CountLie
	case wire.MarkTags:
		return mutation == TagLie
	default:
		return mutation == LengthLie
	}
}

// replacePrefix writes another number over a length or count.
func (m *Mutator) replacePrefix(mark wire.Mark) {
	at := m.buf[mark.Offset:]
	switch mark.Width {
	case 2:
		binary.BigEndian.PutUint16(at, uint16(m.extreme(int64(int16(binary.BigEndian.Uint16(at))))))
	case 4:
		binary.BigEndian.PutUint32(at, uint32(m.extreme(int64(int32(binary.BigEndian.Uint32(at))))))
	default:
		v, size := binary.Uvarint(at)
		m.replace(mark.Offset, size, binary.AppendUvarint(nil, uint64(uint32(m.extreme(int64(v))))))
	}
}

// insertTags puts unknown tags into a section: a few, or many, or one whose
// size goes beyond the frame.
func (m *Mutator) insertTags(mark wire.Mark) {
	count, size := binary.Uvarint(m.buf[mark.Offset:])
	extra := uint64(1 + m.rng.IntN(4))
	if m.rng.IntN(8) == 0 {
		extra = uint64(m.rng.IntN(500))
	}
	section := binary.AppendUvarint(nil, count+extra)
	for range extra {
		section = binary.AppendUvarint(section, uint64(m.rng.Uint32N(1<<20)))
		section = append(section, 0)
	}
	if m.rng.IntN(4) == 0 && extra > 0 {
		section[len(section)-1] = byte(m.rng.Uint32())
	}
	m.replace(mark.Offset, size, section)
}

// lieInHeader changes key, version, or the client ID's length.
func (m *Mutator) lieInHeader() {
	at := prefixSize + 2*m.rng.IntN(2)
	if m.rng.IntN(3) == 0 {
		at = clientIDAt
	}
	field := m.buf[at:]
	was := int64(int16(binary.BigEndian.Uint16(field)))
	number := m.extreme(was)
	if at < clientIDAt && m.rng.IntN(2) == 0 {
		number = m.rng.Int64N(80)
	}
	binary.BigEndian.PutUint16(field, uint16(number))
}
