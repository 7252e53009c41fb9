package broker

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"millrace/internal/wire"
)

// metrics is what the broker measures. No label holds a client, a user or a key;
// topics beyond maxTopicSeries share one series.
type metrics struct {
	requestSeconds     [maxAPIKey]prometheus.Observer // by API key, for those that are served
	refusedConnections *prometheus.CounterVec
	refusedFrames      prometheus.Counter
	failedLogins       *prometheus.CounterVec
}

// maxTopicSeries bounds the topics with series of their own, in the order in
// which they were made or found.
const maxTopicSeries = 1000

// otherTopics is the label of all topics beyond. It is no legal topic name.
const otherTopics = "(other)"

func newMetrics(reg prometheus.Registerer, b *Broker) *metrics {
	factory := promauto.With(reg)
	m := &metrics{
		refusedConnections: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_broker_refused_connections_total",
			Help: "Connections closed at once, by reason.",
		}, []string{"reason"}),
		refusedFrames: factory.NewCounter(prometheus.CounterOpts{
			Name: "millrace_broker_refused_frames_total",
			Help: "Requests that could not be read; each cost its connection.",
		}),
	}
	m.failedLogins = factory.NewCounterVec(prometheus.CounterOpts{
		Name: "millrace_broker_failed_logins_total",
		Help: "Logins that failed: credentials, mechanism, or timeout.",
	}, []string{"reason"})
	requestSeconds := factory.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "millrace_broker_request_duration_seconds",
		Help:    "Time from a request's last byte to its answer's last byte, by request kind; for Fetch including the wait for records.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2.5, 14), // 100 µs to 15 s
	}, []string{"api"})
	for _, api := range wire.Served() {
		m.requestSeconds[api.Key] = requestSeconds.WithLabelValues(api.Name)
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_broker_connections",
		Help: "Client connections now.",
	}, func() float64 { return float64(b.connections()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_broker_unauthenticated_connections",
		Help: "Client connections that have not logged in, of those that must.",
	}, func() float64 { return float64(b.Strangers()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_broker_requests_in_flight",
		Help: "Requests that were executed and are not answered, fetches that wait for records included.",
	}, func() float64 { return float64(b.InFlight()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_broker_request_memory_bytes",
		Help: "Memory held by requests in flight.",
	}, func() float64 { return float64(b.RequestMemoryBytes()) })
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_broker_answer_memory_bytes",
		Help: "Memory held by large answers in flight, most of them to fetches.",
	}, func() float64 { return float64(b.AnswerMemoryBytes()) })
	if reg != nil {
		reg.MustRegister(topicCollector{b.catalog})
	}
	return m
}

// topicCollector reads the counters of the topics when it is asked.
type topicCollector struct{ catalog *catalog }

var (
	producedRecords = prometheus.NewDesc("millrace_broker_produce_records_total", "Records appended by clients, by topic.", []string{"topic"}, nil)
	producedBytes   = prometheus.NewDesc("millrace_broker_produce_bytes_total", "Bytes of record batches appended by clients, by topic.", []string{"topic"}, nil)
	fetchedRecords  = prometheus.NewDesc("millrace_broker_fetch_records_total", "Records in answers to fetches, by topic.", []string{"topic"}, nil)
	fetchedBytes    = prometheus.NewDesc("millrace_broker_fetch_bytes_total", "Bytes of record batches in answers to fetches, by topic.", []string{"topic"}, nil)
)

func (topicCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- producedRecords
	descs <- producedBytes
	descs <- fetchedRecords
	descs <- fetchedBytes
}

func (t topicCollector) Collect(out chan<- prometheus.Metric) {
	for _, topic := range t.catalog.topics.all() {
		if topic.traffic != &t.catalog.others {
			topic.traffic.collect(out, string(topic.name))
		}
	}
	t.catalog.others.collect(out, otherTopics)
}

func (t *traffic) collect(out chan<- prometheus.Metric, topic string) {
	counter := func(desc *prometheus.Desc, value int64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), topic)
	}
	counter(producedRecords, t.produced.records.Load())
	counter(producedBytes, t.produced.bytes.Load())
	counter(fetchedRecords, t.fetched.records.Load())
	counter(fetchedBytes, t.fetched.bytes.Load())
}
