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
