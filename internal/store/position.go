package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"millrace/record"
)

// Position says which part of a changelog the entries of a [Part] reflect. The
// zero value is the position of an empty part.
type Position struct {
	// Next is the changelog offset to go on at.
	Next record.Offset
	// TopicID is the changelog topic's, so that a topic of the same name that
	// was created anew is not taken for it; zero when the cluster has no ids.
	TopicID [16]byte
	// LeaderEpoch is that of the last applied record; -1 when not known.
	LeaderEpoch int32
	// AppliedAt is when the entries were last known to be up to date.
	// Tombstones vanish from a changelog after delete.retention.ms: an older
	// copy could revive deleted keys.
	AppliedAt time.Time
	// Commit is the task's last commit record, in the engine's encoding.
	Commit []byte
}

// A stored position, big endian:
//
//	0         1       9           25             29           37
//	| version | next  | topic id  | leader epoch | applied ms | commit…
const (
	positionVersion = 1
	positionFixed   = 37
)

func (p Position) append(b []byte) []byte {
	b = append(b, positionVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.Next))
	b = append(b, p.TopicID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(p.LeaderEpoch))
	b = binary.BigEndian.AppendUint64(b, uint64(p.AppliedAt.UnixMilli()))
	return append(b, p.Commit...)
}

func decodePosition(b []byte) (Position, error) {
	if len(b) < positionFixed || b[0] != positionVersion {
		return Position{}, fmt.Errorf("a position of %d bytes and version %d is not one of ours", len(b), append(b, 0)[0])
	}
	p := Position{
		Next:        record.Offset(binary.BigEndian.Uint64(b[1:])),
		LeaderEpoch: int32(binary.BigEndian.Uint32(b[25:])),
		AppliedAt:   time.UnixMilli(int64(binary.BigEndian.Uint64(b[29:]))),
		Commit:      append([]byte(nil), b[positionFixed:]...),
	}
	copy(p.TopicID[:], b[9:])
	if p.Next < 0 {
		return Position{}, fmt.Errorf("a position names the offset %d", p.Next)
	}
	return p, nil
}

// Position is the one that was flushed last. ok is false when there is none:
// then the part is empty. *[DamageError] when it cannot be read.
func (p *Part) Position() (position Position, ok bool, err error) {
	stored, closer, err := p.db.Get(p.position)
	if errors.Is(err, pebble.ErrNotFound) {
		return Position{}, false, nil
	}
	if err != nil {
		return Position{}, false, p.readError(err)
	}
	position, err = decodePosition(stored)
	if err := errors.Join(err, closer.Close()); err != nil {
		return Position{}, false, &DamageError{Store: p.name, Partition: p.partition, Err: err}
	}
	return position, true, nil
}
