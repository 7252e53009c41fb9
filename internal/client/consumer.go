package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// Batch is what one partition handed over in one poll, in offset order.
type Batch struct {
	record.TopicPartition
	// Records are the data records; control records of transactions are not
	// among them. They and their bytes are valid until the next Poll.
	Records []record.Record
	// Next is the offset behind the batch, control records included: where a
	// reader goes on, and the position to name beside a result.
	Next record.Offset
	// HighWatermark is the partition's, as of the fetch.
	HighWatermark record.Offset
}

// Start is where a consumer without a group begins. The zero value is the
// beginning of the log.
type Start struct {
	kind   startKind
	offset record.Offset
	at     time.Time
}

type startKind int8

const (
	fromBeginning startKind = iota
	fromEnd
	fromOffset
	fromLast
	fromTime
)

// FromBeginning starts at the log's first offset, FromEnd behind its last.
func FromBeginning() Start { return Start{} }
func FromEnd() Start       { return Start{kind: fromEnd} }

// FromOffset starts each partition at o, or at the nearest end of its log.
func FromOffset(o record.Offset) Start { return Start{kind: fromOffset, offset: o} }

// FromLast starts each partition n offsets before its end.
func FromLast(n int64) Start { return Start{kind: fromLast, offset: record.Offset(n)} }

// FromTime starts each partition at its first record stamped t or later.
func FromTime(t time.Time) Start { return Start{kind: fromTime, at: t} }

func (s Start) kgo() kgo.Offset {
	o := kgo.NewOffset()
	switch s.kind {
	case fromEnd:
		return o.AtEnd()
	case fromOffset:
		return o.At(int64(s.offset))
	case fromLast:
		return o.AtEnd().Relative(-int64(s.offset))
	case fromTime:
		return o.AfterMilli(s.at.UnixMilli())
	default:
		return o.AtStart()
	}
}

// Covers reports whether s reads partition p.
func (s Subscription) Covers(p record.Partition) bool {
	return len(s.Partitions) == 0 || slices.Contains(s.Partitions, p)
}

// Subscription is what a consumer reads.
type Subscription struct {
	Topics []record.Topic
	// From is where each partition starts. With Config.Group it holds only
	// where the group has no committed offset.
	From Start
	// Partitions limits a consumer without a group to these; nil is all, those
	// added later included.
	Partitions []record.Partition
}

// Consumer hands over batches of records per partition. Poll and Commit are for
// one goroutine; Close may come from another.
type Consumer struct {
	client  *kgo.Client
	config  Config                // with defaults
	batches []Batch               // reused between polls
	records []record.Record       // backs Batch.Records; reused between polls
	seen    map[record.Topic]bool // topics of which records were handed over
}

// NewConsumer starts a consumer of s. It does not wait for the cluster: errors
// of reaching it come from [Check] or from Poll.
func NewConsumer(c Config, s Subscription) (*Consumer, error) {
	c = c.withDefaults()
	client, err := c.connect(append(c.consumerOptions(), s.options(c)...)...)
	if err != nil {
		return nil, err
	}
	return &Consumer{client: client, config: c, seen: make(map[record.Topic]bool)}, nil
}

