package millrace_test

import (
	"fmt"
	"strings"
	"time"

	"millrace"
	"millrace/agg"
	"millrace/codec"
	"millrace/window"
)

// show prints the operators of a job, or what is wrong with it.
func show(app *millrace.App) {
	t, err := app.Build()
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(t.Describe()) {
		if strings.HasPrefix(line, "  ") {
			fmt.Print(line)
		}
	}
}

var (
	lines       = millrace.NewTopic("lines", codec.String, codec.String)
	counts      = millrace.NewTopic("counts", codec.String, codec.Int64)
	texts       = millrace.NewTopic("texts", codec.String, codec.String)
	means       = millrace.NewTopic("means", codec.String, codec.Float64)
	tops        = millrace.NewTopic("tops", codec.String, agg.ListOf(codec.Int64))
	userMinutes = millrace.NewTopic("user-minutes", millrace.WinKey(codec.String, time.Minute), codec.Int64)
)

func itself(s string) string { return s }

// Word count.
func ExampleStream_FlatMap() {
	words := func(line string, emit func(string)) {
		for word := range strings.FieldsSeq(strings.ToLower(line)) {
			emit(word)
		}
	}
	app := millrace.New("word-count")
	app.From(lines).
		FlatMap(words, millrace.Named("words")).
		GroupBy(itself).
		Count("words").
		To(counts)
	show(app)
	// Output:
	//   From lines
	//     FlatMap words
	//       GroupBy millrace_test.itself
	//         Pre-aggregate word-count-words-repartition
	//   Repartitioned word-count-words-repartition
	//     Aggregate words; key string, value count as int64; changelog word-count-words-changelog
	//       To counts
}

func ExampleStream_Map() {
	app := millrace.New("by-page")
	app.From(clicks).
		Map(func(user string, c Click) (string, string) { return c.Page, user }, millrace.Named("page to user")).
		To(texts)
	show(app)
	// Output:
	//   From clicks
	//     Map page to user
	//       To texts
}

func ExampleStream_MapValues() {
	app := millrace.New("pages")
	app.From(clicks).MapValues(page).MapValues(strings.ToLower).To(texts)
	show(app)
	// Output:
	//   From clicks
	//     MapValues millrace_test.page
	//       MapValues strings.ToLower
	//         To texts
}

func isSale(c Click) bool { return c.Cents > 0 }

func ExampleStream_Filter() {
	app := millrace.New("sales")
	app.From(clicks).Filter(isSale).To(millrace.NewTopic("sales", codec.String, codec.JSON[Click]()))
	show(app)
	// Output:
	//   From clicks
	//     Filter millrace_test.isSale
	//       To sales
}

func ExampleStream_Peek() {
	app := millrace.New("look")
	app.From(lines).Peek(func(key, line string) { fmt.Println(key, line) }, millrace.Named("print")).To(texts)
	show(app)
	// Output:
	//   From lines
	//     Peek print
	//       To texts
}

func ExampleStream_Merge() {
	app := millrace.New("all-lines")
	other := app.From(millrace.NewTopic("more-lines", codec.String, codec.String))
	app.From(lines).Merge(other).To(texts)
	show(app)
	// Output:
	//   From more-lines
	//     Merge operators_test.go:111
	//       To texts
	//   From lines
	//     Merge operators_test.go:111 (above)
}

func clickTime(c Click) time.Time { return c.At }

func ExampleStream_EventTime() {
	app := millrace.New("by-minute")
	app.From(clicks).
		EventTime(clickTime, millrace.Disorder(2*time.Second)).
		GroupBy(user).
		Window(window.Tumbling(time.Minute)).
		Count("per-minute").
		To(userMinutes)
	show(app)
	// Output:
	//   From clicks
	//     EventTime millrace_test.clickTime
	//       GroupBy millrace_test.user
	//         Window tumbling 1m0s
	//           Pre-aggregate by-minute-per-minute-repartition
	//   Repartitioned by-minute-per-minute-repartition
	//     Aggregate per-minute; key string, value count as int64; changelog by-minute-per-minute-changelog; tumbling 1m0s
	//       To user-minutes
}

// Others can read the topic in between, too.
func ExampleStream_Through() {
	byPage := millrace.NewTopic("clicks-by-page", codec.String, codec.JSON[Click]())
	app := millrace.New("through")
	app.From(clicks).
		Map(func(_ string, c Click) (string, Click) { return c.Page, c }, millrace.Named("by page")).
		Through(byPage.Keyed()).
		GroupBy(page, millrace.RecordKey()).
		Count("pages").
		To(counts)
	show(app)
	// Output:
	//   From clicks
	//     Map by page
	//       To clicks-by-page
	//   From clicks-by-page; keyed
	//     GroupBy millrace_test.page
	//       Aggregate pages; key string, value count as int64; changelog through-pages-changelog; no hop
	//         To counts
}

func ExampleGrouped_Aggregate() {
	app := millrace.New("sales")
	both := millrace.NewTopic("sales", codec.String, agg.PairOf(codec.Int64, codec.Int64))
	app.From(clicks.Keyed()).
		GroupBy(user, millrace.RecordKey()).
		Aggregate("sales", agg.Both(agg.Count[Click](), agg.Sum(cents))).
		To(both)
	show(app)
	// Output:
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Aggregate sales; key string, value both(count,sum) as pair(int64,int64); changelog sales-sales-changelog; no hop
	//         To sales
}

