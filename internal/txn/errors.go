package txn

import "errors"

// The decisions about a request. The broker gives each its Kafka error code.
var (
	// ErrUnknownProducer means that the producer id is not that of the
	// transactional id.
	ErrUnknownProducer = errors.New("txn: the producer id does not belong to the transactional id")
	// ErrFenced means that the epoch is not the present one: another producer has
	// taken the transactional id over, or the transaction has timed out.
	ErrFenced = errors.New("txn: the producer was fenced by a newer epoch")
	// ErrConcurrent means that the markers of a decided transaction are still being
	// written. The same request works afterwards.
	ErrConcurrent = errors.New("txn: the previous transaction is still being completed")
	// ErrState means that the request does not fit the state: an end without a
	// transaction, or the opposite of what was decided.
	ErrState = errors.New("txn: the request does not fit the state of the transaction")
	// ErrNotAdded means that the partition does not belong to the transaction, which
	// must be aborted.
	ErrNotAdded = errors.New("txn: the partition was not added to the transaction")
	// ErrTimeout means that the transaction timeout is out of bounds.
	ErrTimeout = errors.New("txn: the transaction timeout is out of bounds")
)
