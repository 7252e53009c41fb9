// Package killtest kills a broker with SIGKILL, again and again, under writers
// and committers, and checks after every restart that nothing acknowledged is
// lost, doubled or moved. The checker shares no code with the broker and reads
// through package probe. The two things most callers need are Run and Options.
package killtest

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// label is what every written record says about itself, so that a record found
// anywhere can be judged without any other knowledge.
//
//	0        4        12          16       17            n       n+4
//	| writer | seq    | partition | length | topic ... filler | crc32 |
type label struct {
	Writer    int32
	Seq       int64
	Topic     string
	Partition int32
}

// valueBytes is the size of every record: about that of a click with a header.
const valueBytes = 96

var errLabel = errors.New("not a record of this test, or damaged")

func (l label) encode() []byte {
	b := make([]byte, 0, valueBytes)
	b = binary.BigEndian.AppendUint32(b, uint32(l.Writer))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Seq))
	b = binary.BigEndian.AppendUint32(b, uint32(l.Partition))
	b = append(b, byte(len(l.Topic)))
	b = append(b, l.Topic...)
	for len(b) < valueBytes-4 {
		b = append(b, byte(l.Seq)+byte(len(b)))
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodeLabel(b []byte) (label, error) {
	if len(b) != valueBytes {
		return label{}, errLabel
	}
	body := b[:valueBytes-4]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(b[valueBytes-4:]) {
		return label{}, errLabel
	}
	l := label{
		Writer:    int32(binary.BigEndian.Uint32(b)),
		Seq:       int64(binary.BigEndian.Uint64(b[4:])),
		Partition: int32(binary.BigEndian.Uint32(b[12:])),
	}
	size := int(b[16])
	if 17+size > len(body) {
		return label{}, errLabel
	}
	l.Topic = string(b[17 : 17+size])
	return l, nil
}