func (c Config) consumerOptions() []kgo.Opt {
	options := []kgo.Opt{
		kgo.FetchMaxWait(c.FetchMaxWait),
		kgo.MetadataMaxAge(newPartitionsWithin),
		kgo.KeepControlRecords(),       // they move Batch.Next
		kgo.KeepRetryableFetchErrors(), // a deleted topic shows as one of them: see fault
	}
	if !c.ReadUncommitted {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if c.Group == "" {
		return options
	}
	options = append(options, kgo.ConsumerGroup(c.Group), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsRevoked(commitBeforeRevoke))
	if c.InstanceID != "" {
		options = append(options, kgo.InstanceID(c.InstanceID))
	}
	return options
}

// newPartitionsWithin is how soon records in partitions that were added to a
// topic are read. Kafka's own clients take five minutes; asking costs little.
const newPartitionsWithin = 3 * time.Second

// commitBeforeRevoke keeps what was handed over from being read again by the
// partition's next owner. It runs inside Poll, so all earlier batches are done.
func commitBeforeRevoke(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
	// A failed commit means only that the next owner reads some records again.
	_ = client.CommitUncommittedOffsets(ctx)
}

func (s Subscription) options(c Config) []kgo.Opt {
	if c.Group != "" && c.ResetToEnd && s.From == (Start{}) {
		s.From = FromEnd()
	}
	start, reset := s.From.kgo(), kgo.NewOffset().AtStart()
	if s.From.kind == fromOffset {
		reset = start // franz-go then takes the nearest end of the log
	}
	options := []kgo.Opt{kgo.ConsumeStartOffset(start), kgo.ConsumeResetOffset(reset)}
	if len(s.Partitions) == 0 {
		names := make([]string, len(s.Topics))
		for i, t := range s.Topics {
			names[i] = string(t)
		}
		return append(options, kgo.ConsumeTopics(names...))
	}
	chosen := make(map[string]map[int32]kgo.Offset, len(s.Topics))
	for _, t := range s.Topics {
		chosen[string(t)] = make(map[int32]kgo.Offset, len(s.Partitions))
		for _, p := range s.Partitions {
			chosen[string(t)][int32(p)] = start
		}
	}
	return append(options, kgo.ConsumePartitions(chosen))
}

// Poll waits for records and returns them by partition; an empty result
// without an error does not occur. Batches and an error may come together: the
// batches are good, the error is about another partition.
//
// A *PositionError is reported once, then the partition goes on at its log
// start. A CorruptError comes with every try to read on: that partition stands
// still. After an UnknownTopicError the topic was deleted, and perhaps created
// anew with other records under the same offsets: this consumer is of no more
// use. When ctx ends, its error is returned alone.
func (c *Consumer) Poll(ctx context.Context) ([]Batch, error) {
	return c.PollUpTo(ctx, maxPollRecords)
}

// PollUpTo is Poll for at most n records, so that Commit after it covers no
// record that the caller does not want yet.
func (c *Consumer) PollUpTo(ctx context.Context, n int) ([]Batch, error) {
	for {
		c.client.AllowRebalance()
		fetches := c.client.PollRecords(ctx, min(n, maxPollRecords))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if fetches.IsClientClosed() {
			return nil, kgo.ErrClientClosed
		}
		batches, err := c.take(fetches)
		if len(batches) > 0 || err != nil {
			return batches, err
		}
	}
}

// maxPollRecords bounds one poll, so that a reader can publish what it has
// between polls while it catches up on a long log.
const maxPollRecords = 20_000

func (c *Consumer) take(fetches kgo.Fetches) ([]Batch, error) {
	c.batches = c.batches[:0]
	c.records = c.records[:0]
	if n := fetches.NumRecords(); cap(c.records) < n {
		c.records = make([]record.Record, 0, n)
	}
	var faults []error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		tp := record.TopicPartition{Topic: record.Topic(p.Topic), Partition: record.Partition(p.Partition)}
		if err := c.fault(tp, p.Err); err != nil && !slices.Contains(faults, err) {
			faults = append(faults, err)
		}
		if len(p.Records) > 0 {
			c.seen[tp.Topic] = true
			c.batches = append(c.batches, c.batch(tp, &p.FetchPartition))
		}
	})
	return c.batches, errors.Join(faults...)
}

func (c *Consumer) batch(tp record.TopicPartition, p *kgo.FetchPartition) Batch {
	first := len(c.records)
	for _, r := range p.Records {
		if !r.Attrs.IsControl() {
			c.records = append(c.records, fromKgo(tp, r))
		}
	}
	return Batch{
		TopicPartition: tp,
		Records:        c.records[first:len(c.records):len(c.records)],
		Next:           record.Offset(p.Records[len(p.Records)-1].Offset + 1),
		HighWatermark:  record.Offset(p.HighWatermark),
	}
}

func fromKgo(tp record.TopicPartition, r *kgo.Record) record.Record {
	out := record.Record{
		TopicPartition: tp,
		Offset:         record.Offset(r.Offset),
		Timestamp:      record.TimestampOf(r.Timestamp),
		Key:            r.Key,
		Value:          r.Value,
	}
	if len(r.Headers) > 0 {
		out.Headers = make([]record.Header, len(r.Headers))
		for i, h := range r.Headers {
			out.Headers[i] = record.Header(h)
		}
	}
	return out
}

// fault is what the caller must know of a partition's error; nil for those that
// franz-go mends by itself, such as a leader that moved.
func (c *Consumer) fault(tp record.TopicPartition, err error) error {
	if lost, ok := errors.AsType[*kgo.ErrDataLoss](err); ok {
		return &PositionError{TopicPartition: tp, Wanted: record.Offset(lost.ConsumedTo), Err: err}
	}
	switch {
	case err == nil, isAny(err, kerr.OffsetOutOfRange): // ErrDataLoss follows
		return nil
	case isAny(err, kerr.UnknownTopicOrPartition) && !c.seen[tp.Topic]:
		return nil // it may be created yet
	case isAny(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID):
		return UnknownTopicError{Topic: tp.Topic}
	case isAny(err, kerr.CorruptMessage):
		return CorruptError{TopicPartition: tp, Offset: -1}
	case kerr.IsRetriable(err):
		return nil
	}
	return fmt.Errorf("read %s: %w", tp, translate(err, c.config.Brokers))
}

// Commit stores, for the group, that everything handed over so far is done.
func (c *Consumer) Commit(ctx context.Context) error {
	if err := c.client.CommitUncommittedOffsets(ctx); err != nil {
		return fmt.Errorf("commit offsets: %w", translate(err, c.config.Brokers))
	}
	return nil
}

// Close leaves the group, if there is one, and ends a Poll that is under way.
func (c *Consumer) Close() {
	c.client.CloseAllowingRebalance()
}
