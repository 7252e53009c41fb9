package broker_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
	"millrace/internal/wire"
)

// changed is a batch after edit, with a checksum that fits again.
func changed(raw []byte, edit func([]byte)) []byte {
	edit(raw)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// What a producer may not send is refused for that partition, in Kafka's terms
// and in words, and not one byte of it is stored.
func TestProduceRefusals(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	c.createTopic("small", 1, "max.message.bytes", "200")
	c.createTopic("strict", 1, "message.timestamp.before.max.ms", "1000")
	for name, test := range map[string]struct {
		topic   string
		acks    int16
		records []byte
		code    int16
		says    string
	}{
		"unknown topic":  {"missing", -1, records(t, "x"), 3, "no such topic: missing"},
		"bad acks":       {"a", 2, records(t, "x"), 21, "use 0, 1 or all"},
		"null records":   {"a", -1, nil, 87, "needs exactly one"},
		"empty records":  {"a", -1, []byte{}, 87, "needs exactly one"},
		"two batches":    {"a", -1, append(records(t, "x"), records(t, "y")...), 87, "behind the batch"},
		"cut batch":      {"a", -1, records(t, "x")[:65], 2, "end inside"},
		"wrong checksum": {"a", -1, append(records(t, "x")[:68:68], 'y', 0), 2, "checksum"},
		"old format":     {"a", -1, changed(records(t, "x"), func(b []byte) { b[16] = 1 }), 87, "magic"},
		"unknown codec":  {"a", -1, changed(records(t, "x"), func(b []byte) { b[22] |= 7 }), 76, "codec"},
		"base offset":    {"a", -1, changed(records(t, "x"), func(b []byte) { b[7] = 5 }), 87, "must send 0"},
		"control batch":  {"a", -1, build(t, batch.BuilderOptions{ProducerID: 5, Control: true}, "x"), 87, "control"},
		"transactional":  {"a", -1, build(t, batch.BuilderOptions{ProducerID: 5, Transactional: true}, "x"), 53, "names no transactional id"},
		"broker's time":  {"a", -1, changed(records(t, "x"), func(b []byte) { b[22] |= 8 }), 32, "append time"},
		"too large":      {"small", -1, records(t, strings.Repeat("x", 200)), 10, "max.message.bytes is 200"},
		"too old":        {"strict", -1, changed(records(t, "x"), func(b []byte) { binary.BigEndian.PutUint64(b[27:], 1); binary.BigEndian.PutUint64(b[35:], 1) }), 32, "before.max.ms"},
		"broken record":  {"a", -1, changed(records(t, "x"), func(b []byte) { b[61] = 99 }), 87, ""},
	} {
		r := c.produce(test.acks, test.topic, 0, test.records)
		if r.ErrorCode != test.code {
			t.Errorf("%s: code %d, want %d", name, r.ErrorCode, test.code)
		}
		if r.BaseOffset != -1 {
			t.Errorf("%s: offset %d with an error", name, r.BaseOffset)
		}
		if r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, test.says) {
			t.Errorf("%s: the message does not say %q: %v", name, test.says, deref(r.ErrorMessage))
		}
	}
	for _, topic := range []string{"a", "small", "strict"} {
		if end := c.listOffset(topic, 0, -1).Offset; end != 0 {
			t.Errorf("%s has %d records", topic, end)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// Each partition of a request succeeds or fails by itself.
func TestPartitionsFailApart(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 3)
	req := produceRequest(-1, "a", 0, records(t, "good"))
	for _, p := range []int32{7, 1} {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = p, records(t, "good")
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	bad := kmsg.NewProduceRequestTopicPartition()
	bad.Partition, bad.Records = 2, changed(records(t, "bad"), func(b []byte) { b[22] |= 7 })
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, bad)
	got := map[int32]int16{}
	for _, p := range call[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions {
		got[p.Partition] = p.ErrorCode
	}
	for p, want := range map[int32]int16{0: 0, 7: 3, 1: 0, 2: 76} {
		if got[p] != want {
			t.Errorf("partition %d: code %d, want %d", p, got[p], want)
		}
	}
}

// Produce 0 to 2 is advertised for librdkafka's sake and refused when used; zstd
// needs version 7; a transactional id must be known to who writes in a transaction.
func TestProduceVersionsAndTransactions(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	for version := range int16(3) {
		resp := call[*kmsg.ProduceResponse](c, version, produceRequest(-1, "a", 0, records(t, "x")))
		if code := resp.Topics[0].Partitions[0].ErrorCode; code != 43 {
			t.Errorf("version %d: code %d, want UNSUPPORTED_FOR_MESSAGE_FORMAT (43)", version, code)
		}
	}
	zstd := build(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.Zstd}, "x")
	for version, want := range map[int16]int16{3: 76, 6: 76, 7: 0, 9: 0} {
		resp := call[*kmsg.ProduceResponse](c, version, produceRequest(-1, "a", 0, append([]byte(nil), zstd...)))
		if code := resp.Topics[0].Partitions[0].ErrorCode; code != want {
			t.Errorf("zstd in version %d: code %d, want %d", version, code, want)
		}
	}
	inTxn := build(t, batch.BuilderOptions{ProducerID: 5, Transactional: true}, "x")
	for name, test := range map[string]struct {
		acks    int16
		records []byte
		code    int16
	}{
		"plain records":              {-1, records(t, "x"), 0},
		"an id that nobody has":      {-1, inTxn, 49},
		"a transaction without acks": {1, inTxn, 21},
	} {
		req := produceRequest(test.acks, "a", 0, test.records)
		req.TransactionID = kmsg.StringPtr("txn")
		if code := call[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions[0].ErrorCode; code != test.code {
			t.Errorf("%s: code %d, want %d", name, code, test.code)
		}
	}
}

// P2: the stored bytes are those that came, but for base offset and leader epoch.
func TestBatchesAreStoredAsTheyCame(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "first")
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd} {
		sent := build(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: codec}, strings.Repeat("x", 1000), "y")
		r := c.produce(-1, "a", 0, append([]byte(nil), sent...))
		if r.ErrorCode != 0 {
			t.Fatalf("%v: code %d", codec, r.ErrorCode)
		}
		got := c.fetch(fetchAsk("a", 0, r.BaseOffset)).RecordBatches
		batch.SetBaseOffset(got, 0)
		batch.SetLeaderEpoch(got, -1)
		if string(got) != string(sent) {
			t.Errorf("%v: the stored batch differs from the one that was sent", codec)
		}
	}
}

