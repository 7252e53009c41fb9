package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/internal/batch"
	"millrace/record"
)

// Reader reads partitions from one offset to another, read_committed, without a
// group. It fetches and decodes batches itself, without an object per record,
// and knows where it stands behind markers and holes, which a consumer of
// records does not. It is safe for several goroutines.
type Reader struct {
	client  *kgo.Client
	brokers []string
}

// NewReader makes a reader; it does not reach out yet.
func NewReader(c Config) (*Reader, error) {
	c = c.withDefaults()
	client, err := c.connect(
		kgo.MaxVersions(kversion.V2_7_0()), // Fetch 12, the newest that names topics by name
		kgo.RetryTimeout(c.DialTimeout),
	)
	if err != nil {
		return nil, err
	}
	return &Reader{client: client, brokers: c.Brokers}, nil
}

// Close ends the connections.
func (r *Reader) Close() { r.client.Close() }

// ErrTruncated means that a partition's log begins behind the offset to be read:
// records are missing that the reader has not seen.
var ErrTruncated = errors.New("the log begins behind the position")

// Read hands over the committed records of tp with from <= offset < to, in
// order, in batches; keys and values are valid during take. It returns when it
// stands at to or behind, or with the first error: take's own, [ErrTruncated],
// [CorruptError], or that ctx ended.
func (r *Reader) Read(ctx context.Context, tp record.TopicPartition, from, to record.Offset, take func(*Columns) error) error {
	reading := reading{reader: r, tp: tp, next: from, to: to, take: take}
	for wait := 10 * time.Millisecond; reading.next < to; {
		progressed, err := reading.fetch(ctx)
		switch {
		case err == nil && progressed:
			wait = 10 * time.Millisecond
			continue
		case err != nil && !worthWaiting(err):
			return fmt.Errorf("read %s at offset %d: %w", tp, reading.next, translate(err, r.brokers))
		case err != nil:
			reading.leader = nil
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-ctx.Done():
			return fmt.Errorf("read %s at offset %d: %w", tp, reading.next, errors.Join(ctx.Err(), err))
		}
	}
	return nil
}

// worthWaiting tells what heals by itself, such as a leader that moves or a
// broker that is away, from what does not.
func worthWaiting(err error) bool {
	if _, answered := errors.AsType[*kerr.Error](err); answered {
		return kerr.IsRetriable(err) && !isAny(err, kerr.CorruptMessage)
	}
	_, corrupt := errors.AsType[CorruptError](err)
	_, taken := errors.AsType[*takeError](err)
	return !corrupt && !taken && !isAny(err, ErrTruncated, context.Canceled, context.DeadlineExceeded, kgo.ErrClientClosed)
}

// takeError is what the caller's own function returned.
type takeError struct{ error }

func (e *takeError) Unwrap() error { return e.error }

// reading is one Read that is under way.
type reading struct {
	reader   *Reader
	tp       record.TopicPartition
	next, to record.Offset
	take     func(*Columns) error
	leader   *kgo.Broker

	columns Columns
	decoder decoder
}

// readBytes is asked for at once: large enough that the way there and back does
// not count.
const readBytes = 4 << 20

// fetch reads once. It reports whether it came any further.
func (r *reading) fetch(ctx context.Context) (bool, error) {
	if err := r.findLeader(ctx); err != nil {
		return false, err
	}
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition = int32(r.tp.Partition)
	partition.FetchOffset = int64(r.next)
	partition.PartitionMaxBytes = readBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = string(r.tp.Topic)
	topic.Partitions = append(topic.Partitions, partition)
	request := kmsg.NewPtrFetchRequest()
	request.MaxBytes, request.MinBytes, request.MaxWaitMillis = readBytes, 1, 100
	request.IsolationLevel = 1
	request.Topics = append(request.Topics, topic)
	response, err := r.leader.RetriableRequest(ctx, request)
	if err != nil {
		return false, err
	}
	fetch := response.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(fetch.ErrorCode); err != nil {
		return false, err
	}
	if len(fetch.Topics) != 1 || len(fetch.Topics[0].Partitions) != 1 {
		return false, fmt.Errorf("the broker answered for %d topics instead of one", len(fetch.Topics))
	}
	return r.answer(&fetch.Topics[0].Partitions[0])
}

func (r *reading) answer(p *kmsg.FetchResponseTopicPartition) (bool, error) {
	switch err := kerr.ErrorForCode(p.ErrorCode); {
	case isAny(err, kerr.OffsetOutOfRange):
		return false, fmt.Errorf("%w: %w", ErrTruncated, err)
	case isAny(err, kerr.CorruptMessage):
		return false, CorruptError{r.tp, r.next}
	case err != nil:
		return false, err
	}
	r.decoder.begin(p.AbortedTransactions)
	began := r.next
	for b, err := range batch.Split(p.RecordBatches) {
		if errors.Is(err, batch.ErrTorn) {
			break // a broker may cut the last batch of an answer
		}
		if err != nil {
			return r.next > began, CorruptError{r.tp, r.next}
		}
		if err := r.batch(b); err != nil {
			return r.next > began, err
		}
	}
	return r.next > began, nil
}

// batch hands over the records of one batch that were committed.
func (r *reading) batch(b []byte) error {
	c := &r.columns
	c.reset(r.tp)
	h, err := r.decoder.batch(b, r.next, &c.Columns)
	if err != nil {
		return CorruptError{r.tp, r.next}
	}
	if h.LastOffset() < r.next {
		return nil
	}
	if n := len(c.Offsets); n > 0 {
		below, _ := slices.BinarySearch(c.Offsets, r.to)
		c.Columns = c.Slice(0, below)
		c.Next, c.LeaderEpoch = min(h.LastOffset()+1, r.to), h.LeaderEpoch
		if err := r.take(c); err != nil {
			return &takeError{err}
		}
	}
	r.next = h.LastOffset() + 1
	return nil
}

func (r *reading) findLeader(ctx context.Context) error {
	if r.leader != nil {
		return nil
	}
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	name := string(r.tp.Topic)
	topic.Topic = &name
	request.Topics = append(request.Topics, topic)
	metadata, err := request.RequestWith(ctx, r.reader.client)
	if err != nil {
		return err
	}
	for _, t := range metadata.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return err
		}
		for _, p := range t.Partitions {
			if p.Partition == int32(r.tp.Partition) && p.Leader >= 0 {
				r.leader = r.reader.client.Broker(int(p.Leader))
				return nil
			}
		}
	}
	return kerr.LeaderNotAvailable
}
