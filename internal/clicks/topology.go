package clicks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace"
	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

// Result is one of the job's results, named like the topic that it is written to.
type Result string

// The results.
const (
	UserCounts   Result = "click_counts"            // clicks of each user
	MinuteCounts Result = "click_counts_per_minute" // of each user in each minute of event time, open and final
	PageCounts   Result = "page_counts"             // clicks of each page
	Alerts       Result = "click_alerts"            // users above the threshold within ten seconds
)

// Results lists all of them.
func Results() []Result { return []Result{UserCounts, MinuteCounts, PageCounts, Alerts} }

// ParseResults reads a list such as "click_counts,page_counts".
func ParseResults(list string) ([]Result, error) {
	var chosen []Result
	for name := range strings.SplitSeq(list, ",") {
		r := Result(strings.TrimSpace(name))
		if !slices.Contains(Results(), r) {
			return nil, fmt.Errorf("%q is none of the results %v", name, Results())
		}
		if !slices.Contains(chosen, r) {
			chosen = append(chosen, r)
		}
	}
	return chosen, nil
}

// Options shape the job.
type Options struct {
	// Results are computed; nil is all of them.
	Results []Result
	// Keyed says that events carry their user as key, so that all clicks of a user
	// are in one partition and need not be sent on to be counted.
	Keyed bool
	// AlertClicks is how many clicks of one user within [AlertWindow] are too many.
	// Default 100.
	AlertClicks int64
}

// The job's windows.
const (
	Minute      = time.Minute
	Grace       = 5 * time.Second // how late a click may be for its minute
	AlertWindow = 10 * time.Second
	keepMinutes = 24 * time.Hour // final minutes can be asked for that long
)

// Outputs are written as values of these topics; all are JSON.
type (
	// UserClicks is a value of click_counts; the key is the user.
	UserClicks struct {
		User   string `json:"user_id"`
		Clicks int64  `json:"clicks"`
	}
	// PageClicks is a value of page_counts; the key is the page.
	PageClicks struct {
		Page   string `json:"page"`
		Clicks int64  `json:"clicks"`
	}
	// WindowClicks is a value of click_counts_per_minute and click_alerts; the key
	// is the user and the window's start.
	WindowClicks struct {
		User   string    `json:"user_id"`
		Start  time.Time `json:"window_start"`
		End    time.Time `json:"window_end"`
		Clicks int64     `json:"clicks"`
		Final  bool      `json:"final"`
	}
)

// pageCount is how often a page was clicked, and by simulated clicks.
type pageCount = agg.Pair[int64, int64]

// describe is the job in the DSL, and the views of its tables.
func describe(o Options) (*millrace.Topology, views, error) {
	has := func(r Result) bool { return len(o.Results) == 0 || slices.Contains(o.Results, r) }
	app := millrace.New(JobName)
	input := millrace.NewTopic(string(Topic), codec.Bytes, Codec{})
	var byUser []millrace.Option
	if o.Keyed {
		input, byUser = input.Keyed(), append(byUser, millrace.RecordKey())
	}
	clicks := app.From(input)
	users := clicks.GroupBy(userOf, byUser...)
	var v views
	if has(UserCounts) {
		counts := users.Count("user-clicks")
		counts.Stream().Map(toUserClicks).To(millrace.NewTopic(string(UserCounts), codec.String, userClicksCodec{}).Compacted())
		v.users = watched(counts.View(), newUserSums)
	}
	if has(PageCounts) {
		counts := clicks.GroupBy(pageClicked).Aggregate("page-clicks", agg.Both(agg.Count[Click](), agg.Sum(simulated)))
		counts.Stream().Map(toPageClicks).To(millrace.NewTopic(string(PageCounts), codec.String, pageClicksCodec{}).Compacted())
		v.pages = watched(counts.View(), newPageSums)
	}
	// A click that no window takes, for its time makes no sense or it is late, is
	// counted in the totals all the same: it is no dead letter.
	timed, skip := clicks.EventTimestamp(at).GroupBy(userOf, byUser...), millrace.Skip()
	if has(MinuteCounts) {
		minutes := timed.Window(window.Tumbling(Minute).Grace(Grace).Keep(keepMinutes), skip).
			Count("user-minutes", millrace.EmitBoth(), millrace.WallClock(), skip)
		minutes.Changes(toWindowClicks).Map(minuteKey).
			To(millrace.NewTopic(string(MinuteCounts), millrace.WinKey(codec.String, Minute), windowClicksCodec{}).Compacted())
		view := minutes.View()
		v.minutes = &view
	}
	if has(Alerts) {
		tooMany := func(w WindowClicks) bool { return w.Clicks >= o.alertClicks() }
		timed.Window(window.Tumbling(AlertWindow).Grace(Grace), skip).Count("user-bursts", millrace.WallClock(), skip).
			Changes(toWindowClicks).Filter(tooMany).Map(alertKey).
			To(millrace.NewTopic(string(Alerts), millrace.WinKey(codec.String, AlertWindow), windowClicksCodec{}))
	}
	topology, err := app.Build()
	return topology, v, err
}

func (o Options) alertClicks() int64 {
	if o.AlertClicks <= 0 {
		return 100
	}
	return o.AlertClicks
}

func userOf(c Click) string      { return c.User }
func pageClicked(c Click) string { return c.Page }

func at(c Click) record.Timestamp { return c.At }

func simulated(c Click) int64 {
	if c.Demo {
		return 1
	}
	return 0
}

func toUserClicks(user string, n int64) (string, UserClicks) { return user, UserClicks{user, n} }

func toPageClicks(page string, n pageCount) (string, PageClicks) {
	return page, PageClicks{page, n.First}
}

func toWindowClicks(u millrace.Update[string, int64]) WindowClicks {
	return WindowClicks{User: u.Key, Start: u.Window.Start.Time(), End: u.Window.End.Time(), Clicks: u.Result, Final: u.Final}
}

func minuteKey(user string, w WindowClicks) (millrace.Win[string], WindowClicks) { return winKey(w), w }
func alertKey(user string, w WindowClicks) (millrace.Win[string], WindowClicks)  { return winKey(w), w }

func winKey(w WindowClicks) millrace.Win[string] {
	return millrace.Win[string]{Key: w.User, Window: window.Window{Start: record.TimestampOf(w.Start), End: record.TimestampOf(w.End)}}
}