// Under LogAppendTime the broker's clock replaces the producer's, in the answer
// and in the stored batch, whose checksum fits again.
func TestLogAppendTime(t *testing.T) {
	at := time.UnixMilli(1_900_000_000_000)
	c := dial(t, serve(t, broker.Config{FS: crashfs.New(), Now: func() time.Time { return at }}).addr)
	c.createTopic("a", 1, "message.timestamp.type", "LogAppendTime")
	if r := c.produce(-1, "a", 0, records(t, "x")); r.ErrorCode != 0 || r.LogAppendTime != at.UnixMilli() {
		t.Errorf("code %d, append time %d, want %d", r.ErrorCode, r.LogAppendTime, at.UnixMilli())
	}
	h, err := batch.CheckCRC(c.fetch(fetchAsk("a", 0, 0)).RecordBatches)
	if err != nil || !h.LogAppendTime() || h.MaxTimestamp != at.UnixMilli() {
		t.Errorf("stored: %+v, %v", h, err)
	}
}

// P3: an idempotent producer's retry is answered with the first offset and not
// stored again; a gap is refused.
func TestIdempotentProducer(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	id := c.initProducer()
	send := func(epoch int16, sequence int32) kmsg.ProduceResponseTopicPartition {
		return c.produce(-1, "a", 0, build(t, batch.BuilderOptions{ProducerID: id, ProducerEpoch: epoch, BaseSequence: sequence}, "x"))
	}
	for _, step := range []struct {
		epoch    int16
		sequence int32
		offset   int64
		code     int16
	}{
		{0, 0, 0, 0}, {0, 1, 1, 0}, {0, 1, 1, 0}, {0, 0, 0, 0}, // retries
		{0, 3, -1, 45}, // a gap: OUT_OF_ORDER_SEQUENCE_NUMBER
		{0, 2, 2, 0}, {0, 3, 3, 0}, {0, 4, 4, 0}, {0, 5, 5, 0}, {0, 6, 6, 0},
		{0, 0, -1, 46}, // too old to remember its offset: DUPLICATE_SEQUENCE_NUMBER
		{1, 0, 7, 0},
		{0, 7, -1, 47}, // INVALID_PRODUCER_EPOCH
	} {
		r := send(step.epoch, step.sequence)
		if r.BaseOffset != step.offset || r.ErrorCode != step.code {
			t.Errorf("epoch %d sequence %d: offset %d code %d, want %d and %d", step.epoch, step.sequence, r.BaseOffset, r.ErrorCode, step.offset, step.code)
		}
	}
}

