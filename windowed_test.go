package millrace_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace"
	"millrace/agg"
	"millrace/codec"
	"millrace/millracetest"
	"millrace/record"
	"millrace/window"
)

var (
	userMinutes = millrace.NewTopic("user-minutes", millrace.WinKey(codec.String, time.Minute), codec.Int64)
	stamped     = millrace.NewTopic("stamped", codec.String, codec.Int64)
)

func stamp(ms int64) record.Timestamp { return record.Timestamp(ms) }
func sameForAll(int64) string         { return "all" }

// inMinutes is a job's pages in windows of a minute.
func inMinutes(app *millrace.App) millrace.Windowed[string, Click] {
	return app.From(clicks).GroupBy(page).Window(window.Tumbling(time.Minute))
}

// printMinutes prints the newest result of each key and window.
func printMinutes[R any](d *millracetest.Driver, t millrace.Topic[millrace.Win[string], R]) {
	table := d.Table(t)
	inOrder := func(a, b millrace.Win[string]) int {
		return cmp.Or(cmp.Compare(a.Window.Start, b.Window.Start), cmp.Compare(a.Key, b.Key))
	}
	for _, w := range slices.SortedFunc(maps.Keys(table), inOrder) {
		fmt.Println(w.Window.Start.Time().Format("15:04"), w.Key, table[w])
	}
}

// minutesOf is a topic of results R per page and minute.
func minutesOf[R any](c codec.Codec[R]) millrace.Topic[millrace.Win[string], R] {
	return millrace.NewTopic("page-minutes", millrace.WinKey(codec.String, time.Minute), c)
}

func ExampleGrouped_Window() {
	app := millrace.New("minutes")
	app.From(clicks).GroupBy(user).Window(window.Tumbling(time.Minute)).Count("per-minute").To(userMinutes)
	d := onVisits(app)
	d.PipeAt(clicks, "ana", visits()[0], millracetest.Start.Add(time.Minute))
	d.Commit()
	printMinutes(d, userMinutes)
	// Output:
	// 10:30 ana 2
	// 10:30 bob 1
	// 10:31 ana 1
}

// Hopping windows overlap: each click counts in two of them.
func ExampleWindowed() {
	app := millrace.New("hops")
	app.From(clicks).GroupBy(user).Window(window.Hopping(time.Minute, 30*time.Second)).Count("per-minute").To(userMinutes)
	d := onVisits(app)
	for _, r := range d.Read(userMinutes) {
		fmt.Println(r.Key.Window.Start.Time().Format(time.TimeOnly), r.Key.Key, r.Value)
	}
	// Output:
	// 10:29:30 ana 2
	// 10:29:30 bob 1
	// 10:30:00 ana 2
	// 10:30:00 bob 1
}

func ExampleWindowed_Aggregate() {
	sales := minutesOf(agg.PairOf(codec.Int64, codec.Int64))
	app := millrace.New("sales")
	inMinutes(app).Aggregate("sales", agg.Both(agg.Count[Click](), agg.Sum(cents))).To(sales)
	printMinutes(onVisits(app), sales)
	// Output:
	// 10:30 / {1 0}
	// 10:30 /cart {2 350}
}

func ExampleWindowed_Count() {
	app := millrace.New("clicks")
	inMinutes(app).Count("clicks").To(userMinutes)
	printMinutes(onVisits(app), userMinutes)
	// Output:
	// 10:30 / 1
	// 10:30 /cart 2
}

func ExampleWindowed_Sum() {
	app := millrace.New("spent")
	inMinutes(app).Sum("cents", cents).To(userMinutes)
	printMinutes(onVisits(app), userMinutes)
	// Output:
	// 10:30 / 0
	// 10:30 /cart 350
}

func ExampleWindowed_Min() {
	first := minutesOf(codec.String)
	app := millrace.New("first")
	inMinutes(app).Min("first", user).To(first)
	printMinutes(onVisits(app), first)
	// Output:
	// 10:30 / ana
	// 10:30 /cart ana
}

func ExampleWindowed_Max() {
	app := millrace.New("dearest")
	inMinutes(app).Max("dearest", cents).To(userMinutes)
	printMinutes(onVisits(app), userMinutes)
	// Output:
	// 10:30 / 0
	// 10:30 /cart 250
}

func ExampleWindowed_Avg() {
	means := minutesOf(codec.Float64)
	app := millrace.New("mean")
	inMinutes(app).Avg("mean", cents).To(means)
	printMinutes(onVisits(app), means)
	// Output:
	// 10:30 / 0
	// 10:30 /cart 175
}

func ExampleWindowed_Distinct() {
	app := millrace.New("visitors")
	inMinutes(app).Distinct("visitors", user).To(userMinutes)
	printMinutes(onVisits(app), userMinutes)
	// Output:
	// 10:30 / 1
	// 10:30 /cart 2
}

