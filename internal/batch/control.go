package batch

import (
	"encoding/binary"
	"fmt"
)

// ControlType is what a control record tells its readers.
type ControlType int16

// The markers that end a transaction. Kafka has more types, for its own metadata
// log; readers skip what they do not know.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// controlKeySize is version and type, the part of the key that every version has.
const controlKeySize = 4

// ParseControl decodes the key of a record in a control batch. Only version 0 is
// defined; a later one may have more bytes behind these two fields. ErrInvalid
// when key is too short or version negative.
func ParseControl(key []byte) (version int16, kind ControlType, err error) {
	if len(key) < controlKeySize {
		return 0, 0, fmt.Errorf("%w: control record key of %d bytes", ErrInvalid, len(key))
	}
	version = int16(binary.BigEndian.Uint16(key))
	if version < 0 {
		return 0, 0, fmt.Errorf("%w: control record of version %d", ErrInvalid, version)
	}
	return version, ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// EndTxn is the record that ends a transaction in one partition, a marker:
//
//	key:   | version int16: 0 | type int16: 0 abort, 1 commit |
//	value: | version int16: 0 | coordinator epoch int32 |
type EndTxn struct {
	Commit           bool
	CoordinatorEpoch int32
}

// endTxnValueSize is version and coordinator epoch. Later versions may have more
// behind them.
const endTxnValueSize = 6

// Encode makes the key and value of the record.
func (m EndTxn) Encode() (key, value []byte) {
	kind := ControlAbort
	if m.Commit {
		kind = ControlCommit
	}
	key = binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(kind))
	value = binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch))
	return key, value
}

// ParseEndTxn decodes a control record. ok is false for one of another type,
// which readers skip; ErrInvalid for a marker that cannot be right.
func ParseEndTxn(key, value []byte) (m EndTxn, ok bool, err error) {
	_, kind, err := ParseControl(key)
	if err != nil || kind != ControlAbort && kind != ControlCommit {
		return EndTxn{}, false, err
	}
	if len(value) < endTxnValueSize {
		return EndTxn{}, false, fmt.Errorf("%w: transaction marker with a value of %d bytes", ErrInvalid, len(value))
	}
	epoch := int32(binary.BigEndian.Uint32(value[2:]))
	return EndTxn{Commit: kind == ControlCommit, CoordinatorEpoch: epoch}, true, nil
}
