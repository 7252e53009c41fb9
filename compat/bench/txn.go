package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/history"
	"millrace/compat/probe"
	"millrace/compat/target"
	"millrace/compat/txntest"
)

const (
	// txnPartitions and txnRecords make one transaction, beside one offset.
	txnPartitions = 4
	txnRecords    = 100
	// betweenTxns is not measured: Kafka writes its markers behind the answer,
	// and a transaction that begins at once would wait for its client's backoff.
	betweenTxns = 10 * time.Millisecond
	// countedTxns are those whose sync rounds are counted, one at a time.
	countedTxns = 50
	// pacedCommits a second by pacedProducers, for so long, cost CPU.
	pacedCommits   = 100
	pacedProducers = 4
	pacedFor       = 10 * time.Second
)

// txnSide is one broker under transactions, with what its rounds gave.
type txnSide struct {
	broker   *target.Broker
	p50, cpu []float64
}

// transactions measures single transactions beside Kafka, and what transactions
// cost a producer and a reader of many records beside doing without.
func transactions(ctx context.Context, s settings, t *table) error {
	ours, err := startTxnSide(ctx, s.kind)
	if err != nil {
		return err
	}
	defer ours.broker.Close()
	theirs := &txnSide{}
	if !t.withoutKafka {
		if theirs, err = startTxnSide(ctx, target.Kafka); err != nil {
			return err
		}
		defer theirs.broker.Close()
	}
	var rounds, markerRounds, transactional, idempotent, committed, uncommitted []float64
	for round := range s.rounds {
		for _, side := range []*txnSide{ours, theirs} {
			if err := side.round(ctx, round, s.singles/4); err != nil {
				return err
			}
		}
		n, marked, err := syncRounds(ctx, ours.broker, round)
		if err != nil {
			return err
		}
		rounds, markerRounds = append(rounds, n), append(markerRounds, marked)
		many, err := manyRecords(ctx, ours.broker, round, s.events)
		if err != nil {
			return err
		}
		transactional, idempotent = append(transactional, many.transactional), append(idempotent, many.idempotent)
		committed, uncommitted = append(committed, many.committed), append(uncommitted, many.uncommitted)
	}
	t.compare("transaction of 100 records in 4 partitions and an offset, p50", "µs", ours.p50, "Kafka", theirs.p50, "<= 0.5x")
	t.compare("the same, sync rounds from begin to committed", "rounds", rounds, "", nil, "<= 3")
	t.compare("the same, until readers see it", "rounds", markerRounds, "", nil, "-")
	t.compare("100 such commits/s, broker CPU", "% of a core", ours.cpu, "Kafka", theirs.cpu, "<= 5 %")
	t.compare("produce, JVM, transactions of 100 ms", "records/s", transactional, "idempotent", idempotent, ">= 0.95x")
	t.compare("consume, franz-go, read_committed", "records/s", committed, "read_uncommitted", uncommitted, ">= 0.95x")
	return nil
}

