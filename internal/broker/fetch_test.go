package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// values decodes the record values of a fetched set.
func values(t testing.TB, set []byte) []string {
	t.Helper()
	var out []string
	for one, err := range batch.Split(set) {
		if err != nil {
			t.Fatalf("the record set ends with no whole batch: %v", err)
		}
		var it batch.Iterator
		if err := it.Reset(one, new(batch.Decoder)); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			out = append(out, string(it.Record().Value))
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// F1: one whole batch is returned even if it exceeds all bounds.
func TestFetchReturnsAtLeastOneBatch(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	large := strings.Repeat("x", 300_000) // larger than a connection's first fetch buffer
	c.mustProduce("a", 0, large)
	c.mustProduce("a", 0, "small")
	req := fetchAsk("a", 0, 0)
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1
	if got := values(t, c.fetch(req).RecordBatches); len(got) != 1 || got[0] != large {
		t.Errorf("got %d records", len(got))
	}
}

// F1, the other side: only the first batch of an answer may exceed the bounds.
func TestFetchRespectsItsBounds(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 8)
	req := fetchAsk("a", 0, 0)
	req.MaxBytes = 25_000
	req.Topics[0].Partitions = nil
	for p := range int32(8) {
		c.mustProduce("a", p, strings.Repeat("x", 10_000))
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.PartitionMaxBytes = p, 1<<20
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, rp)
	}
	seen := map[int32]bool{}
	for range 8 { // each partition gets its turn although the client never reorders them
		resp := call[*kmsg.FetchResponse](c, 12, req)
		size := 0
		for _, p := range resp.Topics[0].Partitions {
			size += len(p.RecordBatches)
			seen[p.Partition] = seen[p.Partition] || len(p.RecordBatches) > 0
		}
		if size == 0 || size > 25_000 {
			t.Errorf("an answer has %d bytes of records, the bound is 25000", size)
		}
	}
	if len(seen) != 8 || seen[7] != true {
		t.Errorf("partitions that were served: %v", seen)
	}
}

// F2: an empty record set has length 0; librdkafka does not take null.
func TestEmptyFetchIsNotNull(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	for _, version := range []int16{4, 11, 12} {
		req := fetchAsk("a", 0, 0)
		p := call[*kmsg.FetchResponse](c, version, req).Topics[0].Partitions[0]
		if p.RecordBatches == nil || len(p.RecordBatches) != 0 {
			t.Errorf("version %d: record set %v, want empty and not null", version, p.RecordBatches)
		}
	}
}

// F4: there are no fetch sessions; a client that asks for one gets id 0 and
// serves itself with full fetches.
func TestFetchSessionsAreRefused(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	req := fetchAsk("a", 0, 0)
	req.SessionEpoch = 0 // asks for a new session
	if resp := call[*kmsg.FetchResponse](c, 12, req); resp.ErrorCode != 0 || resp.SessionID != 0 || len(resp.Topics) != 1 {
		t.Errorf("a new session: code %d, id %d, %d topics", resp.ErrorCode, resp.SessionID, len(resp.Topics))
	}
	req.SessionID, req.SessionEpoch, req.MaxWaitMillis = 7, 3, 60_000
	if resp := call[*kmsg.FetchResponse](c, 12, req); resp.ErrorCode != 70 || len(resp.Topics) != 0 {
		t.Errorf("an unknown session: code %d, want FETCH_SESSION_ID_NOT_FOUND (70)", resp.ErrorCode)
	}
}

// neverMs is a wait that outlasts the patience of a connection.
const neverMs = int32(10 * givesUp / time.Millisecond)

// F5: a fetch at the end waits for records, and gets them as soon as they can be read.
func TestLongPoll(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	consumer, producer := dial(t, n.addr), dial(t, n.addr)
	producer.createTopic("a", 3)
	req := fetchAsk("a", 1, 0)
	req.MaxWaitMillis = neverMs
	id := consumer.send(12, req)
	waitUntil(t, "the fetch waits", func() bool { return n.InFlight() == 1 })
	producer.mustProduce("a", 0, "elsewhere")
	producer.mustProduce("a", 1, "news")
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	consumer.receive(id, resp)
	if got := values(t, resp.Topics[0].Partitions[0].RecordBatches); len(got) != 1 || got[0] != "news" {
		t.Errorf("got %v", got)
	}
}

// A fetch that asks for nothing has nothing to wait for.
func TestEmptyFetchIsAnsweredAtOnce(t *testing.T) {
	c := dial(t, startBroker(t))
	req := fetchAsk("a", 0, 0)
	req.Topics, req.MaxWaitMillis = nil, neverMs
	if resp := call[*kmsg.FetchResponse](c, 12, req); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("code %d, %d topics", resp.ErrorCode, len(resp.Topics))
	}
}

