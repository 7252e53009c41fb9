package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// The names that dashboards rely on are there, and all pass Prometheus's own lint.
func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	b := openTest(t, Config{FS: crashfs.New(), Registerer: reg})
	if errs := b.catalog.create([]topicSpec{{name: "clicks", partitions: 1}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	b.catalog.topics.named("clicks").traffic.produced.add(3, 100)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{
		"millrace_broker_produce_records_total", "millrace_broker_fetch_records_total", "millrace_broker_request_duration_seconds",
		"millrace_broker_fsync_duration_seconds", "millrace_log_size_bytes", "millrace_broker_connections",
	} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
	want := "# HELP millrace_broker_produce_records_total Records appended by clients, by topic.\n" +
		"# TYPE millrace_broker_produce_records_total counter\n" +
		"millrace_broker_produce_records_total{topic=\"(other)\"} 0\nmillrace_broker_produce_records_total{topic=\"clicks\"} 3\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "millrace_broker_produce_records_total"); err != nil {
		t.Error(err)
	}
}

// However many topics there are, the series are bounded; the rest share one,
// which never goes back when a topic is deleted.
func TestTopicSeriesAreBounded(t *testing.T) {
	b := openTest(t, Config{FS: crashfs.New()})
	var specs []topicSpec
	for i := range maxTopicSeries + 50 {
		specs = append(specs, topicSpec{name: record.Topic(fmt.Sprintf("t%04d", i)), partitions: 1})
	}
	for _, err := range b.catalog.create(specs) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, topic := range b.catalog.topics.all() {
		topic.traffic.produced.add(1, 1)
	}
	collector := topicCollector{b.catalog}
	if got, want := testutil.CollectAndCount(collector), 4*(maxTopicSeries+1); got != want {
		t.Errorf("%d series, want %d", got, want)
	}
	if others := b.catalog.others.produced.records.Load(); others != 50 {
		t.Errorf("the other topics have %d records, want 50", others)
	}
	last := fmt.Sprintf("t%04d", maxTopicSeries+49)
	if _, errs := b.catalog.remove([]topicRef{{name: last}}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if others := b.catalog.others.produced.records.Load(); others != 50 {
		t.Errorf("after a deletion the other topics have %d records, want 50", others)
	}
}