// One grouping serves any number of aggregates, each with a store of its own.
func ExampleGrouped() {
	app := millrace.New("per-user")
	users := app.From(clicks.Keyed()).GroupBy(user, millrace.RecordKey())
	users.Sum("spent", cents).To(counts)
	users.Min("first-page", page).To(texts)
	users.Max("dearest", cents)
	users.Avg("mean", cents).To(means)
	users.Distinct("pages", page)
	users.TopK("dearest-3", 3, cents).To(tops)
	users.Reduce("last", func(_, b Click) Click { return b })
	show(app)
	// Output:
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Aggregate spent; key string, value sum as int64; changelog per-user-spent-changelog; no hop
	//         To counts
	//       Aggregate first-page; key string, value min as extreme:string; changelog per-user-first-page-changelog; no hop
	//         To texts
	//       Aggregate dearest; key string, value max as extreme:int64; changelog per-user-dearest-changelog; no hop
	//       Aggregate mean; key string, value avg as mean; changelog per-user-mean-changelog; no hop
	//         To means
	//       Aggregate pages; key string, value distinct as set:string; changelog per-user-pages-changelog; no hop
	//       Aggregate dearest-3; key string, value top-3 as list:int64; changelog per-user-dearest-3-changelog; no hop
	//         To tops
	//       Aggregate last; key string, value reduce as reduced:json; changelog per-user-last-changelog; no hop
}

// The changes of a table are a stream: here, how many users have how many clicks.
func ExampleTable_Stream() {
	app := millrace.New("heavy")
	app.From(clicks).GroupBy(user).Count("clicks").
		Stream().
		Filter(func(n int64) bool { return n >= 100 }, millrace.Named("heavy")).
		To(counts)
	show(app)
	// Output:
	//   From clicks
	//     GroupBy millrace_test.user
	//       Pre-aggregate heavy-clicks-repartition
	//   Repartitioned heavy-clicks-repartition
	//     Aggregate clicks; key string, value count as int64; changelog heavy-clicks-changelog
	//       Filter heavy
	//         To counts
}

// A table of windows tells each result once when it is final, and the records
// that came too late go to a topic.
func ExampleWindowed() {
	app := millrace.New("minutes")
	w := app.From(clicks.Keyed()).
		GroupBy(user, millrace.RecordKey()).
		Window(window.Hopping(time.Minute, 10*time.Second).Grace(5 * time.Second))
	w.Late().To(millrace.NewTopic("late-clicks", codec.String, codec.JSON[Click]()))
	w.Sum("spent", cents, millrace.EmitFinal(), millrace.WallClock()).To(userMinutes)
	show(app)
	// Output:
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Window hopping 1m0s every 10s, grace 5s
	//         To late-clicks
	//         Aggregate spent; key string, value sum as int64; changelog minutes-spent-changelog; hopping 1m0s every 10s, grace 5s; no hop
	//           To user-minutes
}

// Changes makes a record of one's own of each result of a window.
func ExampleWindowTable_Changes() {
	type minute struct {
		User  string `json:"user_id"`
		Start int64  `json:"window_start"`
		N     int64  `json:"clicks"`
		Final bool   `json:"final"`
	}
	app := millrace.New("minutes")
	app.From(clicks.Keyed()).
		GroupBy(user, millrace.RecordKey()).
		Window(window.Tumbling(time.Minute)).
		Count("per-minute", millrace.EmitBoth()).
		Changes(func(u millrace.Update[string, int64]) minute {
			return minute{u.Key, int64(u.Window.Start), u.Result, u.Final}
		}, millrace.Named("as JSON")).
		To(millrace.NewTopic("minutes", codec.String, codec.JSON[minute]()))
	show(app)
	// Output:
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Window tumbling 1m0s
	//         Aggregate per-minute; key string, value count as int64; changelog minutes-per-minute-changelog; tumbling 1m0s; no hop
	//           Map as JSON
	//             To minutes
}

func ExampleWinKey() {
	c := millrace.WinKey(codec.String, time.Minute)
	b, _ := c.Append(nil, millrace.Win[string]{Key: "ana", Window: window.Window{Start: 60_000, End: 120_000}})
	w, err := c.Decode(b)
	fmt.Printf("%q %v %v\n", b, w, err)
	// Output: "ana\x00\x00\x00\x00\x00\x00\xea`" {ana {60000 120000}} <nil>
}

// What an operator cannot take goes to the dead letters unless it says otherwise.
func ExampleOption() {
	app := millrace.New("policies")
	s := app.From(raw, millrace.Stop())
	s.TryMap(parse, millrace.Retry(2), millrace.Skip()).Filter(isSale, millrace.DeadLetter(millrace.NewTopic("odd", codec.Bytes, codec.Bytes)))
	show(app)
	// Output:
	//   From click_events; stops at what it cannot take
	//     TryMap millrace_test.parse; skips what it cannot take; retries 2 times
	//       Filter millrace_test.isSale; dead letters to odd
}