func startTxnSide(ctx context.Context, kind target.Kind) (*txnSide, error) {
	b, err := target.Start(ctx, target.Options{Kind: kind})
	if err != nil {
		return nil, err
	}
	side := &txnSide{broker: b}
	if err := side.prepare(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return side, nil
}

func (s *txnSide) prepare(ctx context.Context) error {
	conn, err := probe.Dial(ctx, s.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.CreateTopic("txn", txnPartitions)
}

// round measures n transactions one after the other, and the CPU of many.
func (s *txnSide) round(ctx context.Context, round, n int) error {
	if s.broker == nil {
		return nil
	}
	p, err := openTxn(ctx, s.broker, fmt.Sprint("single-", round))
	if err != nil {
		return err
	}
	defer p.Close()
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		if err := oneTxn(ctx, p, int64(round*n+i)); err != nil {
			return err
		}
		took[i] = time.Since(began)
		time.Sleep(betweenTxns)
	}
	s.p50 = append(s.p50, micros(took))
	cpu, err := pacedCPU(ctx, s.broker, round)
	s.cpu = append(s.cpu, cpu)
	return err
}

func openTxn(ctx context.Context, b *target.Broker, id string) (txntest.Producer, error) {
	return txntest.Libraries()[0].Open(ctx, b.Addr, id, time.Minute)
}

// oneTxn is one transaction: records in equal parts, one offset, commit.
func oneTxn(ctx context.Context, p txntest.Producer, n int64) error {
	records := make([]txntest.Record, txnRecords)
	for i := range records {
		records[i] = txntest.Record{Partition: history.Partition{Topic: "txn", Index: int32(i % txnPartitions)}, Value: make([]byte, recordBytes)}
	}
	if err := p.Begin(ctx); err != nil {
		return err
	}
	if _, err := p.Send(ctx, records); err != nil {
		return err
	}
	if err := p.Stage(ctx, history.Staged{Group: "txn-group", Partition: records[0].Partition, Offset: n}); err != nil {
		return err
	}
	return p.Commit(ctx)
}

// syncRounds returns how many sync rounds began between the first record of a
// transaction and the answer to its commit, and up to when its markers were
// durable, on average, as the broker counts them. The transactions come one at a
// time: others' rounds would count too.
func syncRounds(ctx context.Context, b *target.Broker, round int) (answer, markers float64, err error) {
	if b.Kind != target.Millrace {
		return 0, 0, nil
	}
	p, err := openTxn(ctx, b, fmt.Sprint("counted-", round))
	if err != nil {
		return 0, 0, err
	}
	defer p.Close()
	// The first transaction of an id is not like the others.
	if err := oneTxn(ctx, p, 0); err != nil {
		return 0, 0, err
	}
	time.Sleep(betweenTxns)
	rounds, answered := -metricOf(ctx, b, txnRounds), -metricOf(ctx, b, txnAnswered)
	markerRounds, marked := -metricOf(ctx, b, txnMarkerRounds), -metricOf(ctx, b, txnMarked)
	for i := range countedTxns {
		if err := oneTxn(ctx, p, int64(i)); err != nil {
			return 0, 0, err
		}
		time.Sleep(betweenTxns)
	}
	rounds, answered = rounds+metricOf(ctx, b, txnRounds), answered+metricOf(ctx, b, txnAnswered)
	markerRounds, marked = markerRounds+metricOf(ctx, b, txnMarkerRounds), marked+metricOf(ctx, b, txnMarked)
	if answered != countedTxns {
		return 0, 0, fmt.Errorf("%v transactions were counted, want %d", answered, countedTxns)
	}
	return rounds / answered, markerRounds / marked, nil
}

// The broker's own count of sync rounds within transactions.
const (
	txnRounds   = "millrace_broker_transaction_sync_rounds_total"
	txnAnswered = "millrace_broker_transactions_answered_total"

	txnMarkerRounds = "millrace_broker_transaction_marker_sync_rounds_total"
	txnMarked       = "millrace_broker_transactions_marked_total"
)

// metricOf is metric, NaN when there is none: a figure that says so.
func metricOf(ctx context.Context, b *target.Broker, name string) float64 {
	v, err := metric(ctx, b, name)
	if err != nil {
		return math.NaN()
	}
	return v
}

// pacedCPU returns the broker's CPU in percent of a core while several producers
// together commit pacedCommits a second.
func pacedCPU(ctx context.Context, b *target.Broker, round int) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := target.CPUTime(b.PID())
	if err != nil {
		return 0, err
	}
	failed := make([]error, pacedProducers)
	done := make([]int, pacedProducers)
	var group sync.WaitGroup
	for i := range pacedProducers {
		group.Go(func() { done[i], failed[i] = paced(ctx, b, fmt.Sprintf("paced-%d-%d", round, i)) })
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	after, err := target.CPUTime(b.PID())
	if err != nil {
		return 0, err
	}
	commits := 0
	for _, n := range done {
		commits += n
	}
	if want := pacedCommits * int(pacedFor.Seconds()); commits < want/2 {
		return 0, fmt.Errorf("%s made %d commits in %s, want %d", b.Kind, commits, pacedFor, want)
	}
	perCommit := (after - before).Seconds() / float64(commits)
	return perCommit * pacedCommits * 100, nil
}

// paced commits one producer's share for pacedFor and returns how many it made.
func paced(ctx context.Context, b *target.Broker, id string) (int, error) {
	p, err := openTxn(ctx, b, id)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	ticks := time.NewTicker(time.Second * pacedProducers / pacedCommits)
	defer ticks.Stop()
	end := time.After(pacedFor)
	for n := 0; ; n++ {
		select {
		case <-end:
			return n, nil
		case <-ticks.C:
		}
		if err := oneTxn(ctx, p, int64(n)); err != nil {
			return n, err
		}
	}
}

// manyRates are the rates of one round with many records.
type manyRates struct{ transactional, idempotent, committed, uncommitted float64 }

// manyRecords writes events with and without transactions, and reads the former
// with and without looking at them.
func manyRecords(ctx context.Context, b *target.Broker, round, events int) (r manyRates, err error) {
	conn, err := probe.Dial(ctx, b.Addr)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	with, without := fmt.Sprint("with-", round), fmt.Sprint("without-", round)
	for _, topic := range []string{with, without} {
		if err := conn.CreateTopic(topic, txnPartitions); err != nil {
			return r, err
		}
	}
	produces := []func() error{
		func() (err error) {
			if r.idempotent, err = javaProduce(ctx, b, without, events); err == nil {
				err = counted(conn, without, events)
			}
			return err
		},
		func() (err error) {
			r.transactional, err = javaProduce(ctx, b, with, events, "--transactional-id", with, "--transaction-duration-ms", "100")
			return err
		},
	}
	consumes := []func() error{
		func() (err error) { r.uncommitted, err = franzConsume(ctx, b, with, events); return err },
		func() (err error) {
			r.committed, err = franzConsume(ctx, b, with, events, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			return err
		},
	}
	// Who comes second finds warm caches: the order changes from round to round.
	if round%2 == 1 {
		slices.Reverse(produces)
		slices.Reverse(consumes)
	}
	for _, do := range slices.Concat(produces, consumes) {
		if err := do(); err != nil {
			return r, err
		}
	}
	return r, nil
}
