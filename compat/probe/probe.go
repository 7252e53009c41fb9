// Package probe is a small Kafka reader that shares no code with Millrace or
// any client library: what a checker sees through it does not depend on what
// it checks. It speaks the oldest request versions that Kafka 4 still serves,
// one request at a time. The two things most callers need are Dial and
// Conn.ReadAll.
package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Kafka's API keys, as far as the probe sends them.
const (
	keyFetch                   = 1
	keyListOffsets             = 2
	keyMetadata                = 3
	keyOffsetFetch             = 9
	keyDescribeGroups          = 15
	keyAPIVersions             = 18
	keyCreateTopics            = 19
	keyIncrementalAlterConfigs = 44
)

// exchangeWithin bounds each exchange with a broker that should be up.
const exchangeWithin = 20 * time.Second

// Error is a Kafka error code in an answer.
type Error struct {
	What string
	Code int16
}

func (e *Error) Error() string { return fmt.Sprintf("%s: Kafka error code %d", e.What, e.Code) }

func check(code int16, format string, args ...any) error {
	if code == 0 {
		return nil
	}
	return &Error{fmt.Sprintf(format, args...), code}
}

// Conn is one connection. It is not for concurrent use.
type Conn struct {
	conn    net.Conn
	answers *bufio.Reader
	next    int32
}

// Dial connects to one broker.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return newConn(conn), nil
}

