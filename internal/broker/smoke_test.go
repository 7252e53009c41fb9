package broker_test

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
)

// TestProduceThenConsume sends records to a topic that does not exist yet and
// reads them back, with each codec.
func TestProduceThenConsume(t *testing.T) {
	n := serve(t, broker.Config{FS: openDir(t, t.TempDir())})
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			topic := "clicks-" + name
			cl := n.client(t, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.ConsumeTopics(topic))
			want := map[string]bool{}
			for i := range 500 {
				value := fmt.Sprintf("click %d", i)
				want[value] = true
				cl.Produce(testContext(t), kgo.StringRecord(value), func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("produce: %v", err)
					}
				})
			}
			if err := cl.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			for len(want) > 0 {
				fetches := cl.PollFetches(testContext(t))
				if err := fetches.Err(); err != nil {
					t.Fatalf("%v, %d records are missing", err, len(want))
				}
				fetches.EachRecord(func(r *kgo.Record) { delete(want, string(r.Value)) })
			}
		})
	}
}
