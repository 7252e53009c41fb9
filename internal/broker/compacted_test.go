package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/log"
)

// On a compacted topic a record needs a key, and nothing deletes but a tombstone.
func TestCompactedTopicRefusals(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("latest", 1, "cleanup.policy", "compact")
	c.createTopic("both", 1, "cleanup.policy", "compact,delete")
	for _, codec := range []batch.Codec{batch.None, batch.Gzip, batch.Zstd} {
		for _, topic := range []string{"latest", "both"} {
			keyless := build(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: codec}, "x")
			if r := c.produce(-1, topic, 0, keyless); r.ErrorCode != 87 || !strings.Contains(deref(r.ErrorMessage), "key") {
				t.Errorf("%s, %s: code %d, %s", topic, codec, r.ErrorCode, deref(r.ErrorMessage))
			}
		}
	}
	garbage := changed(records(t, "x"), func(b []byte) { b[22] |= byte(batch.Gzip) })
	if r := c.produce(-1, "latest", 0, garbage); r.ErrorCode != 87 {
		t.Errorf("records that cannot be decompressed: code %d, %s", r.ErrorCode, deref(r.ErrorMessage))
	}
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.LZ4})
	b.Append(1, []byte("key"), nil, nil)
	tombstone, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"latest", "both"} {
		if r := c.produce(-1, topic, 0, append([]byte(nil), tombstone...)); r.ErrorCode != 0 {
			t.Errorf("%s: code %d, %s", topic, r.ErrorCode, deref(r.ErrorMessage))
		}
	}
	if r := c.deleteRecords("latest", 0, -1); r.ErrorCode != 44 {
		t.Errorf("delete records: code %d, want POLICY_VIOLATION", r.ErrorCode)
	}
	if r := c.deleteRecords("both", 0, -1); r.ErrorCode != 0 || r.LowWatermark != 1 {
		t.Errorf("delete records of a topic that also deletes: code %d, start %d", r.ErrorCode, r.LowWatermark)
	}
}

// A consumer of a compacted topic gets of each key the newest record, in order,
// and comes to the end, past all batches whose records are gone.
func TestConsumeCompactedTopic(t *testing.T) {
	const keys, records = 20, 3000
	n := serve(t, broker.Config{
		FS:  openDir(t, t.TempDir()),
		Log: log.Options{CheckpointInterval: 5 * time.Millisecond, CompactionInterval: 5 * time.Millisecond},
	})
	dial(t, n.addr).createTopic("latest", 1, "cleanup.policy", "compact", "segment.bytes", "4096", "min.cleanable.dirty.ratio", "0")
	producer := n.client(t, kgo.DefaultProduceTopic("latest"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(50)) // idempotent: its batches keep their producer
	for i := range records {
		r := &kgo.Record{Key: fmt.Append(nil, "key-", i%keys), Value: fmt.Append(nil, i)}
		producer.Produce(testContext(t), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for {
		newest, got := consumeToEnd(t, n, records)
		for key := range keys {
			if want := fmt.Sprint(records - keys + key); newest[fmt.Sprint("key-", key)] != want {
				t.Fatalf("key %d ends with %q, want %q", key, newest[fmt.Sprint("key-", key)], want)
			}
		}
		if got < records/4 {
			return // compacted
		}
	}
}

// consumeToEnd reads from the start up to the record that has the offset end-1,
// and gives the last value of each key, and the number of records.
func consumeToEnd(t *testing.T, n *node, end int64) (newest map[string]string, records int) {
	t.Helper()
	newest = map[string]string{}
	cl := n.client(t, kgo.ConsumeTopics("latest"), kgo.FetchMaxPartitionBytes(1500), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer cl.Close()
	for last := int64(-1); last < end-1; {
		fetches := cl.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatalf("%v, behind offset %d", err, last)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset <= last {
				t.Errorf("offset %d after %d", r.Offset, last)
			}
			last = r.Offset
			newest[string(r.Key)] = string(r.Value)
			records++
		})
	}
	return newest, records
}
