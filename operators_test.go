package millrace_test

import (
	"fmt"
	"strings"
	"time"

	"millrace"
	"millrace/codec"
	"millrace/millracetest"
	"millrace/window"
)

// The examples run their jobs in memory, on one partition, so that results come
// in the order of the records.

// run is a job that runs.
func run(app *millrace.App) *millracetest.Driver {
	return millracetest.New(millracetest.Panics(), app, millracetest.Partitions(1))
}

// visits are three clicks within two seconds.
func visits() []Click {
	return []Click{
		{User: "ana", Page: "/", At: millracetest.Start, Cents: 0},
		{User: "bob", Page: "/cart", At: millracetest.Start.Add(time.Second), Cents: 250},
		{User: "ana", Page: "/cart", At: millracetest.Start.Add(2 * time.Second), Cents: 100},
	}
}

// onVisits runs a job that reads clicks on the visits, up to a commit.
func onVisits(app *millrace.App) *millracetest.Driver {
	d := run(app)
	for _, c := range visits() {
		d.PipeAt(clicks, c.User, c, c.At)
	}
	d.Commit()
	return d
}

// print prints what was committed to a topic.
func print[K, V any](d *millracetest.Driver, t millrace.Topic[K, V]) {
	for _, r := range d.Read(t) {
		fmt.Println(r.Key, r.Value)
	}
}

var (
	lines = millrace.NewTopic("lines", codec.String, codec.String)
	texts = millrace.NewTopic("texts", codec.String, codec.String)
)

func itself(s string) string                   { return s }
func isSale(c Click) bool                      { return c.Cents > 0 }
func when(c Click) time.Time                   { return c.At }
func byPage(_ string, c Click) (string, Click) { return c.Page, c }

func ExampleApp_From() {
	app := millrace.New("copy")
	app.From(lines).To(texts)
	d := run(app)
	d.Pipe(lines, "first", "to be")
	d.Commit()
	print(d, texts)
	// Output: first to be
}

func ExampleStream_Map() {
	app := millrace.New("by-page")
	app.From(clicks).
		Map(func(user string, c Click) (string, string) { return c.Page, user }, millrace.Named("page to user")).
		To(texts)
	print(onVisits(app), texts)
	// Output:
	// / ana
	// /cart bob
	// /cart ana
}

func ExampleStream_MapValues() {
	app := millrace.New("pages")
	app.From(clicks).MapValues(page).MapValues(strings.ToUpper).To(texts)
	print(onVisits(app), texts)
	// Output:
	// ana /
	// bob /CART
	// ana /CART
}

// What cannot be read goes to the dead letters, and the job goes on.
func ExampleStream_TryMap() {
	app := millrace.New("parse")
	app.From(raw).TryMap(parse).MapValues(user).Map(func(_ []byte, user string) (string, string) { return user, "seen" }).To(texts)
	d := run(app)
	d.Pipe(raw, nil, []byte(`{"user_id":"ana"}`))
	d.Pipe(raw, nil, []byte(`{"user_id":`))
	d.Commit()
	print(d, texts)
	for _, l := range d.DeadLetters("click_events-dlq") {
		fmt.Printf("%s: %s at %s\n", l.Value, l.Reason, l.Stage)
	}
	// Output:
	// ana seen
	// {"user_id":: error at TryMap millrace_test.parse
}

func ExampleStream_Filter() {
	app := millrace.New("sales")
	app.From(clicks).Filter(isSale).MapValues(page).To(texts)
	print(onVisits(app), texts)
	// Output:
	// bob /cart
	// ana /cart
}

// Word count.
func ExampleStream_FlatMap() {
	words := func(line string, emit func(string)) {
		for word := range strings.FieldsSeq(strings.ToLower(line)) {
			emit(word)
		}
	}
	app := millrace.New("word-count")
	app.From(lines).FlatMap(words, millrace.Named("words")).GroupBy(itself).Count("words").To(totals)
	d := run(app)
	d.Pipe(lines, "", "To be or not to be")
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:2 not:1 or:1 to:2]
}

// A function that only looks is called again when its transaction was aborted.
func ExampleStream_Peek() {
	app := millrace.New("look")
	app.From(lines).Peek(func(key, line string) { fmt.Println(key, line) }).To(texts)
	d := run(app)
	d.Pipe(lines, "hamlet", "to be")
	d.Abort()
	d.Commit()
	print(d, texts)
	// Output:
	// hamlet to be
	// hamlet to be
	// hamlet to be
}

func ExampleStream_Branch() {
	sales := millrace.NewTopic("sales", codec.String, codec.String)
	app := millrace.New("branches")
	b := app.From(clicks).Branch(isSale)
	b[0].MapValues(page).To(sales)
	b[1].MapValues(page).To(texts) // what nobody has liked
	d := onVisits(app)
	fmt.Println(len(d.Read(sales)), len(d.Read(texts)))
	// Output: 2 1
}

func ExampleStream_Merge() {
	more := millrace.NewTopic("more-lines", codec.String, codec.String)
	app := millrace.New("all-lines")
	app.From(lines).Merge(app.From(more)).To(texts)
	d := run(app)
	d.Pipe(lines, "a", "from lines")
	d.Pipe(more, "b", "from more-lines")
	d.Commit()
	print(d, texts)
	// Output:
	// a from lines
	// b from more-lines
}

// Windows go by the time that f reads, whenever the record was written.
func ExampleStream_EventTime() {
	app := millrace.New("by-minute")
	app.From(clicks).EventTime(when).GroupBy(user).Window(window.Tumbling(time.Minute)).Count("per-minute").To(userMinutes)
	d := run(app)
	d.PipeAt(clicks, "ana", visits()[0], millracetest.Start.Add(time.Hour))
	d.Commit()
	for _, r := range d.Read(userMinutes) {
		fmt.Println(r.Key.Key, r.Key.Window.Start.Time().Format(time.TimeOnly), r.Value)
	}
	// Output: ana 10:30:00 1
}

func ExampleStream_EventTimestamp() {
	app := millrace.New("by-minute")
	app.From(stamped).EventTimestamp(stamp).GroupBy(sameForAll).Window(window.Tumbling(time.Minute)).Count("per-minute").To(userMinutes)
	d := run(app)
	d.Pipe(stamped, "", 90_000)
	d.Commit()
	for _, r := range d.Read(userMinutes) {
		fmt.Println(r.Key.Window.Start, r.Key.Window.End, r.Value)
	}
	// Output: 60000 120000 1
}

func ExampleStream_GroupBy() {
	app := millrace.New("pages")
	app.From(clicks).GroupBy(page).Count("per-page").To(totals)
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[/:1 /cart:2]
}

func ExampleStream_To() {
	app := millrace.New("pages")
	app.From(clicks).MapValues(page).To(texts)
	fmt.Println(onVisits(app).Table(texts))
	// Output: map[ana:/cart bob:/cart]
}

// Others can read the topic in between, too, and records are in the partition of
// their key there: no other hop is needed.
func ExampleStream_Through() {
	between := millrace.NewTopic("clicks-by-page", codec.String, codec.JSON[Click]())
	app := millrace.New("through")
	app.From(clicks).Map(byPage).Through(between.Keyed()).GroupBy(page, millrace.RecordKey()).Count("pages").To(totals)
	d := onVisits(app)
	fmt.Println(len(d.Read(between)), d.Table(totals))
	// Output: 3 map[/:1 /cart:2]
}
