package batch

import (
	"context"
	"hash/crc32"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"pgregory.net/rapid"

	"millrace/record"
)

// TestReadByKmsg: franz-go's own types read in our batch what was appended.
func TestReadByKmsg(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawRecords(rt)
		builder := NewBuilder(BuilderOptions{ProducerID: 42, ProducerEpoch: 3, BaseSequence: 7})
		for _, r := range want {
			builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
		}
		b, err := builder.Build()
		if err != nil {
			rt.Fatal(err)
		}
		h, err := Validate(b)
		if err != nil {
			rt.Fatal(err)
		}
		theirs := kmsg.NewRecordBatch()
		if err := theirs.ReadFrom(b); err != nil {
			rt.Fatal(err)
		}
		if got := kmsgHeader(theirs); got != h {
			rt.Fatalf("kmsg reads %+v, we read %+v", got, h)
		}
		rest := theirs.Records
		for i, w := range want {
			var r kmsg.Record
			r, rest = nextKmsgRecord(rt, rest)
			requireKmsgRecord(rt, r, h, i, w)
		}
		if len(rest) != 0 {
			rt.Fatalf("%d bytes behind the last record", len(rest))
		}
	})
}

func kmsgHeader(b kmsg.RecordBatch) Header {
	return Header{
		BaseOffset: record.Offset(b.FirstOffset), Length: b.Length, LeaderEpoch: b.PartitionLeaderEpoch, CRC: uint32(b.CRC), Attributes: b.Attributes,
		LastOffsetDelta: b.LastOffsetDelta, BaseTimestamp: b.FirstTimestamp, MaxTimestamp: b.MaxTimestamp,
		ProducerID: b.ProducerID, ProducerEpoch: b.ProducerEpoch, BaseSequence: b.FirstSequence, Count: b.NumRecords,
	}
}

func nextKmsgRecord(t failer, b []byte) (kmsg.Record, []byte) {
	t.Helper()
	size, start := varint32(b, 0)
	r := kmsg.NewRecord()
	if err := r.ReadFrom(b[:start+int(size)]); err != nil {
		t.Fatalf("kmsg reads a record: %v", err)
	}
	return r, b[start+int(size):]
}

func requireKmsgRecord(t failer, got kmsg.Record, h Header, i int, want record.Record) {
	t.Helper()
	same := int(got.OffsetDelta) == i && h.BaseTimestamp+got.TimestampDelta64 == int64(want.Timestamp) &&
		sameBytes(got.Key, want.Key) && sameBytes(got.Value, want.Value) && len(got.Headers) == len(want.Headers)
	for i := range want.Headers {
		same = same && got.Headers[i].Key == want.Headers[i].Key && sameBytes(got.Headers[i].Value, want.Headers[i].Value)
	}
	if !same {
		t.Fatalf("kmsg reads record %d as %+v, want %+v", i, got, want)
	}
}

// TestWrittenByKmsg: we read what franz-go's own types wrote.
func TestWrittenByKmsg(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawRecords(rt)
		theirs := kmsg.NewRecordBatch()
		theirs.Magic, theirs.ProducerID, theirs.NumRecords, theirs.LastOffsetDelta = 2, -1, int32(len(want)), int32(len(want)-1)
		theirs.FirstTimestamp = int64(want[0].Timestamp)
		for i, w := range want {
			r := kmsgRecord(w, i, theirs.FirstTimestamp)
			theirs.Records = r.AppendTo(theirs.Records)
			want[i].Offset = record.Offset(i)
		}
		theirs.Length = int32(minLength + len(theirs.Records))
		theirs.CRC = int32(crc32.Checksum(theirs.AppendTo(nil)[posAttributes:], crc32.MakeTable(crc32.Castagnoli)))
		b := theirs.AppendTo(nil)
		if h, err := Validate(b); err != nil || kmsgHeader(theirs) != h {
			rt.Fatalf("kmsg wrote %+v, we read %+v and error %v", theirs, h, err)
		}
		for i, got := range readAllRapid(rt, b) {
			if got.Offset != want[i].Offset || got.Timestamp != want[i].Timestamp || !sameBytes(got.Value, want[i].Value) || !sameBytes(got.Key, want[i].Key) || len(got.Headers) != len(want[i].Headers) {
				rt.Fatalf("got record %+v, want %+v", got, want[i])
			}
		}
	})
}