func TestLongPollEndsInTime(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	req := fetchAsk("a", 0, 0)
	req.MaxWaitMillis = 100
	began := time.Now()
	p := c.fetch(req)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("answered after %v, want 100ms", took)
	}
	if p.ErrorCode != 0 || p.HighWatermark != 0 {
		t.Errorf("code %d, high watermark %d", p.ErrorCode, p.HighWatermark)
	}
}

// MinBytes holds an answer back until there is enough.
func TestLongPollWaitsForMinBytes(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	consumer, producer := dial(t, n.addr), dial(t, n.addr)
	producer.createTopic("a", 1)
	req := fetchAsk("a", 0, 0)
	req.MaxWaitMillis, req.MinBytes = 30_000, 1000
	id := consumer.send(12, req)
	for range 10 {
		producer.mustProduce("a", 0, strings.Repeat("x", 100))
	}
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	consumer.receive(id, resp)
	if got := len(resp.Topics[0].Partitions[0].RecordBatches); got < 1000 {
		t.Errorf("the answer has %d bytes, at least 1000 were asked for", got)
	}
}

// A fetch that waits on a topic that is deleted is told so.
func TestLongPollOnDeletedTopic(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	consumer, admin := dial(t, n.addr), dial(t, n.addr)
	admin.createTopic("a", 1)
	req := fetchAsk("a", 0, 0)
	req.MaxWaitMillis = neverMs
	id := consumer.send(12, req)
	waitUntil(t, "the fetch waits", func() bool { return n.InFlight() == 1 })
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"a"}
	call[*kmsg.DeleteTopicsResponse](admin, 4, del)
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	consumer.receive(id, resp)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 3 {
		t.Errorf("code %d, want UNKNOWN_TOPIC_OR_PARTITION (3)", code)
	}
}

func TestFetchErrors(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "one")
	for name, test := range map[string]struct {
		edit func(*kmsg.FetchRequestTopic)
		code int16
	}{
		"unknown topic":      {func(r *kmsg.FetchRequestTopic) { r.Topic = "b" }, 3},
		"unknown partition":  {func(r *kmsg.FetchRequestTopic) { r.Partitions[0].Partition = 9 }, 3},
		"negative partition": {func(r *kmsg.FetchRequestTopic) { r.Partitions[0].Partition = -1 }, 3},
		"behind the end":     {func(r *kmsg.FetchRequestTopic) { r.Partitions[0].FetchOffset = 5 }, 1},
		"before the start":   {func(r *kmsg.FetchRequestTopic) { r.Partitions[0].FetchOffset = -1 }, 1},
		"older epoch":        {func(r *kmsg.FetchRequestTopic) { r.Partitions[0].CurrentLeaderEpoch = 100 }, 75},
	} {
		req := fetchAsk("a", 0, 0)
		req.MaxWaitMillis = 30_000 // an error is told at once
		test.edit(&req.Topics[0])
		p := c.fetch(req)
		if p.ErrorCode != test.code || p.RecordBatches == nil || len(p.RecordBatches) > 0 {
			t.Errorf("%s: code %d with %d bytes, want %d", name, p.ErrorCode, len(p.RecordBatches), test.code)
		}
	}
}

// Many fetches at a time, each with more to read than the memory for answers
// allows together, are all answered, and the memory is back afterwards.
func TestAnswerMemoryIsBounded(t *testing.T) {
	const budget = 32 << 20
	n := serve(t, broker.Config{FS: crashfs.New(), AnswerMemory: budget})
	c := dial(t, n.addr)
	c.createTopic("a", 1, "max.message.bytes", "8000000")
	for range 6 {
		c.mustProduce("a", 0, strings.Repeat("x", 5_000_000))
	}
	req := fetchAsk("a", 0, 0)
	req.Topics[0].Partitions[0].PartitionMaxBytes = 20 << 20
	var consumers sync.WaitGroup
	for range 12 {
		consumer := dial(t, n.addr)
		consumer.send(12, req)
		consumers.Go(func() {
			if used := n.AnswerMemoryBytes(); used > budget {
				t.Errorf("fetches hold %d bytes, the budget is %d", used, budget)
			}
			if frame, err := consumer.nextFrame(); err != nil || len(frame) < 5_000_000 {
				t.Errorf("a consumer got %d bytes, %v", len(frame), err)
			}
		})
	}
	consumers.Wait()
	waitUntil(t, "all memory is given back", func() bool { return n.AnswerMemoryBytes() == 0 })
}

// A consumer that catches up gets answers that grow.
func TestFetchAnswersGrow(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	for i := range 64 {
		c.mustProduce("a", 0, fmt.Sprint(i), strings.Repeat("x", 50_000))
	}
	var sizes []int
	offset := int64(0)
	for offset < 128 {
		got := values(t, c.fetch(fetchAsk("a", 0, offset)).RecordBatches)
		if len(got) == 0 {
			t.Fatalf("nothing at offset %d", offset)
		}
		sizes = append(sizes, len(got))
		offset += int64(len(got))
	}
	if len(sizes) > 10 || sizes[1] <= sizes[0] {
		t.Errorf("the answers had %v records", sizes)
	}
}