func ExampleWindowed_TopK() {
	tops := minutesOf(agg.ListOf(codec.Int64))
	app := millrace.New("dearest")
	inMinutes(app).TopK("dearest-2", 2, cents).To(tops)
	printMinutes(onVisits(app), tops)
	// Output:
	// 10:30 / [0]
	// 10:30 /cart [250 100]
}

func ExampleWindowed_Reduce() {
	app := millrace.New("last")
	inMinutes(app).Reduce("last", func(_, b Click) Click { return b }).
		Changes(func(u millrace.Update[string, Click]) string { return u.Result.User }).To(texts)
	fmt.Println(onVisits(app).Table(texts))
	// Output: map[/:ana /cart:ana]
}

// A click whose minute was final when it came is late: it changes nothing, and
// can be looked at.
func ExampleWindowed_Late() {
	late := millrace.NewTopic("late", codec.String, codec.JSON[Click]())
	app := millrace.New("minutes")
	w := inMinutes(app)
	w.Late().To(late)
	w.Count("clicks").To(userMinutes)
	d := onVisits(app)
	d.PipeAt(clicks, "bob", visits()[1], millracetest.Start.Add(time.Hour))
	d.Commit()
	d.PipeAt(clicks, "ana", visits()[0], millracetest.Start)
	d.Commit()
	fmt.Println(len(d.Read(late)), d.Late())
	// Output: 1 1
}

func ExampleWindowTable_To() {
	app := millrace.New("clicks")
	inMinutes(app).Count("clicks").To(userMinutes)
	for _, r := range onVisits(app).Read(userMinutes) {
		fmt.Println(r.Key.Key, r.Key.Window.End-r.Key.Window.Start, r.Value)
	}
	// Output:
	// / 60000 1
	// /cart 60000 2
}

// Changes makes a record of one's own of each result of a window.
func ExampleWindowTable_Changes() {
	app := millrace.New("minutes")
	inMinutes(app).Count("clicks", millrace.EmitBoth()).
		Changes(func(u millrace.Update[string, int64]) string {
			return fmt.Sprintf("%d clicks from %s on, final: %v", u.Result, u.Window.Start.Time().Format("15:04"), u.Final)
		}).
		To(texts)
	print(onVisits(app), texts)
	// Output:
	// / 1 clicks from 10:30 on, final: false
	// /cart 2 clicks from 10:30 on, final: false
}

func ExampleWindowTable_View() {
	app := millrace.New("clicks")
	view := inMinutes(app).Count("clicks").View()
	onVisits(app)
	results, _, err := view.Get("/cart")
	fmt.Println(len(results), results[0].Result, results[0].Final, err)
	// Output: 1 2 false <nil>
}

func ExampleWindowView_Get() {
	app := millrace.New("clicks")
	minutes := window.Tumbling(time.Minute).Keep(time.Hour) // final ones can be asked for that long
	view := app.From(clicks).GroupBy(page).Window(minutes).Count("clicks").View()
	d := onVisits(app)
	d.PipeAt(clicks, "ana", visits()[2], millracetest.Start.Add(time.Minute))
	d.Commit()
	results, at, err := view.Get("/cart")
	for _, r := range results {
		fmt.Println(r.Window.Start.Time().Format("15:04"), r.Result, r.Final)
	}
	fmt.Println(at.Watermark.Time().Format("15:04"), err)
	// Output:
	// 10:30 2 true
	// 10:31 1 false
	// 10:31 <nil>
}

func ExampleWindowView_AsOf() {
	app := millrace.New("clicks")
	view := inMinutes(app).Count("clicks").View()
	onVisits(app)
	at, err := view.AsOf("/cart")
	fmt.Println(at.Watermark.Time().Format("15:04"), err)
	// Output: 10:30 <nil>
}

func ExampleWindowView_Parts() {
	app := millrace.New("clicks")
	view := inMinutes(app).Count("clicks").View()
	onVisits(app)
	parts, err := view.Parts()
	for _, p := range parts {
		fmt.Println(p.Task, "of", p.Tasks, p.AsOf.Watermark.Time().Format("15:04"))
	}
	fmt.Println(err)
	// Output:
	// 0 of 1 10:30
	// <nil>
}

func ExampleWinKey() {
	c := millrace.WinKey(codec.String, time.Minute)
	b, _ := c.Append(nil, millrace.Win[string]{Key: "ana", Window: window.Window{Start: 60_000, End: 120_000}})
	w, err := c.Decode(b)
	fmt.Printf("%q %v %v\n", b, w, err)
	// Output: "ana\x00\x00\x00\x00\x00\x00\xea`" {ana {60000 120000}} <nil>
}
