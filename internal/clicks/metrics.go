package clicks

import "github.com/prometheus/client_golang/prometheus"

// metrics reads a job's results at each scrape: counting pays nothing for it.
type metrics struct {
	job                                        *Job
	records, deadLetters, watermark            *prometheus.Desc
	users, pages, memory, memoryMax, untracked *prometheus.Desc
}

func newMetrics(registerer prometheus.Registerer, j *Job) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("millrace_job_"+name, help, labels, prometheus.Labels{"job": JobName})
	}
	m := &metrics{
		job:         j,
		records:     desc("records_total", "Events that the job has counted since it started."),
		deadLetters: desc("dead_letters_total", "Malformed events, by reason.", "reason"),
		watermark:   desc("watermark_seconds", "Event time up to which every partition was counted, in Unix seconds."),
		users:       desc("users", "Distinct users that are counted."),
		pages:       desc("pages", "Distinct pages that are counted."),
		memory:      desc("memory_bytes", "Memory that the counted users and pages take."),
		memoryMax:   desc("memory_limit_bytes", "Memory that the counted users and pages may take."),
		untracked:   desc("untracked_total", "Clicks of users or pages that no longer fitted into memory.", "by"),
	}
	if registerer != nil {
		registerer.MustRegister(m)
	}
}

// Describe and Collect make metrics a prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.records, m.deadLetters, m.watermark, m.users, m.pages, m.memory, m.memoryMax, m.untracked} {
		out <- d
	}
}

func (m *metrics) Collect(out chan<- prometheus.Metric) {
	totals := m.job.Totals()
	_, byReason, _ := m.job.DeadLetters(0)
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	counter(m.records, totals.Clicks)
	for _, reason := range Reasons() {
		counter(m.deadLetters, byReason[reason], string(reason))
	}
	if !totals.AsOf.Watermark.IsZero() {
		gauge(m.watermark, float64(totals.AsOf.Watermark.UnixMilli())/1000)
	}
	gauge(m.users, float64(totals.Users))
	gauge(m.pages, float64(totals.Pages))
	gauge(m.memory, float64(m.job.results.memoryBytes()))
	gauge(m.memoryMax, float64(m.job.options.MemoryBytes))
	counter(m.untracked, totals.UntrackedUserClicks, "user")
	counter(m.untracked, totals.UntrackedPageClicks, "page")
}

func (r *results) memoryBytes() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.memory.usedBytes
}
