package log

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// compactionMetrics tell whether the cleaner keeps up.
type compactionMetrics struct {
	passes     *prometheus.CounterVec
	readBytes  prometheus.Counter
	freedBytes prometheus.Counter
	dirtyRatio prometheus.Gauge
	lastPass   prometheus.Gauge
	damaged    prometheus.GaugeFunc
}

func newCompactionMetrics(s *Store) compactionMetrics {
	return compactionMetrics{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_log_compaction_passes_total",
			Help: "Passes of the log cleaner over one partition, by outcome.",
		}, []string{"outcome"}),
		readBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_log_compaction_read_bytes_total",
			Help: "Bytes of the segments that compaction made anew.",
		}),
		freedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "millrace_log_compaction_freed_bytes_total",
			Help: "Bytes by which these segments became smaller.",
		}),
		dirtyRatio: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "millrace_log_compaction_max_dirty_ratio",
			Help: "Largest share of bytes in a compacted partition that could be compacted and were not yet.",
		}),
		lastPass: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "millrace_log_compaction_last_pass_timestamp_seconds",
			Help: "When the log cleaner finished its last pass; 0 before the first.",
		}),
		damaged: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_log_uncleanable_partitions",
			Help: "Partitions that are not compacted any more because damage was found in them.",
		}, func() float64 { return float64(s.cleaner.uncleanable()) }),
	}
}

func (m *compactionMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.passes, m.readBytes, m.freedBytes, m.dirtyRatio, m.lastPass, m.damaged}
}

// passed accounts for a pass that has ended.
func (m *compactionMetrics) passed(c *compaction, err error) {
	m.readBytes.Add(float64(c.readBytes))
	m.freedBytes.Add(float64(max(0, c.readBytes-c.leftBytes)))
	if err != nil {
		m.passes.WithLabelValues("failed").Inc()
		return
	}
	m.passes.WithLabelValues("done").Inc()
	m.lastPass.Set(float64(time.Now().UnixMilli()) / 1000)
}

func (c *cleaner) uncleanable() (n int) {
	for _, l := range c.store.allLogs() {
		if l.compacted.failed.Load() {
			n++
		}
	}
	return n
}
