package log

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	syncSeconds prometheus.Histogram
	corrupt     prometheus.Counter
	failed      prometheus.Counter
	cutBytes    prometheus.Counter
	openFiles   prometheus.GaugeFunc
	syncRounds  prometheus.CounterFunc
	compaction  compactionMetrics

	registerer prometheus.Registerer
	registered []prometheus.Collector
}

func newMetrics(s *Store, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "millrace_broker_fsync_duration_seconds",
			Help:    "Duration of one sync of a file, a directory or the file system.",
			Buckets: prometheus.ExponentialBuckets(0.000025, 2, 18), // 25 µs to 3.3 s
		}),
		corrupt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_log_corrupt_ranges_total",
			Help: "Damaged stretches found in stored batches since the start.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_log_failed_partitions_total",
			Help: "Partitions that stopped because a write or sync failed.",
		}),
		cutBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_log_recovery_cut_bytes_total",
			Help: "Bytes of torn, never acknowledged batches that recovery cut off.",
		}),
		openFiles: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_log_open_files",
			Help: "Segment and index files that are open.",
		}, func() float64 { return float64(s.handles.openFiles()) }),
		syncRounds: prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "millrace_log_sync_rounds_total",
			Help: "Rounds of group commit: all that waits at a time is synced in one.",
		}, func() float64 { return float64(s.SyncRounds()) }),
	}
	m.compaction = newCompactionMetrics(s)
	all := append(m.compaction.collectors(), m.syncSeconds, m.corrupt, m.failed, m.cutBytes, m.openFiles, m.syncRounds, sizes{s})
	return m, m.register(r, all...)
}

func (m *metrics) register(r prometheus.Registerer, all ...prometheus.Collector) error {
	if r == nil {
		return nil
	}
	m.registerer = r
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return err
		}
		m.registered = append(m.registered, c)
	}
	return nil
}

// unregister lets the next store of this process register the same names.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
}

func (m *metrics) observeSync(began time.Time) { m.syncSeconds.Observe(time.Since(began).Seconds()) }

// sizes collects the size of each partition when it is asked, so that nothing is
// kept per partition between scrapes.
type sizes struct{ store *Store }

var sizeDesc = prometheus.NewDesc("millrace_log_size_bytes", "Bytes of batches on disk.", []string{"topic", "partition"}, nil)

func (c sizes) Describe(out chan<- *prometheus.Desc) { out <- sizeDesc }

func (c sizes) Collect(out chan<- prometheus.Metric) {
	for _, l := range c.store.Logs() {
		out <- prometheus.MustNewConstMetric(sizeDesc, prometheus.GaugeValue, float64(l.SizeBytes()),
			string(l.tp.Topic), strconv.Itoa(int(l.tp.Partition)))
	}
}
