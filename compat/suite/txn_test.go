package suite

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"millrace/compat/history"
	"millrace/compat/probe"
	"millrace/compat/target"
	"millrace/compat/txntest"
)

// API keys that a broker may not serve yet.
const (
	endTxn       = 26
	describeACLs = 29
)

// needs ends a test that wants an API which the broker does not advertise.
func needs(t *testing.T, b *target.Broker, key int16, what string) {
	t.Helper()
	served, err := dial(t, b).Served()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := served[key]; !ok {
		leaveOut(t, what, fmt.Errorf("the broker does not advertise API key %d", key))
	}
}

// TestTransactionalClients commits and aborts over several partitions with each
// library: what is committed is read, what is aborted is not, and a group's
// offset moves with the former alone.
func TestTransactionalClients(t *testing.T) {
	for _, library := range append(txntest.Libraries(), txntest.KafkaJS()) {
		t.Run(library.Name, func(t *testing.T) {
			t.Parallel()
			b, topic := sharedBroker(t), newTopic(t)
			needs(t, b, endTxn, "transactions")
			conn := dial(t, b)
			if err := conn.CreateTopic(topic, 4); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			p, err := library.Open(ctx, b.Addr, topic, 30*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			for n, commit := range []bool{true, false, true} {
				transact(ctx, t, p, topic, n, commit)
			}
			checkCommitted(t, conn, topic, map[string]int{"txn 0": 4, "txn 2": 4})
			if offset, err := conn.Committed(topic+"-group", topic, 0); err != nil || offset != 3 {
				t.Errorf("the group's offset is %d (%v), want 3", offset, err)
			}
		})
	}
}

// transact writes one record to each of 4 partitions and stages an offset.
func transact(ctx context.Context, t *testing.T, p txntest.Producer, topic string, n int, commit bool) {
	t.Helper()
	var records []txntest.Record
	for i := range int32(4) {
		records = append(records, txntest.Record{
			Partition: history.Partition{Topic: topic, Index: i}, Value: fmt.Appendf(nil, "txn %d", n),
		})
	}
	err := p.Begin(ctx)
	if err == nil {
		_, err = p.Send(ctx, records)
	}
	if err == nil {
		err = p.Stage(ctx, history.Staged{Group: topic + "-group", Partition: records[0].Partition, Offset: int64(n + 1)})
	}
	switch {
	case err != nil:
	case commit:
		err = p.Commit(ctx)
	default:
		err = p.Abort(ctx)
	}
	if err != nil {
		t.Fatalf("transaction %d: %v", n, err)
	}
}

// checkCommitted counts the values that a committed read of 4 partitions gives.
// The marker is written behind the answer to the commit, so it may take a while.
func checkCommitted(t *testing.T, conn *probe.Conn, topic string, want map[string]int) {
	t.Helper()
	got := map[string]int{}
	for p := range int32(4) {
		err := errors.Join(conn.AwaitStable(topic, p, soon), conn.ReadCommitted(topic, p, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				got[string(r.Value)]++
			}
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("a committed read gives %v, want %v", got, want)
	}
}

// copier runs Kafka's TransactionalMessageCopier on one partition, with aborts
// at random, until that partition is copied.
func copier(t *testing.T, b *target.Broker, from, to string, partition int) *program {
	t.Helper()
	return start(t, nil, tool(t, "TransactionalMessageCopier", "--broker-list", b.Addr,
		"--input-topic", from, "--input-partition", strconv.Itoa(partition), "--output-topic", to,
		"--consumer-group", to+"-group", "--transactional-id", fmt.Sprintf("%s-%d", to, partition),
		"--transaction-size", "40", "--transaction-timeout", "10000", "--enable-random-aborts", "--use-group-metadata")...)
}

// TestTransactionalCopier is the core of Kafka's own system test of transactions:
// two copiers under kill -9 of themselves and of the broker, and the copy is
// exact.
func TestTransactionalCopier(t *testing.T) {
	const perPartition = 4000
	b, from := ownBroker(t, target.Options{}), newTopic(t)
	needs(t, b, endTxn, "TransactionalMessageCopier")
	to := from + "-copy"
	conn := dial(t, b)
	for _, topic := range []string{from, to} {
		if err := conn.CreateTopic(topic, 2); err != nil {
			t.Fatal(err)
		}
	}
	fillCopied(t, conn, from, perPartition)
	conn.Close()
	progress := func(e event) bool { return e.Consumed > 0 }
	copiers := [2]*program{copier(t, b, from, to, 0), copier(t, b, from, to, 1)}
	for round := range 6 {
		copiers[round%2].until(t, 2*soon, "progress", nth(3, progress))
		if round%3 == 2 {
			restart(t, b)
			continue
		}
		copiers[round%2].kill()
		copiers[round%2] = copier(t, b, from, to, round%2)
	}
	for _, c := range copiers {
		c.finish(t, 4*soon)
	}
	checkCopied(t, dial(t, b), to, perPartition)
}

// fillCopied writes numbers to two partitions; partition p's begin at p million.
func fillCopied(t *testing.T, conn *probe.Conn, topic string, count int) {
	t.Helper()
	for p := range int32(2) {
		for first := 0; first < count; first += 100 {
			var values [][]byte
			for n := range 100 {
				values = append(values, strconv.AppendInt(nil, int64(p)*1_000_000+int64(first+n), 10))
			}
			if _, err := conn.Produce(topic, p, -1, probe.BuildBatch(values...)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkCopied(t *testing.T, conn *probe.Conn, topic string, count int) {
	t.Helper()
	copied := map[string]int{}
	for p := range int32(2) {
		err := errors.Join(conn.AwaitStable(topic, p, soon), conn.ReadCommitted(topic, p, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				copied[string(r.Value)]++
			}
			return err
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	var wrong complaints
	for p := range 2 {
		for n := range count {
			if times := copied[strconv.Itoa(p*1_000_000+n)]; times != 1 {
				wrong.add("%d of partition %d is copied %d times", n, p, times)
			}
		}
	}
	if len(copied) != 2*count {
		wrong.add("%d different values, want %d", len(copied), 2*count)
	}
	wrong.report(t)
}

// TestDumpTransactions lets kafka-dump-log read what transactions leave on disk:
// the coordinator's log and the offsets' with its own decoders, markers, the
// index of aborted transactions and the producers' snapshots.
func TestDumpTransactions(t *testing.T) {
	b, topic := ownBroker(t, target.Options{}), newTopic(t)
	needs(t, b, endTxn, "transactions")
	conn := dial(t, b)
	if err := conn.CreateTopic(topic, 4); err != nil {
		t.Fatal(err)
	}
	p, err := txntest.Libraries()[0].Open(t.Context(), b.Addr, topic, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		transact(t.Context(), t, p, topic, n, n%2 == 0)
	}
	p.Close()
	for i := range int32(4) {
		if err := conn.AwaitStable(topic, i, soon); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkTransactionFiles(t, b, topic)
}

func checkTransactionFiles(t *testing.T, b *target.Broker, topic string) {
	t.Helper()
	log := dump(t, logFiles(t, b, topic+"-0", ".log")[0], "--deep-iteration", "--print-data-log")
	for _, marker := range []string{"endTxnMarker: COMMIT", "endTxnMarker: ABORT"} {
		if n := len(regexp.MustCompile(marker).FindAllString(log, -1)); n != 5 {
			t.Errorf("%d times %q in the log, want 5:\n%s", n, marker, tail(log))
		}
	}
	index := dump(t, logFiles(t, b, topic+"-0", ".txnindex")[0])
	if n := len(regexp.MustCompile(`producerId: \d+ firstOffset: \d+ lastOffset: \d+`).FindAllString(index, -1)); n != 5 {
		t.Errorf("the index of aborted transactions holds %d, want 5:\n%s", n, tail(index))
	}
	snapshots := logFiles(t, b, topic+"-0", ".snapshot")
	if out := dump(t, snapshots[len(snapshots)-1]); !regexp.MustCompile(`currentTxnFirstOffset: (None|OptionalLong.empty|-1)`).MatchString(out) {
		t.Errorf("no producer without a transaction in the snapshot:\n%s", tail(out))
	}
	state := dumpAll(t, b, "__transaction_state-*", "--transaction-log-decoder")
	// Ongoing, prepared and complete, in both directions.
	for status := 1; status <= 5; status++ {
		said := fmt.Sprintf(`"transactionalId":"%s"}} payload: .*"transactionStatus":%d`, topic, status)
		if !regexp.MustCompile(said).MatchString(state) {
			t.Errorf("__transaction_state holds no transaction of status %d:\n%s", status, tail(state))
		}
	}
	offsets := dumpAll(t, b, "__consumer_offsets-*", "--offsets-decoder")
	if !regexp.MustCompile(`"group":"` + topic + `-group".*"offset":9`).MatchString(offsets) {
		t.Errorf("__consumer_offsets does not hold the last staged offset:\n%s", tail(offsets))
	}
}
