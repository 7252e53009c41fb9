package engine

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/topology"
)

// What the tasks have skipped is added up, once, also when some of them leave with
// their counts.
func TestSkippedRecordsAreInTheMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry, "job", &Engine{})
	skipped := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "millrace_job_skipped_total" {
				return f.GetMetric()[0].GetCounter().GetValue()
			}
		}
		return -1
	}
	for _, step := range []struct {
		tasks []int64
		want  float64
	}{{nil, 0}, {[]int64{2, 3}, 5}, {[]int64{2, 3}, 5}, {[]int64{4, 3}, 7}, {[]int64{3}, 7}, {[]int64{5}, 9}} {
		var tasks []TaskStatus
		for _, n := range step.tasks {
			tasks = append(tasks, TaskStatus{Stats: []topology.Stats{{Skipped: n}}})
		}
		if m.observe(tasks); skipped() != step.want {
			t.Errorf("after %v the metric is %v, want %v", step.tasks, skipped(), step.want)
		}
	}
}
