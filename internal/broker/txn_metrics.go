package broker

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/txn"
)

// txnCounts is what happened to transactions since the start.
type txnCounts struct {
	committed, aborted, timedOut atomic.Int64

	// Transactions with partitions: those whose end was answered, and the sync rounds
	// from their first record to that answer; and all rounds until their markers were
	// durable, of those that are marked.
	answered, rounds     atomic.Int64
	marked, markedRounds atomic.Int64
}

// settled counts a decision whose markers are all written, so many sync rounds
// after the transaction's first record.
func (c *txnCounts) settled(prepared txn.Txn, rounds int64) {
	if prepared.State == txn.PrepareCommit {
		c.committed.Add(1)
	} else {
		c.aborted.Add(1)
	}
	if len(prepared.Partitions) > 0 {
		c.marked.Add(1)
		c.markedRounds.Add(rounds)
	}
}

// openTxnThreshold is the age from which on an open transaction has a series of
// its own: it holds up every reader at read_committed.
const openTxnThreshold = 10 * time.Second

// maxOpenTxnSeries bounds them; what is beyond shows in the count.
const maxOpenTxnSeries = 1000

var (
	openTxnSeconds = prometheus.NewDesc("millrace_broker_open_transaction_seconds",
		"Age of the oldest open transaction of a partition, from 10 s on. Its readers at read_committed stand still meanwhile.", []string{"topic", "partition"}, nil)
	stuckPartitions = prometheus.NewDesc("millrace_broker_open_transaction_partitions",
		"Partitions whose oldest open transaction is older than 10 s.", nil, nil)
	txnsTotal = prometheus.NewDesc("millrace_broker_transactions_total",
		"Transactions that ended, by result; timeout counts those aborts that a timeout began.", []string{"result"}, nil)
	txnAnswered = prometheus.NewDesc("millrace_broker_transactions_answered_total",
		"Transactions with records whose end was answered.", nil, nil)
	txnRounds = prometheus.NewDesc("millrace_broker_transaction_sync_rounds_total",
		"Sync rounds that began between the first record of a transaction and the answer to its end, summed over millrace_broker_transactions_answered_total.", nil, nil)
	txnMarked = prometheus.NewDesc("millrace_broker_transactions_marked_total",
		"Transactions with records whose markers are durable: readers at read_committed see what is behind them.", nil, nil)
	txnMarkedRounds = prometheus.NewDesc("millrace_broker_transaction_marker_sync_rounds_total",
		"Sync rounds that began between the first record of a transaction and the moment when its markers were durable, summed over millrace_broker_transactions_marked_total.", nil, nil)
	txnIDs = prometheus.NewDesc("millrace_broker_transactional_ids", "Transactional ids that are known.", nil, nil)
)

// txnCollector reads the state of transactions when it is asked.
type txnCollector struct{ x *txns }

func (x *txns) register(r prometheus.Registerer) { r.MustRegister(txnCollector{x}) }

// Describe is for prometheus.Collector.
func (txnCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openTxnSeconds, stuckPartitions, txnsTotal, txnAnswered, txnRounds, txnMarked, txnMarkedRounds, txnIDs} {
		descs <- d
	}
}

// Collect is for prometheus.Collector.
func (c txnCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(result string, n *atomic.Int64) {
		out <- prometheus.MustNewConstMetric(txnsTotal, prometheus.CounterValue, float64(n.Load()), result)
	}
	counter("commit", &c.x.counts.committed)
	counter("abort", &c.x.counts.aborted)
	counter("timeout", &c.x.counts.timedOut)
	out <- prometheus.MustNewConstMetric(txnAnswered, prometheus.CounterValue, float64(c.x.counts.answered.Load()))
	out <- prometheus.MustNewConstMetric(txnRounds, prometheus.CounterValue, float64(c.x.counts.rounds.Load()))
	out <- prometheus.MustNewConstMetric(txnMarked, prometheus.CounterValue, float64(c.x.counts.marked.Load()))
	out <- prometheus.MustNewConstMetric(txnMarkedRounds, prometheus.CounterValue, float64(c.x.counts.markedRounds.Load()))
	out <- prometheus.MustNewConstMetric(txnIDs, prometheus.GaugeValue, float64(c.x.ids.Load()))
	stuck := 0
	now := c.x.b.cfg.Now()
	for _, l := range c.x.b.store.Logs() {
		_, _, since, open := l.OldestOpenTxn()
		if !open || now.Sub(since) < openTxnThreshold {
			continue
		}
		if stuck++; stuck <= maxOpenTxnSeries {
			tp := l.TP()
			out <- prometheus.MustNewConstMetric(openTxnSeconds, prometheus.GaugeValue, now.Sub(since).Seconds(),
				string(tp.Topic), strconv.Itoa(int(tp.Partition)))
		}
	}
	out <- prometheus.MustNewConstMetric(stuckPartitions, prometheus.GaugeValue, float64(stuck))
}
