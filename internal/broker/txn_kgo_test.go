package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// txnClient is a transactional producer.
func (n *node) txnClient(t testing.TB, id string, opts ...kgo.Opt) *kgo.Client {
	return n.client(t, append([]kgo.Opt{kgo.TransactionalID(id), kgo.RequiredAcks(kgo.AllISRAcks())}, opts...)...)
}

// transact runs one transaction that writes the values, spread over the
// partitions 0 and 1 of the topic.
func transact(t testing.TB, cl *kgo.Client, topic string, end kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		cl.Produce(testContext(t), &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte(v)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce %q: %v", v, err)
			}
		})
	}
	if err := cl.Flush(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(testContext(t), end); err != nil {
		t.Fatal(err)
	}
}

// committedValues is what a reader at read_committed finds, once it has count
// records.
func (n *node) committedValues(t testing.TB, topic string, count int) map[string]int {
	t.Helper()
	cl := n.client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	found := map[string]int{}
	ctx := testContext(t)
	for seen := 0; seen < count; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d of %d records: %v", seen, count, err)
		}
		for r := range fetches.RecordsAll() {
			found[string(r.Value)]++
			seen++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	for r := range cl.PollFetches(ctx).RecordsAll() {
		found[string(r.Value)]++
	}
	return found
}

// A reader at read_committed sees what was committed, and nothing else.
func TestTransactions(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	dial(t, n.addr).createTopic("t", 2)
	cl := n.txnClient(t, "id", kgo.RecordPartitioner(kgo.ManualPartitioner()))
	want := map[string]int{}
	for i := range 5 {
		a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		transact(t, cl, "t", kgo.TryCommit, a, b)
		want[a], want[b] = 1, 1
		transact(t, cl, "t", kgo.TryAbort, "x", "y", "z")
	}
	if got := n.committedValues(t, "t", len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %v, want %v", got, want)
	}
}
