package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// Columns is what one partition handed over, in offset order: column i of each
// slice belongs to one record. The columns are valid until the next Poll; the
// bytes they point to belong to the garbage collector and never change.
type Columns struct {
	record.TopicPartition
	Offsets    []record.Offset
	Timestamps []record.Timestamp
	Keys       [][]byte
	Values     [][]byte
	Headers    [][]record.Header // nil when no record has any

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
	*c = Columns{
		TopicPartition: tp,
		Offsets:        c.Offsets[:0],
		Timestamps:     c.Timestamps[:0],
		Keys:           c.Keys[:0],
		Values:         c.Values[:0],
		LeaderEpoch:    -1,
	}
}

func (c *Columns) add(offset record.Offset, at record.Timestamp, key, value []byte) {
	c.Offsets = append(c.Offsets, offset)
	c.Timestamps = append(c.Timestamps, at)
	c.Keys = append(c.Keys, key)
	c.Values = append(c.Values, value)
}

// addHeaders sets those of the record that was added last.
func (c *Columns) addHeaders(headers []record.Header) {
	for len(c.Headers) < len(c.Offsets)-1 {
		c.Headers = append(c.Headers, nil)
	}
	c.Headers = append(c.Headers, headers)
}

// padHeaders gives the column its length when any record had headers.
func (c *Columns) padHeaders() {
	for c.Headers != nil && len(c.Headers) < len(c.Offsets) {
		c.Headers = append(c.Headers, nil)
	}
}

// Poll waits until there are records, an event, Wake, or until wait is over, and
// returns what was fetched, at most limit records. Nothing at all is no error.
// Columns and an error may come together: the error is about another partition.
//
// The faults of partitions: *[PositionError] when the log no longer holds the
// position, [UnknownTopicError] when the topic was deleted or created anew,
// [CorruptError] when the broker cannot serve what it has stored.
func (s *Session) Poll(ctx context.Context, wait time.Duration, limit int) ([]Columns, error) {
	polling, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if !s.arm(cancel) {
		return nil, nil
	}
	fetches := s.group.PollRecords(polling, limit)
	s.disarm()
	if fetches.IsClientClosed() {
		return nil, kgo.ErrClientClosed
	}
	var faults []error
	used := 0
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := record.TopicPartition{Topic: record.Topic(p.Topic), Partition: record.Partition(p.Partition)}
		if err := s.fault(tp, p.Err); err != nil {
			faults = append(faults, err)
		}
		if len(p.Records) == 0 {
			return
		}
		if used == len(s.columns) {
			s.columns = append(s.columns, Columns{})
		}
		s.columns[used].fill(tp, &p.FetchPartition)
		used++
	})
	return s.columns[:used], errors.Join(faults...)
}

// arm makes cancel what Wake calls, unless it was called already.
func (s *Session) arm(cancel context.CancelFunc) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.woken {
		s.mu.woken = false
		return false
	}
	s.mu.wake = cancel
	return true
}

func (s *Session) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.wake, s.mu.woken = nil, false
}

func (c *Columns) fill(tp record.TopicPartition, p *kgo.FetchPartition) {
	c.reset(tp)
	for _, r := range p.Records {
		if r.Attrs.IsControl() {
			continue
		}
		c.add(record.Offset(r.Offset), record.Timestamp(r.Timestamp.UnixMilli()), r.Key, r.Value)
		if len(r.Headers) > 0 {
			headers := make([]record.Header, len(r.Headers))
			for i, h := range r.Headers {
				headers[i] = record.Header(h)
			}
			c.addHeaders(headers)
		}
	}
	c.padHeaders()
	last := p.Records[len(p.Records)-1]
	c.Next, c.LeaderEpoch = record.Offset(last.Offset+1), last.LeaderEpoch
	c.Stable, c.HighWatermark = record.Offset(p.LastStableOffset), record.Offset(p.HighWatermark)
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
		return CorruptError{TopicPartition: tp}
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
