package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one line of the table. Figures are medians; a figure that was not
// taken is zero and printed as a dash.
type row struct {
	What     string    `json:"what"`
	Unit     string    `json:"unit"`
	Millrace float64   `json:"millrace"`
	Against  string    `json:"against,omitempty"` // what the second figure is
	Other    float64   `json:"other,omitempty"`
	Ratio    float64   `json:"ratio,omitempty"` // Millrace to the other
	Goal     string    `json:"goal"`
	Verdict  string    `json:"verdict"`
	Runs     []float64 `json:"runs,omitempty"`
	OtherRun []float64 `json:"other_runs,omitempty"`
	Void     string    `json:"void,omitempty"`
}

type table struct {
	began        time.Time
	machine      string
	withoutKafka bool
	rows         []row
}

// compare adds a row of two series.
func (t *table) compare(what, unit string, ours []float64, against string, theirs []float64, goal string) {
	r := row{What: what, Unit: unit, Millrace: median(ours), Against: against, Other: median(theirs),
		Goal: goal, Runs: ours, OtherRun: theirs}
	if r.Other > 0 {
		r.Ratio = r.Millrace / r.Other
	}
	r.Verdict = r.verdict()
	t.rows = append(t.rows, r)
}

// alone adds a row that has nothing to be compared with.
func (t *table) alone(what, unit string, value float64, goal string) {
	t.compare(what, unit, []float64{value}, "", nil, goal)
}

// void notes a section that could not be measured.
func (t *table) void(section string, why error) {
	t.rows = append(t.rows, row{What: section, Void: why.Error()})
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func (t *table) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s, %s\n\n", t.began.Format(time.DateTime), t.machine)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tMillrace\tother\tratio\tgoal\tverdict\tunit")
	for _, r := range t.rows {
		if r.Void != "" {
			fmt.Fprintf(w, "%s\tVOID: %s\n", r.What, strings.Split(r.Void, "\n")[0])
			continue
		}
		other := figure(r.Other)
		if r.Against != "" && r.Other > 0 {
			other += " " + r.Against
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.What, figure(r.Millrace), other, ratio(r.Ratio), r.Goal, r.Verdict, r.Unit)
	}
	w.Flush()
}

func figure(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func ratio(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", v)
}

func (t *table) write(path string) error {
	raw, err := json.MarshalIndent(map[string]any{
		"began": t.began.Format(time.RFC3339), "machine": t.machine, "rows": t.rows,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func machine() string {
	model := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores, %s", runtime.NumCPU(), model)
}
