package millrace_test

import (
	"fmt"
	"time"

	"millrace"
	"millrace/agg"
	"millrace/codec"
	"millrace/window"
)

type Click struct {
	User  string    `json:"user_id"`
	Page  string    `json:"page"`
	At    time.Time `json:"timestamp"`
	Cents int64     `json:"cents"`
}

var (
	raw     = millrace.NewTopic("click_events", codec.Bytes, codec.Bytes)
	clicks  = millrace.NewTopic("clicks", codec.String, codec.JSON[Click]())
	totals  = millrace.NewTopic("user-totals", codec.String, codec.Int64)
	minutes = millrace.NewTopic("page-minutes", millrace.WinKey(codec.String, time.Minute),
		agg.PairOf(codec.Int64, codec.Int64))
)

func parse(b []byte) (Click, error) { return codec.JSON[Click]().Decode(b) }
func user(c Click) string           { return c.User }
func page(c Click) string           { return c.Page }
func cents(c Click) int64           { return c.Cents }

// build is what a program does with the error of Build: say it and end.
func build(app *millrace.App) *millrace.Topology {
	t, err := app.Build()
	if err != nil {
		fmt.Println(err)
	}
	return t
}

func Example() {
	app := millrace.New("click-count")
	parsed := app.From(raw).TryMap(parse)
	parsed.GroupBy(user).Count("user-total").To(totals)
	parsed.GroupBy(page).
		Window(window.Tumbling(time.Minute).Grace(5*time.Second)).
		Aggregate("page-minute", agg.Both(agg.Count[Click](), agg.Sum(cents)), millrace.EmitFinal()).
		To(minutes)
	fmt.Print(build(app).Describe())
	// Output:
	// application click-count
	//
	// sub-topology 0
	//   From click_events
	//     TryMap millrace_test.parse
	//       GroupBy millrace_test.user
	//         Pre-aggregate click-count-user-total-repartition
	//       GroupBy millrace_test.page
	//         Window tumbling 1m0s, grace 5s
	//           Pre-aggregate click-count-page-minute-repartition
	//
	// sub-topology 1
	//   Repartitioned click-count-user-total-repartition
	//     Aggregate user-total; key string, value count as int64; changelog click-count-user-total-changelog
	//       To user-totals
	//
	// sub-topology 2
	//   Repartitioned click-count-page-minute-repartition
	//     Aggregate page-minute; key string, value both(count,sum) as pair(int64,int64); changelog click-count-page-minute-changelog; tumbling 1m0s, grace 5s
	//       To page-minutes
}

func ExampleTopic_Keyed() {
	app := millrace.New("click-count")
	app.From(clicks.Keyed()).GroupBy(user, millrace.RecordKey()).Count("user-total").To(totals)
	fmt.Print(build(app).Describe())
	// Output:
	// application click-count
	//
	// sub-topology 0
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Aggregate user-total; key string, value count as int64; changelog click-count-user-total-changelog; no hop
	//         To user-totals
}

func ExampleTopology_Mermaid() {
	app := millrace.New("click-count")
	app.From(clicks.Keyed()).GroupBy(user, millrace.RecordKey()).Count("user-total").To(totals)
	fmt.Print(build(app).Mermaid())
	// Output:
	// flowchart TD
	//   subgraph s0["sub-topology 0"]
	//     n0["From clicks"]
	//     n1["GroupBy millrace_test.user"]
	//     n0 --> n1
	//     n2["Aggregate user-total"]
	//     n1 --> n2
	//     n3["To user-totals"]
	//     n2 --> n3
	//   end
	//   t_clicks[("clicks")]
	//   t_clicks --> n0
	//   t_click_2dcount_2duser_2dtotal_2dchangelog[("click-count-user-total-changelog")]
	//   n2 -.- t_click_2dcount_2duser_2dtotal_2dchangelog
	//   t_user_2dtotals[("user-totals")]
	//   n3 --> t_user_2dtotals
}

// Faults do not panic, and all are reported.
func ExampleApp_Build() {
	app := millrace.New("click-count")
	s := app.From(clicks)
	s.GroupBy(user).Count("").To(totals)
	s.GroupBy(user).Count("total")
	s.GroupBy(page).Window(window.Hopping(time.Minute, 0)).Count("total")
	app.From(clicks)
	_, err := app.Build()
	fmt.Println(err)
	// Output:
	// example_test.go:115: store name ""; give it a name of 1 to 100 of a-z A-Z 0-9 . _ -: its changelog topic is called after it
	// example_test.go:117: window: window slide 0s: it must be positive and at most the size, 1m0s; see window.Spec
	// example_test.go:117: a second store named "total"; the first one is at example_test.go:116: name them differently
	// example_test.go:118: topic "clicks" is read twice; it is read at example_test.go:114 already: use that stream in both places
}
