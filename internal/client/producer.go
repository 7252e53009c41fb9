package client

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/record"
)

// Producer sends records in batches and counts what became of them. It is safe
// for several goroutines. Records without a key are spread over partitions
// batch by batch; records with one go where Kafka's own clients put that key.
type Producer struct {
	client  *kgo.Client
	brokers []string
	onError func(record.Record, error)

	room chan struct{} // holds a token when a waiting Send should look again
	mu   struct {
		sync.Mutex
		Delivered
		bytes int // of records under way
	}
	maxBytes int
}

// Delivered counts the outcomes of sent records. Sent minus the other two are
// still under way.
type Delivered struct {
	Sent   int64
	Acked  int64         // acknowledged as Config.Acks asks
	Failed int64         // given up
	First  error         // why the first failed record failed
	Waited time.Duration // from Send to acknowledgement, the sum over Acked
}

// MeanWait is how long a record waited for its acknowledgement on average:
// linger, the way there and back, and the broker's sync.
func (d Delivered) MeanWait() time.Duration {
	return d.Waited / time.Duration(max(1, d.Acked))
}

// NewProducer starts a producer. onError, when not nil, is called for each
// record that is given up, from a goroutine of the client; it must not block.
func NewProducer(c Config, onError func(record.Record, error)) (*Producer, error) {
	c = c.withDefaults()
	options, err := c.producerOptions()
	if err != nil {
		return nil, err
	}
	client, err := c.connect(options...)
	if err != nil {
		return nil, err
	}
	return &Producer{
		client:   client,
		brokers:  c.Brokers,
		onError:  onError,
		room:     make(chan struct{}, 1),
		maxBytes: c.BufferBytes,
	}, nil
}

func (c Config) producerOptions() ([]kgo.Opt, error) {
	compression, err := codec(c.Compression)
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.AllowAutoTopicCreation(),
		kgo.ProducerLinger(c.Linger),
		kgo.ProducerBatchMaxBytes(int32(c.BatchBytes)),
		kgo.ProducerBatchCompression(compression),
		kgo.MaxBufferedRecords(2 * maxBufferedRecords), // out of reach: Send holds the bound
		kgo.RecordDeliveryTimeout(c.DeliveryTimeout),
	}
	switch c.Acks {
	case AcksLeader: // without acks=all the protocol has no idempotence
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case AcksNone:
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	}
	return options, nil
}

// maxBufferedRecords bounds the bookkeeping per record, as Config.BufferBytes
// bounds the bytes: small records would otherwise cost many times their size.
const maxBufferedRecords = 100_000

func codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("compression is %q: use none, gzip, snappy, lz4 or zstd", name)
}

// Send hands r over and returns; it waits only while the buffer is full. The
// record's partition is chosen by the producer, r.Partition and r.Offset are
// not looked at. The producer keeps r's bytes until the outcome is counted. An
// error means that r was not taken, because ctx ended.
func (p *Producer) Send(ctx context.Context, r record.Record) error {
	for !p.reserve(r) {
		select {
		case <-p.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// A record that was taken outlives ctx: an interrupt then loses nothing
	// that Flush can still save.
	sent := time.Now()
	p.client.Produce(context.WithoutCancel(ctx), toKgo(r), func(_ *kgo.Record, err error) { p.settle(r, sent, err) })
	return nil
}

// reserve takes room for r, or reports that there is none. One record always fits.
func (p *Producer) reserve(r record.Record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	underWay := p.mu.Sent - p.mu.Acked - p.mu.Failed
	if underWay > 0 && (underWay >= maxBufferedRecords || p.mu.bytes+sizeBytes(r) > p.maxBytes) {
		return false
	}
	p.mu.Sent++
	p.mu.bytes += sizeBytes(r)
	return true
}

func sizeBytes(r record.Record) int { return len(r.Key) + len(r.Value) }

func toKgo(r record.Record) *kgo.Record {
	out := &kgo.Record{Topic: string(r.Topic), Key: r.Key, Value: r.Value}
	if r.Timestamp > 0 {
		out.Timestamp = r.Timestamp.Time()
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader(h))
	}
	return out
}

// settle counts the outcome of r and lets a waiting Send look for room.
func (p *Producer) settle(r record.Record, sent time.Time, err error) {
	err = translate(err, p.brokers)
	waited := time.Since(sent)
	p.mu.Lock()
	p.mu.bytes -= sizeBytes(r)
	if err == nil {
		p.mu.Acked++
		p.mu.Waited += waited
	} else {
		p.mu.Failed++
		p.mu.First = cmp.Or(p.mu.First, err)
	}
	p.mu.Unlock()
	select {
	case p.room <- struct{}{}:
	default:
	}
	if err != nil && p.onError != nil {
		p.onError(r, err)
	}
}

// Delivered is the count so far.
func (p *Producer) Delivered() Delivered {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.Delivered
}

// Flush sends what lingers and waits until every record has its outcome or ctx ends.
func (p *Producer) Flush(ctx context.Context) error {
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// Close gives up what is not acknowledged yet: call Flush first.
func (p *Producer) Close() {
	p.client.Close()
}
