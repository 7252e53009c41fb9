package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// Sentinels for decisions. The text of the brokers' own message, where they
// sent one, is in the error that wraps the sentinel.
var (
	ErrUnreachable   = errors.New("no broker could be reached")
	ErrNotAuthorized = errors.New("the cluster refused this client")
	// ErrForbidden is an ErrNotAuthorized of a client who is known: ACLs forbid it.
	ErrForbidden = fmt.Errorf("%w: its user may not do this", ErrNotAuthorized)
	ErrRefused   = errors.New("the cluster refused the request")
	// ErrUntrusted means that the broker's certificate is not accepted.
	ErrUntrusted = errors.New("the broker's certificate is not accepted")
	// ErrHungUp means that the broker closes the connection at the first request:
	// so do those that ask for a login or for TLS.
	ErrHungUp      = errors.New("the broker closes the connection")
	ErrTopicExists = errors.New("the topic exists already")
	ErrGroupInUse  = errors.New("the group has active members")
	// ErrTimedOut means that a record was tried for Config.DeliveryTimeout.
	// Whether it is stored is unknown.
	ErrTimedOut = errors.New("no acknowledgement within the delivery timeout")
)

// UnknownTopicError names a topic that the cluster does not have.
type UnknownTopicError struct {
	Topic   record.Topic
	Nearest record.Topic // an existing name that is spelled much alike, or empty
}

func (e UnknownTopicError) Error() string {
	return fmt.Sprintf("topic %q does not exist", string(e.Topic)) + didYouMean(string(e.Nearest))
}

// UnknownGroupError names a consumer group that the cluster does not have.
type UnknownGroupError struct {
	Group   string
	Nearest string // an existing name that is spelled much alike, or empty
}

func (e UnknownGroupError) Error() string {
	return fmt.Sprintf("consumer group %q does not exist", e.Group) + didYouMean(e.Nearest)
}

func didYouMean(nearest string) string {
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(". Did you mean %q?", nearest)
}

// PositionError says that a partition's log no longer holds the offset that
// was to be read next: its end went back (the topic was deleted and created
// anew, or data was lost), or its start went past it (retention, DeleteRecords).
type PositionError struct {
	record.TopicPartition
	Wanted record.Offset
	Err    error
}

func (e *PositionError) Error() string {
	return fmt.Sprintf("%s: offset %d is no longer in the log: %v", e.TopicPartition, e.Wanted, e.Err)
}

func (e *PositionError) Unwrap() error { return e.Err }

// CorruptError says that the broker will not serve the records at a partition's
// position, because what it has stored there is damaged. The damage is at Offset,
// or behind it in the same batch or answer.
type CorruptError struct {
	record.TopicPartition
	Offset record.Offset // that was to be read next; -1: not known
}

func (e CorruptError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: the broker reports damaged records at the position", e.TopicPartition)
	}
	return fmt.Sprintf("%s: the broker reports damaged records from offset %d on", e.TopicPartition, e.Offset)
}

// translate turns what franz-go and the brokers say into this room's sentinels.
func translate(err error, brokers []string) error {
	if err == nil {
		return nil
	}
	var dial *net.OpError
	var firstRead *kgo.ErrFirstReadEOF
	switch {
	case untrusted(err):
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	case isAny(err, kgo.ErrRecordTimeout, kgo.ErrRecordRetries):
		return fmt.Errorf("%w: %w", ErrTimedOut, err)
	case errors.As(err, &firstRead):
		return fmt.Errorf("%w at %v: %w", ErrHungUp, brokers, err)
	case errors.As(err, &dial), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w at %v: %w", ErrUnreachable, brokers, err)
	case isAny(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("%w: %w", ErrTopicExists, err)
	case isAny(err, kerr.NonEmptyGroup, kerr.GroupSubscribedToTopic):
		return fmt.Errorf("%w: %w", ErrGroupInUse, err)
	case isAny(err, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	case isAny(err, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("%w: %w", ErrNotAuthorized, err)
	case isAny(err, kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidConfig,
		kerr.PolicyViolation, kerr.InvalidRequest, kerr.UnsupportedVersion, kerr.MessageTooLarge, kerr.TopicDeletionDisabled, kerr.SecurityDisabled, kerr.UnacceptableCredential):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var other tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &other)
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
