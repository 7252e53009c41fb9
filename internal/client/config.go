// Package client reaches a Kafka cluster, the embedded broker or any other, on
// behalf of the rooms above it. It is the only room whose production code
// imports franz-go.
//
// Most readers need [Consumer], which hands over batches of records per
// partition, and [Producer], which counts what the brokers acknowledged.
// [Admin] lists, describes and changes topics and groups.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says how to reach a cluster and how to behave there. The zero value
// reaches localhost:9092 in plain text with Kafka's own client defaults.
// [Config.Set] and [Config.ReadProperties] fill it under Kafka's property names.
type Config struct {
	// Brokers are the bootstrap addresses, HOST:PORT each. A missing port is
	// 9092. Default localhost:9092.
	Brokers []string
	// ClientID is the name that brokers see in their logs. Default "millrace".
	ClientID string
	// DialTimeout bounds one attempt to connect. Default 5s.
	DialTimeout time.Duration
	// Dial replaces the way to a broker's address; with TLS it must do the
	// handshake itself. Default: TCP, and TLS as Security says.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Security is TLS and SASL; zero is plain text and anonymous.
	Security Security

	// Acks is what a producer waits for; zero is all.
	Acks Acks
	// Linger is how long a partition's first record may wait for company.
	// Default 5ms, as Kafka 4; negative is not at all.
	Linger time.Duration
	// BatchBytes bounds one batch before compression. Default 1,000,000;
	// brokers refuse batches above max.message.bytes. At the bound the batch
	// is sent at once, whatever Linger says.
	BatchBytes int
	// Compression is none (default), gzip, snappy, lz4 or zstd.
	Compression string
	// BufferBytes bounds what a producer holds unacknowledged. At the bound
	// Send waits. Default 32 MiB, as Kafka's buffer.memory.
	BufferBytes int
	// DeliveryTimeout bounds how long a record is retried before it is given
	// up as failed. Default 2m, as Kafka.
	DeliveryTimeout time.Duration

	// Group is the consumer group; empty consumes on its own, without commits.
	Group string
	// InstanceID makes a group member static; empty is a dynamic one.
	InstanceID string
	// ReadUncommitted also delivers records of open and aborted transactions.
	// The default is read_committed.
	ReadUncommitted bool
	// ResetToEnd starts a group without committed offsets at the end, not at
	// the beginning (auto.offset.reset=latest).
	ResetToEnd bool
	// FetchMaxWait is how long a broker may hold an empty fetch. Default 500ms,
	// as Kafka.
	FetchMaxWait time.Duration

	// Logger gets franz-go's warnings and errors. Default: nothing is logged.
	Logger *slog.Logger
}

// Acks is what a producer waits for before a record counts as acknowledged.
type Acks int8

const (
	AcksAll    Acks = iota // every in-sync replica; on Millrace's broker: stable storage
	AcksLeader             // the partition's leader; on Millrace's broker: the page cache
	AcksNone               // nothing: the record left this process
)

// ParseAcks reads Kafka's spellings: all, -1, 1, 0.
func ParseAcks(s string) (Acks, error) {
	switch s {
	case "all", "-1":
		return AcksAll, nil
	case "1":
		return AcksLeader, nil
	case "0":
		return AcksNone, nil
	}
	return AcksAll, fmt.Errorf("acks is %q: use all, 1 or 0", s)
}

func (a Acks) String() string {
	switch a {
	case AcksLeader:
		return "1"
	case AcksNone:
		return "0"
	default:
		return "all"
	}
}

func (c Config) withDefaults() Config {
	if len(c.Brokers) == 0 {
		c.Brokers = []string{"localhost:9092"}
	}
	if c.ClientID == "" {
		c.ClientID = "millrace"
	}
	defaultTo(&c.DialTimeout, 5*time.Second)
	defaultTo(&c.Linger, 5*time.Millisecond)
	defaultTo(&c.BatchBytes, 1_000_000)
	defaultTo(&c.BufferBytes, 32<<20)
	defaultTo(&c.DeliveryTimeout, 2*time.Minute)
	defaultTo(&c.FetchMaxWait, 500*time.Millisecond)
	c.Linger = max(c.Linger, 0)
	return c
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports every fault of c at once, in words for the person who wrote it.
func (c Config) Validate() error {
	d := c.withDefaults()
	var faults []error
	for _, b := range d.Brokers {
		if strings.TrimSpace(b) == "" {
			faults = append(faults, errors.New("a broker address is empty: use HOST:PORT, separated by commas"))
		}
	}
	if d.BatchBytes < 512 || d.BatchBytes > 1<<30 {
		faults = append(faults, fmt.Errorf("batch size is %d bytes: use 512 to 1073741824", c.BatchBytes))
	}
	if d.BufferBytes < d.BatchBytes {
		faults = append(faults, fmt.Errorf("buffer memory of %d bytes is smaller than one batch of %d", d.BufferBytes, d.BatchBytes))
	}
	if _, err := codec(d.Compression); err != nil {
		faults = append(faults, err)
	}
	if _, err := d.Security.options(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// connect makes a franz-go client for c; it does not reach out yet.
func (c Config) connect(more ...kgo.Opt) (*kgo.Client, error) {
	options, err := c.clientOptions()
	if err != nil {
		return nil, err
	}
	return kgo.NewClient(append(options, more...)...)
}

// clientOptions checks c, and is what every client of it has.
func (c Config) clientOptions() ([]kgo.Opt, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("client settings: %w", err)
	}
	c = c.withDefaults()
	security, err := c.Security.options()
	if err != nil {
		return nil, fmt.Errorf("client settings: %w", err)
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.DialTimeout(c.DialTimeout),
		kgo.WithLogger(loggerTo(c.Logger)),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(30 * time.Second),
		kgo.DisableClientMetrics(),
	}
	options = append(options, security...)
	if c.Dial != nil {
		options = append(options, kgo.Dialer(c.Dial))
	}
	return options, nil
}
