package broker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/log"
	"millrace/internal/txn"
)

// errIDGone means that the transactional id expired while the request came in.
var errIDGone = refused(kerr.InvalidProducerIDMapping, "the transactional id was not used for so long that it is forgotten")

// txnCodes says in Kafka's terms what is decided about a transaction.
var txnCodes = []kafkaCode{
	{txn.ErrUnknownProducer, kerr.InvalidProducerIDMapping},
	{txn.ErrFenced, kerr.ProducerFenced},
	{txn.ErrConcurrent, kerr.ConcurrentTransactions},
	{txn.ErrState, kerr.InvalidTxnState},
	{txn.ErrNotAdded, kerr.TransactionAbortable},
	{txn.ErrTimeout, kerr.InvalidTransactionTimeout},
}

// txnCodeOf is the Kafka error code of what a request to the coordinator ended
// with. What the disk did is COORDINATOR_NOT_AVAILABLE, as for groups.
func txnCodeOf(err error, knowsFenced bool) int16 {
	if !knowsFenced && errors.Is(err, txn.ErrFenced) {
		return kerr.InvalidProducerEpoch.Code
	}
	for _, known := range txnCodes {
		if errors.Is(err, known.err) {
			return known.code.Code
		}
	}
	return groupCodeOf(err)
}

// stageCodeOf is that of a TxnOffsetCommit, which Kafka checks as it does a
// write to the log.
func stageCodeOf(err error) int16 {
	if errors.Is(err, log.ErrStaleEpoch) {
		return kerr.InvalidProducerEpoch.Code
	}
	if errors.Is(err, txn.ErrNotAdded) {
		return kerr.InvalidTxnState.Code
	}
	return txnCodeOf(err, false)
}

// writeError is why a transactional batch is refused, in the codes that the
// Produce version knows: older clients take CONCURRENT_TRANSACTIONS from a
// partition as final, so they get one that they try again.
func writeError(err error, version int16) error {
	switch {
	case errors.Is(err, txn.ErrFenced):
		return refusedBy(kerr.InvalidProducerEpoch, err)
	case errors.Is(err, txn.ErrUnknownProducer):
		return refusedBy(kerr.InvalidProducerIDMapping, err)
	case errors.Is(err, txn.ErrConcurrent) && version < addsByWriting:
		return refusedBy(kerr.NotEnoughReplicas, err)
	case errors.Is(err, txn.ErrConcurrent):
		return refusedBy(kerr.ConcurrentTransactions, err)
	case errors.Is(err, txn.ErrNotAdded) && version >= knowsAbortable:
		return refusedBy(kerr.TransactionAbortable, err)
	case errors.Is(err, txn.ErrNotAdded):
		return refusedBy(kerr.InvalidTxnState, err)
	}
	return err
}

const (
	// addsByWriting is the first Produce version of transaction.version 2: the
	// write brings its partition into the transaction.
	addsByWriting = 12
	// knowsAbortable is the first Produce version with TRANSACTION_ABORTABLE.
	knowsAbortable = 11
)
