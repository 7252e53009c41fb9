package broker_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/record"
)

// rawConn speaks to a broker frame by frame: no client between test and wire.
type rawConn struct {
	net.Conn
	t    testing.TB
	form *kmsg.RequestFormatter
	next int32 // correlation ID of the next request
}

func dial(t testing.TB, addr string) *rawConn {
	t.Helper()
	socket, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return &rawConn{Conn: socket, t: t, form: kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw"))}
}

// send writes one request and returns its correlation ID.
func (c *rawConn) send(version int16, req kmsg.Request) int32 {
	c.t.Helper()
	req.SetVersion(version)
	id := c.next
	c.next++
	c.write(c.form.AppendRequest(nil, req, id))
	return id
}

func (c *rawConn) write(frame []byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(givesUp))
	if _, err := c.Conn.Write(frame); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// receive reads the next response, which must have that correlation ID.
func (c *rawConn) receive(id int32, resp kmsg.Response) {
	c.t.Helper()
	body := c.receiveFrame()
	if got := int32(binary.BigEndian.Uint32(body)); got != id {
		c.t.Fatalf("the response has correlation ID %d, want %d", got, id)
	}
	body = body[4:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		c.t.Fatalf("%s v%d: %v", kmsg.NameForKey(resp.Key()), resp.GetVersion(), err)
	}
}

func (c *rawConn) receiveFrame() []byte {
	c.t.Helper()
	frame, err := c.nextFrame()
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return frame
}

// nextFrame is receiveFrame for goroutines beside the test's own.
func (c *rawConn) nextFrame() ([]byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(givesUp))
	var length [4]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

// call is send and receive.
func call[R kmsg.Response](c *rawConn, version int16, req kmsg.Request) R {
	c.t.Helper()
	id := c.send(version, req)
	resp := req.ResponseKind()
	c.receive(id, resp)
	return resp.(R)
}

// expectClosed fails unless the broker has closed the connection without a word.
func (c *rawConn) expectClosed(why string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(givesUp))
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n > 0 || errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Errorf("%s: the connection is still open (%d bytes, %v)", why, n, err)
	}
}

// expectAlive fails unless the broker answers on this connection.
func (c *rawConn) expectAlive() {
	c.t.Helper()
	if resp := call[*kmsg.ApiVersionsResponse](c, 0, kmsg.NewPtrApiVersionsRequest()); len(resp.ApiKeys) == 0 {
		c.t.Error("no API keys")
	}
}

// records is one batch with these values.
func records(t testing.TB, values ...string) []byte {
	t.Helper()
	return build(t, batch.BuilderOptions{ProducerID: batch.NoProducerID}, values...)
}

func build(t testing.TB, opts batch.BuilderOptions, values ...string) []byte {
	t.Helper()
	b := batch.NewBuilder(opts)
	for _, v := range values {
		b.Append(record.TimestampOf(time.Now()), nil, []byte(v), nil)
	}
	raw, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), raw...)
}

func produceRequest(acks int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 20_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, records
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// produce sends one batch and returns the partition's result.
func (c *rawConn) produce(acks int16, topic string, partition int32, records []byte) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	resp := call[*kmsg.ProduceResponse](c, 9, produceRequest(acks, topic, partition, records))
	return resp.Topics[0].Partitions[0]
}

func (c *rawConn) mustProduce(topic string, partition int32, values ...string) int64 {
	c.t.Helper()
	r := c.produce(-1, topic, partition, records(c.t, values...))
	if r.ErrorCode != 0 {
		c.t.Fatalf("produce to %s-%d: code %d, %v", topic, partition, r.ErrorCode, r.ErrorMessage)
	}
	return r.BaseOffset
}

// fetchAsk is a Fetch request with one partition.
func fetchAsk(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, 0, 1, 50<<20
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, offset, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func (c *rawConn) fetch(req *kmsg.FetchRequest) kmsg.FetchResponseTopicPartition {
	c.t.Helper()
	return call[*kmsg.FetchResponse](c, 12, req).Topics[0].Partitions[0]
}

func (c *rawConn) createTopic(name string, partitions int32, settings ...string) {
	c.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(settings); i += 2 {
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: settings[i], Value: &settings[i+1]})
	}
	req.Topics = append(req.Topics, topic)
	if r := call[*kmsg.CreateTopicsResponse](c, 5, req).Topics[0]; r.ErrorCode != 0 {
		c.t.Fatalf("create topic %s: code %d: %s", name, r.ErrorCode, *r.ErrorMessage)
	}
}
