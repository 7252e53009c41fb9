package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// Sender sends records into the open transaction, for one goroutine. A session
// may have several.
type Sender struct {
	session *Session
	slab    []kgo.Record // records to hand out; one allocation for many
	now     time.Time    // as of the slab: for records without a time
}

// NewSender makes a sender.
func (s *Session) NewSender() *Sender { return &Sender{session: s} }

const slabRecords = 256

// Lane is the way of one sender to one partition.
type Lane struct {
	sender    *Sender
	topic     string
	partition int32
	settled   func(*kgo.Record, error)
	next      atomic.Int64 // behind the last acknowledged record
}

// Lane makes a lane; a caller that sends more than once keeps it.
func (s *Sender) Lane(tp record.TopicPartition) *Lane {
	l := &Lane{sender: s, topic: string(tp.Topic), partition: int32(tp.Partition)}
	l.settled = func(r *kgo.Record, err error) {
		if err != nil {
			s.session.fail(tp, err)
			return
		}
		l.next.Store(r.Offset + 1)
	}
	return l
}

// Send hands a record over. It waits only while Config.BufferBytes are on their
// way. Key, value and headers must not change any more. What becomes of the
// record, Commit tells.
func (l *Lane) Send(key, value []byte, at record.Timestamp, headers []record.Header) {
	s := l.sender
	if len(s.slab) == 0 {
		s.slab, s.now = make([]kgo.Record, slabRecords), time.Now()
	}
	r := &s.slab[0]
	s.slab = s.slab[1:]
	r.Topic, r.Partition, r.Key, r.Value = l.topic, l.partition, key, value
	if r.Timestamp = s.now; at >= 0 {
		r.Timestamp = at.Time()
	}
	if len(headers) > 0 {
		r.Headers = make([]kgo.RecordHeader, len(headers))
		for i, h := range headers {
			r.Headers[i] = kgo.RecordHeader(h)
		}
	}
	s.session.client.Produce(s.session.sending, r, l.settled)
}

// Next is the offset behind the lane's last acknowledged record, or 0 before
// the first one; after Flush it covers all that were sent.
func (l *Lane) Next() record.Offset { return record.Offset(l.next.Load()) }

// Flush sends what is waiting and returns when every record of the open
// transaction has its outcome, which [Session.Failed] tells. An error means that
// ctx has ended before: the session is of no more use.
//
// There is no other bound on how long a record is tried: franz-go's own counts
// from the record's timestamp, which here may be any event time.
func (s *Session) Flush(ctx context.Context) error {
	if err := s.client.Flush(ctx); err != nil {
		return fmt.Errorf("send the transaction's records: %w", s.translate(err))
	}
	return nil
}

// Failed is why the open transaction cannot be committed, if that is known.
func (s *Session) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.failed
}

func (s *Session) fail(tp record.TopicPartition, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.failed == nil {
		s.mu.failed = fmt.Errorf("send to %s: %w", tp, s.translate(err))
	}
}