func newConn(conn net.Conn) *Conn { return &Conn{conn: conn, answers: bufio.NewReader(conn)} }

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// exchange sends one request and returns the body of its answer.
func (c *Conn) exchange(key, version int16, body []byte) (*reader, error) {
	c.next++
	w := writer{b: make([]byte, 0, 64+len(body))}
	w.int32(0) // length, below
	w.int16(key)
	w.int16(version)
	w.int32(c.next)
	w.string("millrace-compat-probe")
	w.b = append(w.b, body...)
	binary.BigEndian.PutUint32(w.b, uint32(len(w.b)-4))
	if err := c.conn.SetDeadline(time.Now().Add(exchangeWithin)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(w.b); err != nil {
		return nil, fmt.Errorf("probe: send request %d: %w", key, err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c.answers, head[:]); err != nil {
		return nil, fmt.Errorf("probe: answer to request %d: %w", key, err)
	}
	answer := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.answers, answer); err != nil {
		return nil, fmt.Errorf("probe: answer to request %d: %w", key, err)
	}
	r := &reader{b: answer}
	if got := r.int32(); got != c.next {
		return nil, fmt.Errorf("probe: answer %d to request %d", got, c.next)
	}
	return r, r.err
}

// Greet exchanges an ApiVersions request on a bare connection, as every client
// does first.
func Greet(conn net.Conn) error {
	c := newConn(conn)
	_, err := c.exchange(keyAPIVersions, 0, nil)
	return err
}

// Versions are the first and last version of a request that a broker serves.
type Versions struct{ Min, Max int16 }

// Served asks which requests the broker serves, by API key.
func (c *Conn) Served() (map[int16]Versions, error) {
	r, err := c.exchange(keyAPIVersions, 0, nil)
	if err != nil {
		return nil, err
	}
	if err := check(r.int16(), "API versions"); err != nil {
		return nil, err
	}
	served := map[int16]Versions{}
	for range r.count() {
		key := r.int16()
		served[key] = Versions{r.int16(), r.int16()}
	}
	return served, r.err
}

// CreateTopic creates a topic with the given configs, name and value in turn.
func (c *Conn) CreateTopic(topic string, partitions int, configs ...string) error {
	return c.CreateReplicated(topic, partitions, 1, configs...)
}

// CreateReplicated is CreateTopic with copies on several brokers.
func (c *Conn) CreateReplicated(topic string, partitions int, replicas int16, configs ...string) error {
	var w writer
	w.int32(1)
	w.string(topic)
	w.int32(int32(partitions))
	w.int16(replicas)
	w.int32(0) // no manual assignment
	w.int32(int32(len(configs) / 2))
	for i := 0; i+1 < len(configs); i += 2 {
		w.string(configs[i])
		w.string(configs[i+1])
	}
	w.int32(int32(exchangeWithin / time.Millisecond))
	w.int8(0) // not only validated
	r, err := c.exchange(keyCreateTopics, 2, w.b)
	if err != nil {
		return err
	}
	r.int32() // throttle time
	for range r.count() {
		name, code, message := r.string(), r.int16(), r.string()
		if err := check(code, "create topic %s: %s", name, message); err != nil {
			return err
		}
	}
	return r.err
}

// AwaitLeaders waits until a new topic's partitions answer: Kafka acknowledges a
// topic that cannot take records yet.
func (c *Conn) AwaitLeaders(topic string, partitions int) error {
	const unknownPartition, notLeader = 3, 6
	deadline := time.Now().Add(exchangeWithin)
	for p := int32(0); p < int32(partitions); {
		_, err := c.Offset(topic, p, Latest)
		var refused *Error
		switch {
		case err == nil:
			p++
			continue
		case !errors.As(err, &refused), refused.Code != unknownPartition && refused.Code != notLeader, time.Now().After(deadline):
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// Partitions returns how many partitions a topic has, without creating it.
func (c *Conn) Partitions(topic string) (int, error) {
	var w writer
	w.int32(1)
	w.string(topic)
	w.int8(0) // never create
	r, err := c.exchange(keyMetadata, 4, w.b)
	if err != nil {
		return 0, err
	}
	r.int32() // throttle time
	for range r.count() {
		r.int32()  // node
		r.string() // host
		r.int32()  // port
		r.string() // rack
	}
	r.string() // cluster
	r.int32()  // controller
	if n := r.count(); n != 1 {
		return 0, fmt.Errorf("probe: metadata names %d topics instead of one", n)
	}
	code := r.int16()
	r.string() // name
	r.int8()   // internal
	if err := check(code, "metadata of topic %s", topic); err != nil {
		return 0, err
	}
	n := r.count()
	return n, r.err
}

// The times of ListOffsets that stand for the ends of a log.
const (
	Latest   = -1
	Earliest = -2
)

// Offset returns the offset at one end of a partition's log.
func (c *Conn) Offset(topic string, partition int32, at int64) (int64, error) {
	var w writer
	w.int32(-1) // no replica
	w.int32(1)
	w.string(topic)
	w.int32(1)
	w.int32(partition)
	w.int64(at)
	r, err := c.exchange(keyListOffsets, 1, w.b)
	if err != nil {
		return 0, err
	}
	r.count()
	r.string()
	r.count()
	r.int32() // partition
	code := r.int16()
	r.int64() // timestamp
	offset := r.int64()
	if err := check(code, "offset of %s-%d", topic, partition); err != nil {
		return 0, err
	}
	return offset, r.err
}

// Fetched is the answer for one partition.
type Fetched struct {
	HighWatermark int64
	LastStable    int64
	Aborted       []AbortedTxn // only of a committed read
	Raw           []byte
}

// Fetch reads from one partition once, without waiting for data, whatever
// became of the transactions that wrote it.
func (c *Conn) Fetch(topic string, partition int32, offset int64, maxBytes int32) (Fetched, error) {
	return c.fetch(topic, partition, offset, maxBytes, readUncommitted)
}

// The isolation levels of Fetch.
const (
	readUncommitted = 0
	readCommitted   = 1
)

func (c *Conn) fetch(topic string, partition int32, offset int64, maxBytes int32, isolation int8) (Fetched, error) {
	var w writer
	w.int32(-1) // no replica
	w.int32(0)  // no wait
	w.int32(1)
	w.int32(maxBytes)
	w.int8(isolation)
	w.int32(1)
	w.string(topic)
	w.int32(1)
	w.int32(partition)
	w.int64(offset)
	w.int32(maxBytes)
	r, err := c.exchange(keyFetch, 4, w.b)
	if err != nil {
		return Fetched{}, err
	}
	r.int32() // throttle time
	r.count()
	r.string()
	r.count()
	r.int32() // partition
	code := r.int16()
	f := Fetched{HighWatermark: r.int64(), LastStable: r.int64()}
	for range r.count() {
		f.Aborted = append(f.Aborted, AbortedTxn{ProducerID: r.int64(), First: r.int64()})
	}
	f.Raw = r.bytes()
	if err := check(code, "fetch %s-%d at %d", topic, partition, offset); err != nil {
		return Fetched{}, err
	}
	return f, r.err
}

// ReadAll hands every batch of a partition from offset to the end of the log,
// as it is when the call begins, to visit, in order.
func (c *Conn) ReadAll(topic string, partition int32, offset int64, visit func(Batch) error) error {
	end, err := c.Offset(topic, partition, Latest)
	if err != nil {
		return err
	}
	for offset < end {
		f, err := c.Fetch(topic, partition, offset, 4<<20)
		if err != nil {
			return err
		}
		batches, err := Batches(f.Raw)
		if err != nil {
			return fmt.Errorf("%s-%d at %d: %w", topic, partition, offset, err)
		}
		if len(batches) == 0 {
			return fmt.Errorf("probe: %s-%d: nothing at %d although the log ends at %d", topic, partition, offset, end)
		}
		for _, b := range batches {
			if err := visit(b); err != nil {
				return err
			}
			offset = b.Base + int64(b.LastDelta) + 1
		}
	}
	return nil
}

// Committed returns a group's committed offset of a partition, -1 for none.
func (c *Conn) Committed(group, topic string, partition int32) (int64, error) {
	var w writer
	w.string(group)
	w.int32(1)
	w.string(topic)
	w.int32(1)
	w.int32(partition)
	r, err := c.exchange(keyOffsetFetch, 1, w.b)
	if err != nil {
		return 0, err
	}
	r.count()
	r.string()
	r.count()
	r.int32() // partition
	offset := r.int64()
	r.string() // metadata
	if err := check(r.int16(), "committed offset of %s on %s-%d", group, topic, partition); err != nil {
		return 0, err
	}
	return offset, r.err
}

// Group is what a group says about itself.
type Group struct {
	State   string
	Members int
}

// DescribeGroup returns the state of a group.
func (c *Conn) DescribeGroup(group string) (Group, error) {
	var w writer
	w.int32(1)
	w.string(group)
	r, err := c.exchange(keyDescribeGroups, 0, w.b)
	if err != nil {
		return Group{}, err
	}
	r.count()
	code := r.int16()
	r.string() // group
	g := Group{State: r.string()}
	r.string() // protocol type
	r.string() // protocol
	g.Members = r.count()
	if err := check(code, "describe group %s", group); err != nil {
		return Group{}, err
	}
	return g, r.err
}

// AlterTopic sets one config of a topic.
func (c *Conn) AlterTopic(topic, name, value string) error {
	const resourceTopic, opSet = 2, 0
	var w writer
	w.int32(1)
	w.int8(resourceTopic)
	w.string(topic)
	w.int32(1)
	w.string(name)
	w.int8(opSet)
	w.string(value)
	w.int8(0) // not only validated
	r, err := c.exchange(keyIncrementalAlterConfigs, 0, w.b)
	if err != nil {
		return err
	}
	r.int32() // throttle time
	for range r.count() {
		code, message := r.int16(), r.string()
		r.int8()   // resource type
		r.string() // resource
		if err := check(code, "set %s=%s of %s: %s", name, value, topic, message); err != nil {
			return err
		}
	}
	return r.err
}
