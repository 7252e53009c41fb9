package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// copier moves records from one topic to another, exactly once: what it writes
// and how far it has read go into one transaction.
type copier struct {
	t       testing.TB
	session *kgo.GroupTransactSession
}

func newCopier(t testing.TB, addr, id string) *copier {
	t.Helper()
	s, err := kgo.NewGroupTransactSession(
		kgo.SeedBrokers(addr), kgo.TransactionalID(id), kgo.ConsumerGroup("copiers"), kgo.InstanceID(id), kgo.ConsumeTopics("in"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DefaultProduceTopic("out"), kgo.TransactionTimeout(time.Minute), kgo.FetchMaxWait(50*time.Millisecond),
	)
	if err != nil {
		t.Fatal(err)
	}
	return &copier{t: t, session: s}
}

// copy moves what one poll gives, and reports how many of the records were
// committed.
func (c *copier) copy(ctx context.Context) (moved int, err error) {
	fetches := c.session.PollFetches(ctx)
	if err := fetches.Err0(); err != nil {
		return 0, err
	}
	if err := c.session.Begin(); err != nil {
		return 0, err
	}
	failed := kgo.AbortingFirstErrPromise(c.session.Client())
	for r := range fetches.RecordsAll() {
		c.session.Produce(ctx, &kgo.Record{Value: r.Value}, failed.Promise())
		moved++
	}
	committed, err := c.session.End(ctx, kgo.TransactionEndTry(failed.Err() == nil))
	if err != nil || !committed {
		return 0, errors.Join(err, failed.Err())
	}
	return moved, nil
}

// A copy through transactions has each record once, although the broker is
// killed now and then: the copier goes on where its last commit was.
func TestCopyExactlyOnceAcrossKills(t *testing.T) {
	const records = 300
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("in", 3)
	c.createTopic("out", 2)
	cl := n.client(t, kgo.DefaultProduceTopic("in"))
	want := map[string]int{}
	for i := range records {
		v := fmt.Sprint(i)
		want[v] = 1
		if err := cl.ProduceSync(testContext(t), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if i%100 != 99 {
			continue
		}
		session := newCopier(t, n.addr, "copier")
		ctx, cancel := context.WithTimeout(testContext(t), givesUp)
		moved, err := session.copy(ctx)
		cancel()
		t.Logf("round %d: moved %d, %v", i/100, moved, err)
		if i < records-1 { // the next copier finds a broker that was killed
			image := fsys.Crash(crashfs.Policies()[i/100%len(crashfs.Policies())], uint64(i))
			session.session.CloseAllowingRebalance()
			n.stop(t)
			fsys = image
			n = serve(t, broker.Config{FS: fsys})
			cl = n.client(t, kgo.DefaultProduceTopic("in"))
			continue
		}
		for total := moved; n.committedSoFar(t) < records; {
			moved, err := session.copy(testContext(t))
			total += moved
			if err != nil {
				t.Fatalf("after %d: %v", total, err)
			}
		}
		session.session.CloseAllowingRebalance()
	}
	if got := n.committedValues(t, "out", records); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d values in the copy, want %d, each once", len(got), len(want))
	}
}

// committedSoFar is how many values are committed in the copy, once what the
// copier has ended is.
func (n *node) committedSoFar(t testing.TB) (count int) {
	t.Helper()
	n.WaitSettled(t, "copier")
	for partition := range int32(2) {
		values, _ := committedIn(t, n, "out", partition)
		count += len(values)
	}
	return count
}
