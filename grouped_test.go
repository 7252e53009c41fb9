package millrace_test

import (
	"fmt"

	"millrace"
	"millrace/agg"
	"millrace/codec"
)

// One grouping serves any number of aggregates, each with a store of its own.
func ExampleGrouped() {
	dearest := millrace.NewTopic("dearest", codec.String, codec.Int64)
	app := millrace.New("per-user")
	users := app.From(clicks).GroupBy(user)
	users.Sum("spent", cents).To(totals)
	users.Max("dearest", cents).To(dearest)
	d := onVisits(app)
	fmt.Println(d.Table(totals), d.Table(dearest))
	// Output: map[ana:100 bob:250] map[ana:100 bob:250]
}

func ExampleGrouped_Aggregate() {
	sales := millrace.NewTopic("sales", codec.String, agg.PairOf(codec.Int64, codec.Int64))
	app := millrace.New("sales")
	app.From(clicks).GroupBy(user).Aggregate("sales", agg.Both(agg.Count[Click](), agg.Sum(cents))).To(sales)
	fmt.Println(onVisits(app).Table(sales))
	// Output: map[ana:{2 100} bob:{1 250}]
}

func ExampleGrouped_Count() {
	app := millrace.New("clicks")
	app.From(clicks).GroupBy(user).Count("clicks").To(totals)
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[ana:2 bob:1]
}

func ExampleGrouped_Sum() {
	app := millrace.New("spent")
	app.From(clicks).GroupBy(page).Sum("cents", cents).To(totals)
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[/:0 /cart:350]
}

func ExampleGrouped_Min() {
	app := millrace.New("first-page")
	app.From(clicks).GroupBy(user).Min("first", page).To(texts)
	fmt.Println(onVisits(app).Table(texts))
	// Output: map[ana:/ bob:/cart]
}

func ExampleGrouped_Max() {
	app := millrace.New("dearest")
	app.From(clicks).GroupBy(page).Max("dearest", cents).To(totals)
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[/:0 /cart:250]
}

func ExampleGrouped_Avg() {
	means := millrace.NewTopic("means", codec.String, codec.Float64)
	app := millrace.New("mean")
	app.From(clicks).GroupBy(page).Avg("mean", cents).To(means)
	fmt.Println(onVisits(app).Table(means))
	// Output: map[/:0 /cart:175]
}

func ExampleGrouped_Distinct() {
	app := millrace.New("visitors")
	app.From(clicks).GroupBy(page).Distinct("visitors", user).To(totals)
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[/:1 /cart:2]
}

func ExampleGrouped_TopK() {
	tops := millrace.NewTopic("tops", codec.String, agg.ListOf(codec.Int64))
	app := millrace.New("dearest")
	app.From(clicks).GroupBy(page).TopK("dearest-2", 2, cents).To(tops)
	fmt.Println(onVisits(app).Table(tops))
	// Output: map[/:[0] /cart:[250 100]]
}

func ExampleGrouped_Reduce() {
	last := millrace.NewTopic("last", codec.String, codec.JSON[Click]())
	app := millrace.New("last")
	app.From(clicks).GroupBy(user).Reduce("last", func(_, b Click) Click { return b }).To(last)
	fmt.Println(onVisits(app).Table(last)["ana"].Page)
	// Output: /cart
}

// Each commit writes the newest result of every key that it has changed.
func ExampleTable_To() {
	app := millrace.New("clicks")
	app.From(clicks).GroupBy(user).Count("clicks").To(totals)
	d := onVisits(app)
	d.Pipe(clicks, "bob", visits()[1])
	d.Commit()
	print(d, totals)
	// Output:
	// ana 2
	// bob 1
	// bob 2
}

// The changes of a table are a stream: here, users from their second click on.
func ExampleTable_Stream() {
	app := millrace.New("regulars")
	app.From(clicks).GroupBy(user).Count("clicks").Stream().Filter(func(n int64) bool { return n > 1 }).To(totals)
	print(onVisits(app), totals)
	// Output: ana 2
}

// A view reads the committed results while the job runs.
func ExampleTable_View() {
	app := millrace.New("clicks")
	view := app.From(clicks).GroupBy(user).Count("clicks").View()
	onVisits(app)
	ana, err := view.Get("ana")
	fmt.Println(ana.Result, ana.Found, err)
	// Output: 2 true <nil>
}

// AsOf says which input an answer is of.
func ExampleView_Get() {
	app := millrace.New("clicks")
	view := app.From(clicks).GroupBy(user).Count("clicks").View()
	d := onVisits(app)
	d.Pipe(clicks, "ana", visits()[0]) // not committed yet
	ana, err := view.Get("ana")
	fmt.Println(ana.Result, ana.AsOf.Offsets, err)
	d.Commit()
	ana, err = view.Get("ana")
	fmt.Println(ana.Result, ana.AsOf.Offsets, err)
	// Output:
	// 2 map[clicks-0:3] <nil>
	// 3 map[clicks-0:4] <nil>
}

// heaviest knows the user with the most clicks of one task.
type heaviest struct {
	user   string
	clicks int64
}

func (h *heaviest) Add(user string, n int64) {
	if n > h.clicks {
		h.user, h.clicks = user, n
	}
}

func (h *heaviest) Change(user string, _, n int64) { h.Add(user, n) }

func ExampleView_Watch() {
	app := millrace.New("clicks")
	view := app.From(clicks).GroupBy(user).Count("clicks").View()
	view.Watch(func() millrace.Observer[string, int64] { return new(heaviest) })
	onVisits(app)
	err := view.Each(func(o millrace.Observer[string, int64], _ millrace.Part) error {
		fmt.Println(*o.(*heaviest))
		return nil
	})
	fmt.Println(err)
	// Output:
	// {ana 2}
	// <nil>
}

// Each task has an observer of its own, with keys that no other task has.
func ExampleView_Each() {
	app := millrace.New("clicks")
	view := app.From(clicks).GroupBy(user).Count("clicks").View()
	view.Watch(func() millrace.Observer[string, int64] { return new(heaviest) })
	onVisits(app)
	err := view.Each(func(_ millrace.Observer[string, int64], p millrace.Part) error {
		fmt.Printf("task %d of %d, input up to %v\n", p.Task, p.Tasks, p.AsOf.Offsets)
		return nil
	})
	fmt.Println(err)
	// Output:
	// task 0 of 1, input up to map[clicks-0:3]
	// <nil>
}
