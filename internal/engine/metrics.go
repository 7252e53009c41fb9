package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one job. Their names are a promise.
type metrics struct {
	records     prometheus.Counter
	commits     prometheus.Histogram
	aborts      prometheus.Counter
	sessions    prometheus.Counter
	memory      prometheus.Gauge
	watermark   prometheus.Gauge
	late        prometheus.Counter
	skipped     prometheus.Counter
	deadLetters *prometheus.CounterVec
	lag         prometheus.Gauge
	misplaced   prometheus.Counter
	endToEnd    prometheus.Histogram
	owed        prometheus.GaugeFunc

	misplacedSeen int64
	lateSeen      int64 // of the tasks that run, so far added
	skippedSeen   int64
	lettersSeen   map[string]int64
}

func newMetrics(r prometheus.Registerer, job string, e *Engine) *metrics {
	labels := prometheus.Labels{"job": job}
	m := &metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_records_total", Help: "Records whose effect is committed.", ConstLabels: labels}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_job_commit_duration_seconds", Help: "Time from the last record of a transaction to its commit.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		aborts:      prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_aborts_total", Help: "Transactions that were not known to be committed.", ConstLabels: labels}),
		sessions:    prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_sessions_lost_total", Help: "Times that the job had to join its group anew.", ConstLabels: labels}),
		memory:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_job_state_memory_bytes", Help: "Memory of the tables.", ConstLabels: labels}),
		watermark:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_job_watermark_seconds", Help: "Lowest watermark of the tasks that have one, in seconds since the epoch.", ConstLabels: labels}),
		late:        prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_late_total", Help: "Records that were too late for their window.", ConstLabels: labels}),
		skipped:     prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_skipped_total", Help: "Records that a stage with the policy Skip could not take, once per stage.", ConstLabels: labels}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millrace_job_dead_letters_total", Help: "Records that a stage could not take.", ConstLabels: labels}, []string{"reason"}),
		lag:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "millrace_job_lag_records", Help: "Records behind the committed positions, this instance.", ConstLabels: labels}),
		misplaced:   prometheus.NewCounter(prometheus.CounterOpts{Name: "millrace_job_misplaced_total", Help: "Sampled records of keyed topics that are not in the partition of their key.", ConstLabels: labels}),
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_job_end_to_end_seconds", Help: "Time from the timestamp of a transaction's oldest record to its commit.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
		}),
		owed: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "millrace_job_uncommitted_seconds", Help: "How long the record waits for its commit that was taken first, this instance; 0: none waits.", ConstLabels: labels,
		}, func() float64 { return e.owed().Seconds() }),
		lettersSeen: make(map[string]int64),
	}
	if r != nil {
		r.MustRegister(m.owed, m.records, m.commits, m.aborts, m.sessions, m.memory, m.watermark, m.late, m.skipped, m.deadLetters, m.lag, m.misplaced, m.endToEnd)
	}
	return m
}

// committed counts one commit.
func (m *metrics) committed(o opened, now time.Time, took time.Duration) {
	m.records.Add(float64(o.records))
	m.commits.Observe(took.Seconds())
	if o.oldest > 0 {
		m.endToEnd.Observe(max(0, now.Sub(o.oldest.Time()).Seconds()))
	}
}

// observe takes over what the tasks that run here have counted. Tasks that went
// away took their counts along: sums that fell are a new start.
func (m *metrics) observe(tasks []TaskStatus) {
	var late, skipped, lag, misplaced int64
	letters := make(map[string]int64)
	lowest := float64(-1)
	for _, t := range tasks {
		lag += t.Lag
		for _, s := range t.Stats {
			late += s.Late
			skipped += s.Skipped
			misplaced += s.Misplaced
			for refusal, n := range s.DeadLetters {
				letters[refusal.Reason] += n
			}
			if at := float64(s.Watermark) / 1000; s.Watermark >= 0 && (lowest < 0 || at < lowest) {
				lowest = at
			}
		}
	}
	m.lag.Set(float64(lag))
	if lowest >= 0 {
		m.watermark.Set(lowest)
	}
	m.late.Add(float64(max(0, late-m.lateSeen)))
	m.lateSeen = late
	m.skipped.Add(float64(max(0, skipped-m.skippedSeen)))
	m.skippedSeen = skipped
	m.misplaced.Add(float64(max(0, misplaced-m.misplacedSeen)))
	m.misplacedSeen = misplaced
	for reason, n := range letters {
		m.deadLetters.WithLabelValues(reason).Add(float64(max(0, n-m.lettersSeen[reason])))
		m.lettersSeen[reason] = n
	}
}
