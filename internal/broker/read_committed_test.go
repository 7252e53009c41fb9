package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
)

// txnWriter is a producer's transaction in one partition, without a coordinator.
type txnWriter struct {
	t        *testing.T
	log      *log.Log
	producer int64
	sequence int32
}

func (w *txnWriter) write(value string) {
	w.t.Helper()
	b := build(w.t, batch.BuilderOptions{ProducerID: w.producer, BaseSequence: w.sequence, Transactional: true}, value)
	a, err := w.log.Append(b, log.AppendOptions{Txn: true, Sync: true})
	if err == nil {
		err = a.Wait(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.sequence++
}

func (w *txnWriter) end(commit bool) {
	w.t.Helper()
	a, err := w.log.AppendMarker(log.Marker{ProducerID: w.producer, Commit: commit})
	if err == nil {
		err = a.Wait(w.t.Context())
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func committedAsk(topic string, offset int64) *kmsg.FetchRequest {
	ask := fetchAsk(topic, 0, offset)
	ask.IsolationLevel = 1
	return ask
}

// F3: a read_committed client sees nothing of an undecided transaction and of
// what lies behind it, and learns which records are of aborted ones.
func TestReadCommitted(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	l := n.LogOf(t, "a", 0)
	first, second := txnWriter{t: t, log: l, producer: 100}, txnWriter{t: t, log: l, producer: 200}
	c.mustProduce("a", 0, "plain 0") // 0
	first.write("first 1")           // 1
	second.write("second 2")         // 2
	c.mustProduce("a", 0, "plain 3") // 3

	open := c.fetch(committedAsk("a", 0))
	if got := values(t, open.RecordBatches); !slices.Equal(got, []string{"plain 0"}) || open.HighWatermark != 4 || open.LastStableOffset != 1 {
		t.Errorf("while both are open: %q, high watermark %d, last stable offset %d", got, open.HighWatermark, open.LastStableOffset)
	}
	if all := c.fetch(fetchAsk("a", 0, 0)); len(values(t, all.RecordBatches)) != 4 || all.LastStableOffset != 1 {
		t.Errorf("read_uncommitted: %q, last stable offset %d", values(t, all.RecordBatches), all.LastStableOffset)
	}
	if behind := c.fetch(committedAsk("a", 3)); behind.ErrorCode != 0 || len(behind.RecordBatches) != 0 {
		t.Errorf("behind the last stable offset: code %d, %d bytes", behind.ErrorCode, len(behind.RecordBatches))
	}

	second.end(false) // 4
	first.end(true)   // 5
	done := c.fetch(committedAsk("a", 0))
	want := []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 200, FirstOffset: 2}}
	if done.LastStableOffset != 6 || !slices.EqualFunc(done.AbortedTransactions, want, sameAborted) {
		t.Errorf("after both have ended: last stable offset %d, aborted %+v", done.LastStableOffset, done.AbortedTransactions)
	}
	if past := c.fetch(committedAsk("a", 5)); len(past.AbortedTransactions) != 0 || len(past.RecordBatches) == 0 {
		t.Errorf("behind the abort: aborted %+v, %d bytes", past.AbortedTransactions, len(past.RecordBatches))
	}
	if plain := c.fetch(fetchAsk("a", 0, 0)); len(plain.AbortedTransactions) != 0 {
		t.Errorf("read_uncommitted is told of aborted transactions: %+v", plain.AbortedTransactions)
	}
}

func sameAborted(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) bool {
	return a.ProducerID == b.ProducerID && a.FirstOffset == b.FirstOffset
}

// A fetch that waits at the last stable offset is woken by the decision, not by
// records behind it.
func TestReadCommittedWaitsForTheDecision(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	w := txnWriter{t: t, log: n.LogOf(t, "a", 0), producer: 100}
	w.write("held back")
	ask := committedAsk("a", 0)
	ask.MaxWaitMillis = neverMs
	id := c.send(12, ask)
	dial(t, n.addr).mustProduce("a", 0, "behind it")
	w.end(true)
	resp := ask.ResponseKind().(*kmsg.FetchResponse)
	c.receive(id, resp)
	if got := values(t, resp.Topics[0].Partitions[0].RecordBatches); len(got) < 2 || got[0] != "held back" {
		t.Errorf("got %q", got)
	}
}

// ListOffsets at read_committed ends where the client's view ends.
func TestListOffsetsReadCommitted(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "plain")
	w := txnWriter{t: t, log: n.LogOf(t, "a", 0), producer: 100}
	w.write("open")
	later := time.Now().Add(-time.Hour).UnixMilli()
	for _, want := range []struct {
		isolation int8
		at        int64
		offset    int64
	}{{0, -1, 2}, {1, -1, 1}, {0, -2, 0}, {1, -2, 0}, {0, later, 0}, {1, later, 0}} {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, want.isolation
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "a", Partitions: []kmsg.ListOffsetsRequestTopicPartition{{CurrentLeaderEpoch: -1, Timestamp: want.at}}}}
		if got := call[*kmsg.ListOffsetsResponse](c, 7, req).Topics[0].Partitions[0]; got.ErrorCode != 0 || got.Offset != want.offset {
			t.Errorf("isolation %d, timestamp %d: offset %d (code %d), want %d", want.isolation, want.at, got.Offset, got.ErrorCode, want.offset)
		}
	}
}
