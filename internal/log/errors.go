package log

import (
	"errors"
	"fmt"

	"millrace/record"
)

var (
	// ErrOffsetOutOfRange means that the offset lies before the log start or
	// behind the end of the log.
	ErrOffsetOutOfRange = errors.New("log: offset out of range")

	// ErrOutOfOrderSequence means that batches of an idempotent producer are
	// missing before this one. The producer may send the missing ones and retry.
	ErrOutOfOrderSequence = errors.New("log: out of order sequence number")

	// ErrDuplicateSequence means that the batch was appended before, so long ago
	// that its offset is no longer known (rule P3 keeps five).
	ErrDuplicateSequence = errors.New("log: duplicate sequence number")

	// ErrStaleEpoch means that a newer epoch of the same producer has written.
	ErrStaleEpoch = errors.New("log: producer epoch is stale")

	// ErrTxnNotVerified means that a transactional batch begins a transaction of
	// which the coordinator has not said that this partition is part.
	ErrTxnNotVerified = errors.New("log: transaction is not verified")

	// ErrTxnState means that a producer with an open transaction sent a batch that
	// is not part of it.
	ErrTxnState = errors.New("log: batch does not fit the producer's transaction")

	// ErrCoordinatorFenced means that a newer transaction coordinator has written.
	ErrCoordinatorFenced = errors.New("log: transaction coordinator is fenced")

	// ErrControl means that a control batch was given to Append: only AppendMarker
	// makes them.
	ErrControl = errors.New("log: control batches are the broker's own")

	// ErrTooLarge means that one batch exceeds Config.MaxMessageBytes.
	ErrTooLarge = errors.New("log: batch is too large")

	// ErrNoKey means that a record of a compacted topic has no key, or cannot be read.
	ErrNoKey = errors.New("log: a record of a compacted topic needs a key")

	// ErrTimestamp means that a timestamp lies outside the topic's bounds, or that
	// a producer set the broker's log-append-time bit.
	ErrTimestamp = errors.New("log: timestamp is not acceptable")

	// ErrNoSpace means that the disk is full or nearly so. Nothing was appended;
	// the same append works once there is space again.
	ErrNoSpace = errors.New("log: no space left")

	// ErrFailed means that a write or a sync of this partition failed in a way
	// that leaves unknown what is on disk. It is final until the store is opened
	// again: after a failed sync a later success proves nothing (Rebello et al.,
	// USENIX ATC'20). Records below the high watermark stay readable.
	ErrFailed = errors.New("log: partition failed, restart to recover it")

	// ErrClosed means that the store was closed.
	ErrClosed = errors.New("log: closed")

	// ErrDeleted means that the partition was deleted.
	ErrDeleted = errors.New("log: deleted")

	// ErrExists means that Create was asked for a partition that is there.
	ErrExists = errors.New("log: partition exists")

	// ErrLocked means that another process works on the data directory.
	ErrLocked = errors.New("log: data directory is in use")

	// ErrCopied means that the data directory is a copy of another one.
	ErrCopied = errors.New("log: data directory is a copy")
)

// CorruptError says that stored bytes are not those that were written. The
// records from Offset up to Next cannot be read; those before and behind can.
type CorruptError struct {
	TP       record.TopicPartition
	Offset   record.Offset // first record that is lost
	Next     record.Offset // first record behind the damage
	Segment  record.Offset // base offset of the segment: names its file
	Position int64         // of the damage in that file, bytes
	Reason   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("log: %s is damaged at offset %d (%s/%s, byte %d): %s; reading can go on from offset %d",
		e.TP, e.Offset, e.TP, fileName(e.Segment, dataFile), e.Position, e.Reason, e.Next)
}
