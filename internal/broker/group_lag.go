package broker

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/batch"
	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/record"
)

// lagCollector tells, when it is asked, how far groups are behind. Nothing is
// counted between two scrapes.
//
// The number of series is bounded by maxLagSeries: groups come by partition of
// the offsets topic and name, and what is beyond is counted in
// millrace_group_lag_left_out. The time lag costs one read of the log per
// partition whose group has moved since the last scrape and is not at the end:
// at most maxLagReads of them; the rest have no time lag in that scrape.
type lagCollector struct {
	g  *groups
	mu struct {
		sync.Mutex
		times map[lagKey]unread
	}
}

const (
	maxLagSeries = 10_000
	maxLagReads  = 200
)

type lagKey struct {
	group string
	tp    record.TopicPartition
}

// unread is the timestamp of the first record that a group has not read.
type unread struct {
	offset record.Offset
	at     record.Timestamp
}

var (
	lagRecords = prometheus.NewDesc("millrace_group_lag_records", "Records between the group's committed offset and the end of the partition.", []string{"group", "topic", "partition"}, nil)
	lagSeconds = prometheus.NewDesc("millrace_group_lag_seconds", "Age of the first record behind the group's committed offset; 0 when it has read all.", []string{"group", "topic", "partition"}, nil)
	lagLeftOut = prometheus.NewDesc("millrace_group_lag_left_out", "Committed partitions of groups without a series of their own, because there are too many.", nil, nil)
	groupCount = prometheus.NewDesc("millrace_groups", "Consumer groups, with members or with offsets.", nil, nil)
	rebalances = prometheus.NewDesc("millrace_group_rebalances_total", "Generations of consumer groups that were begun.", nil, nil)
)

func newLagCollector(g *groups) *lagCollector {
	c := &lagCollector{g: g}
	c.mu.times = map[lagKey]unread{}
	return c
}

// Describe is for prometheus.Collector.
func (c *lagCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagRecords, lagSeconds, lagLeftOut, groupCount, rebalances} {
		descs <- d
	}
}

// Collect is for prometheus.Collector.
func (c *lagCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := scrape{g: c.g, out: out, before: c.mu.times, times: map[lagKey]unread{}, now: c.g.now()}
	groups := 0
	c.g.each(context.Background(), func(lg *liveGroup) {
		groups++
		s.collect(lg)
	})
	s.report()
	c.mu.times = s.times
	gauge(out, lagLeftOut, float64(s.leftOut))
	gauge(out, groupCount, float64(groups))
	out <- prometheus.MustNewConstMetric(rebalances, prometheus.CounterValue, float64(c.g.rebalances.Load()))
}

func gauge(out chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// scrape is one Collect. It notes the positions while a group is locked, and
// reads logs only afterwards.
type scrape struct {
	g       *groups
	out     chan<- prometheus.Metric
	now     time.Time
	noted   []position
	leftOut int
	reads   int
	before  map[lagKey]unread // of the last scrape
	times   map[lagKey]unread // of this one
}

type position struct {
	lagKey
	offset record.Offset
}

func (s *scrape) collect(lg *liveGroup) {
	if len(s.noted)+lg.mu.group.OffsetCount() > maxLagSeries {
		s.leftOut += lg.mu.group.OffsetCount()
		return
	}
	for tp, o := range lg.mu.group.Offsets() {
		s.note(lg, tp, o)
	}
}

func (s *scrape) note(lg *liveGroup, tp record.TopicPartition, o group.Offset) {
	if !lg.doubtful(o.Position) {
		s.noted = append(s.noted, position{lagKey{lg.id, tp}, o.Offset})
	}
}

func (s *scrape) report() {
	for _, p := range s.noted {
		t := s.g.b.catalog.topics.named(string(p.tp.Topic))
		if t == nil || t.log(int32(p.tp.Partition)) == nil {
			continue
		}
		l := t.log(int32(p.tp.Partition))
		labels := []string{p.group, string(p.tp.Topic), strconv.Itoa(int(p.tp.Partition))}
		lag := max(l.HighWatermark()-p.offset, 0)
		gauge(s.out, lagRecords, float64(lag), labels...)
		if seconds, known := s.age(p, l, lag > 0); known {
			gauge(s.out, lagSeconds, seconds, labels...)
		}
	}
}

// age is how old the first unread record is, in seconds.
func (s *scrape) age(p position, l *log.Log, behind bool) (seconds float64, known bool) {
	if !behind {
		return 0, true
	}
	next := max(p.offset, l.StartOffset())
	u, ok := s.before[p.lagKey]
	if !ok || u.offset != next {
		if s.reads == maxLagReads {
			return 0, false
		}
		s.reads++
		if u, ok = firstUnread(l, next); !ok {
			return 0, false
		}
	}
	s.times[p.lagKey] = u
	return max(s.now.Sub(u.at.Time()).Seconds(), 0), true
}

// firstUnread reads the timestamp of the first record from the offset on. It
// is unknown where the log is damaged.
func firstUnread(l *log.Log, next record.Offset) (unread, bool) {
	b, err := l.Read(next, batch.HeaderSize, nil)
	if err != nil {
		return unread{}, false
	}
	var it batch.Iterator
	if err := it.Reset(b, nil); err != nil {
		return unread{}, false
	}
	for it.Next() {
		if r := it.Record(); r.Offset >= next {
			return unread{offset: next, at: r.Timestamp}, true
		}
	}
	return unread{}, false
}
