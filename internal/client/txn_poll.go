package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/batch"
	"millrace/record"
)

// Columns is what one partition handed over, in offset order. The columns are
// valid until the next Poll; the bytes they point to belong to the garbage
// collector and never change.
type Columns struct {
	record.TopicPartition
	batch.Columns

	// Next is the offset behind the last record, markers included.
	Next        record.Offset
	LeaderEpoch int32 // of the last record
	// Stable is the last stable offset, HighWatermark the end of the log, both
	// as of the fetch.
	Stable        record.Offset
	HighWatermark record.Offset
}

// AtEnd reports whether the partition was read to its last stable offset.
func (c *Columns) AtEnd() bool { return c.Next >= c.Stable }

func (c *Columns) reset(tp record.TopicPartition) {
	c.Columns.Reset()
	*c = Columns{TopicPartition: tp, Columns: c.Columns, LeaderEpoch: -1}
}

// Poll waits until there are records, an event, Wake, or until wait is over, and
// returns what was fetched, at most limit records. Nothing at all is no error.
// Columns and an error may come together: the error is about another partition.
//
// The faults of partitions: *[PositionError] when the log no longer holds the
// position, [UnknownTopicError] when the topic was deleted or created anew,
// [CorruptError] when the broker cannot serve what it has stored.
func (s *Session) Poll(ctx context.Context, wait time.Duration, limit int) ([]Columns, error) {
	select {
	case <-s.woken:
		return nil, nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		faults := s.groupFaults()
		var more []error
		s.columns, more = s.fetcher.take(s.columns[:0], limit)
		if faults = append(faults, more...); len(s.columns) > 0 || len(faults) > 0 {
			return s.columns, errors.Join(faults...)
		}
		select {
		case <-s.fetcher.ready:
		case <-s.woken:
			return nil, nil
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, nil
		case <-s.fetcher.life.Done():
			return nil, kgo.ErrClientClosed
		}
	}
}

// groupFaults are what franz-go says of the group: it reads no partition.
func (s *Session) groupFaults() []error {
	var faults []error
	if s.forgotten.Load() {
		faults = append(faults, fmt.Errorf("consumer group %q: %w", s.session.Group, kerr.UnknownMemberID))
	}
	var atOnce context.Context // nil: franz-go then does not wait
	s.client.PollFetches(atOnce).EachError(func(topic string, partition int32, err error) {
		tp := record.TopicPartition{Topic: record.Topic(topic), Partition: record.Partition(partition)}
		if err := s.fault(tp, err); err != nil {
			faults = append(faults, err)
		}
	})
	return faults
}

// fault is what the caller must know of a partition's error; nil for those that
// franz-go mends by itself, and for the end of the poll's context.
func (s *Session) fault(tp record.TopicPartition, err error) error {
	if lost, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
		return &PositionError{TopicPartition: tp, Wanted: record.Offset(lost.ConsumedTo), Err: err}
	}
	switch {
	case err == nil, isAny(err, context.Canceled, context.DeadlineExceeded):
		return nil
	case isAny(err, kerr.OffsetOutOfRange):
		return &PositionError{TopicPartition: tp, Wanted: -1, Err: err}
	case isAny(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID):
		return UnknownTopicError{Topic: tp.Topic}
	case isAny(err, kerr.CorruptMessage):
		return CorruptError{TopicPartition: tp, Offset: -1}
	case kerr.IsRetriable(err):
		return nil
	}
	if group, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
		if refused, answered := errors.AsType[*kerr.Error](group.Err); !answered || refused.Retriable || isAny(group.Err, kerr.UnknownMemberID, kerr.IllegalGeneration) {
			return nil // franz-go joins again by itself
		}
		return fmt.Errorf("consumer group %q: %w", s.session.Group, s.translate(group.Err))
	}
	return fmt.Errorf("read %s: %w", tp, s.translate(err))
}
