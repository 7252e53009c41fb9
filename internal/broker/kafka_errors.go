package broker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/auth"
	"millrace/internal/batch"
	"millrace/internal/log"
)

// refusal is an error with the Kafka code that says it to a client.
type refusal struct {
	code *kerr.Error
	text string // what, where and how to fix it; for APIs that can carry words
}

func (r *refusal) Error() string { return r.text }

func refused(code *kerr.Error, text string) error { return &refusal{code: code, text: text} }

// refusedBy is refused with the words of err.
func refusedBy(code *kerr.Error, err error) error { return &refusal{code: code, text: err.Error()} }

type kafkaCode struct {
	err  error
	code *kerr.Error
}

// kafkaCodes says in Kafka's terms what the lower floors report in their own.
// The first match counts.
var kafkaCodes = []kafkaCode{
	{log.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{log.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{log.ErrDuplicateSequence, kerr.DuplicateSequenceNumber},
	{log.ErrStaleEpoch, kerr.InvalidProducerEpoch},
	{log.ErrTxnNotVerified, kerr.InvalidTxnState},
	{log.ErrTxnState, kerr.InvalidTxnState},
	{log.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},
	{log.ErrControl, kerr.InvalidRecord},
	{log.ErrTooLarge, kerr.MessageTooLarge},
	{log.ErrTimestamp, kerr.InvalidTimestamp},
	{log.ErrNoKey, kerr.InvalidRecord},
	{log.ErrNoSpace, kerr.KafkaStorageError}, // clients retry it
	{log.ErrFailed, kerr.KafkaStorageError},
	{log.ErrDeleted, kerr.UnknownTopicOrPartition},
	{log.ErrClosed, kerr.NotLeaderForPartition}, // clients ask for metadata and retry

	{batch.ErrTorn, kerr.CorruptMessage},
	{batch.ErrCorrupt, kerr.CorruptMessage},
	{batch.ErrMagic, kerr.InvalidRecord},
	{batch.ErrInvalid, kerr.InvalidRecord},
	{batch.ErrCodec, kerr.UnsupportedCompressionType},

	{errFencedEpoch, kerr.FencedLeaderEpoch},
	{errUnknownEpoch, kerr.UnknownLeaderEpoch},
	{errTopicExists, kerr.TopicAlreadyExists},
	{errTopicUnknown, kerr.UnknownTopicOrPartition},
	{errTopicIDUnknown, kerr.UnknownTopicID},
	{errTopicRef, kerr.InvalidRequest},
	{errTopicInternal, kerr.InvalidTopicException},
	{errTooManyLogs, kerr.InvalidPartitions},
	{errFewerPartitions, kerr.InvalidPartitions},

	{auth.ErrNoUser, kerr.ResourceNotFound},
	{auth.ErrCredential, kerr.UnacceptableCredential},
	{auth.ErrACL, kerr.InvalidRequest},
	{auth.ErrTooMany, kerr.PolicyViolation},
}

// codeOf is the Kafka error code of err: 0 for nil, KAFKA_STORAGE_ERROR for what
// only the disk can have done.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	var r *refusal
	if errors.As(err, &r) {
		return r.code.Code
	}
	var corrupt *log.CorruptError
	if errors.As(err, &corrupt) {
		return kerr.CorruptMessage.Code
	}
	for _, known := range kafkaCodes {
		if errors.Is(err, known.err) {
			return known.code.Code
		}
	}
	return kerr.KafkaStorageError.Code
}

// textOf is err in words for an answer that has room for them; nil without error.
func textOf(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}