func (c *rawConn) initProducer() int64 {
	c.t.Helper()
	resp := call[*kmsg.InitProducerIDResponse](c, 4, kmsg.NewPtrInitProducerIDRequest())
	if resp.ErrorCode != 0 {
		c.t.Fatalf("InitProducerId: code %d", resp.ErrorCode)
	}
	return resp.ProducerID
}

// A disk that does not confirm within the request's timeout gives
// REQUEST_TIMED_OUT, and the connection goes on.
func TestProduceTimeout(t *testing.T) {
	fsys, hold, release, _ := slowDisk()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	hold()
	req := produceRequest(-1, "a", 0, records(t, "x"))
	req.TimeoutMillis = 30
	if code := call[*kmsg.ProduceResponse](c, 9, req).Topics[0].Partitions[0].ErrorCode; code != 7 {
		t.Errorf("code %d, want REQUEST_TIMED_OUT (7)", code)
	}
	release()
	c.mustProduce("a", 0, "y")
}

// R10: after a failed sync nothing is acknowledged, then or later.
func TestFailedSyncIsNeverAcknowledged(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "good")
	n.broken = true
	fsys.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData}, Name: "*.log", Err: syscall.EIO})
	for range 3 {
		if r := c.produce(-1, "a", 0, records(t, "lost")); r.ErrorCode != 56 {
			t.Errorf("code %d, want KAFKA_STORAGE_ERROR (56)", r.ErrorCode)
		}
	}
	if got := values(t, c.fetch(fetchAsk("a", 0, 0)).RecordBatches); len(got) != 1 || got[0] != "good" {
		t.Errorf("readers see %v, want what was acknowledged", got)
	}
}

// A4: requests in flight are bounded by one budget over all connections. Frames
// beyond it wait on their sockets; all are served in the end.
func TestRequestMemoryIsBounded(t *testing.T) {
	const frame, budget, clients = 1 << 20, 4 << 20, 20
	fsys := crashfs.New()
	hold, release := gate(fsys, func(op crashfs.Op) bool { return op.Kind == crashfs.Write && strings.HasSuffix(op.Name, ".log") })
	n := serve(t, broker.Config{FS: fsys, RequestMemory: budget, Limits: wire.Limits{MaxFrameBytes: frame}})
	first := dial(t, n.addr)
	first.createTopic("a", 1)
	req := produceRequest(-1, "a", 0, records(t, strings.Repeat("x", 900_000)))
	req.SetVersion(9)
	raw := first.form.AppendRequest(nil, req, 1)

	hold()
	var answered sync.WaitGroup
	for range clients {
		c := dial(t, n.addr)
		answered.Go(func() {
			if _, err := c.Conn.Write(raw); err != nil {
				t.Errorf("write: %v", err)
			}
			if _, err := c.nextFrame(); err != nil {
				t.Errorf("read: %v", err)
			}
		})
	}
	waitUntil(t, "the budget is used up", func() bool { return n.RequestMemoryBytes() > budget-frame })
	for range 20 { // the other clients have had the time to ask for more
		if used := n.RequestMemoryBytes(); used > budget {
			t.Fatalf("requests hold %d bytes, the budget is %d", used, budget)
		}
		time.Sleep(time.Millisecond)
	}
	release()
	answered.Wait()
	if end := first.listOffset("a", 0, -1).Offset; end != clients {
		t.Errorf("%d of %d records were stored", end, clients)
	}
	waitUntil(t, "all memory is given back", func() bool { return n.RequestMemoryBytes() == 0 })
}