func readAllRapid(t *rapid.T, b []byte) []record.Record {
	records, err := tryReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func kmsgRecord(r record.Record, i int, base int64) kmsg.Record {
	out := kmsg.NewRecord()
	out.TimestampDelta64, out.OffsetDelta, out.Key, out.Value = int64(r.Timestamp)-base, int32(i), r.Key, r.Value
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
	}
	out.Length = int32(len(out.AppendTo(nil)) - 1) // a length of 0 takes one byte
	return out
}

// TestThroughFranz sends batches both ways through franz-go's test broker: kgo's
// batches are read by us, ours are consumed by kgo, with every codec.
func TestThroughFranz(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "theirs", "ours"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	sent := captureProduce(cluster)
	compression := map[Codec]kgo.CompressionCodec{
		None: kgo.NoCompression(), Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(), LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	}
	for _, codec := range codecs {
		produceWithKgo(ctx, t, cluster, compression[codec])
		b := sent()
		if h, err := Validate(b); err != nil || h.Codec() != codec {
			t.Fatalf("%s: kgo's batch has header %+v and error %v", codec, h, err)
		}
		requireRecords(t, b, goldenRecords())
	}
	consumeOursWithKgo(ctx, t, cluster)
}

// captureProduce lets the cluster remember the batch of the last Produce request.
func captureProduce(cluster *kfake.Cluster) (last func() []byte) {
	var (
		mu sync.Mutex
		b  []byte
	)
	cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		b = r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records
		return nil, nil, false
	})
	return func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return b
	}
}

func newKgo(t *testing.T, cluster *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(cluster.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// produceWithKgo sends the golden records as one batch.
func produceWithKgo(ctx context.Context, t *testing.T, cluster *kfake.Cluster, codec kgo.CompressionCodec) {
	t.Helper()
	client := newKgo(t, cluster, kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	for _, r := range goldenRecords() {
		out := &kgo.Record{Topic: "theirs", Timestamp: r.Timestamp.Time(), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader(h))
		}
		records = append(records, out)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil { // the topic is unknown yet, so all wait for one batch
		t.Fatal(err)
	}
}

// consumeOursWithKgo appends one of our batches per codec and consumes them all.
func consumeOursWithKgo(ctx context.Context, t *testing.T, cluster *kfake.Cluster) {
	t.Helper()
	client := newKgo(t, cluster, kgo.ConsumeTopics("ours"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MaxVersions(kversion.V3_0_0())) // Produce by topic name
	for _, codec := range codecs {
		produceRaw(ctx, t, client, buildGolden(t, codec))
	}
	golden := goldenRecords()
	for seen := 0; seen < len(codecs)*len(golden); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			want := golden[seen%len(golden)]
			if r.Offset != int64(seen) || r.Timestamp.UnixMilli() != int64(want.Timestamp) || !sameBytes(r.Key, want.Key) ||
				!sameBytes(r.Value, want.Value) || len(r.Headers) != len(want.Headers) {
				t.Errorf("kgo reads %s record %+v, want %+v", codecs[seen/len(golden)], r, want)
			}
			seen++
		})
	}
}

func buildGolden(t testing.TB, codec Codec) []byte {
	t.Helper()
	builder := NewBuilder(BuilderOptions{Codec: codec, ProducerID: NoProducerID})
	for _, r := range goldenRecords() {
		builder.Append(r.Timestamp, r.Key, r.Value, r.Headers)
	}
	b, err := builder.Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func produceRaw(ctx context.Context, t *testing.T, client *kgo.Client, b []byte) {
	t.Helper()
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = b
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.Partitions = "ours", []kmsg.ProduceRequestTopicPartition{partition}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 10000, []kmsg.ProduceRequestTopic{topic}
	req.SetVersion(9)
	resp, err := client.Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
		t.Fatalf("the broker answers error code %d", code)
	}
}
