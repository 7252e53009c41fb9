package millrace_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"millrace"
	"millrace/codec"
	"millrace/millracetest"
	"millrace/window"
)

var errNoUser = errors.New("user_id is missing")

// withUser refuses clicks of nobody.
func withUser(c Click) (Click, error) {
	if c.User == "" {
		return c, errNoUser
	}
	return c, nil
}

// onNobody runs a job that reads clicks on one that withUser refuses.
func onNobody(app *millrace.App) *millracetest.Driver {
	d := run(app)
	d.Pipe(clicks, "x", Click{Page: "/"})
	d.Pipe(clicks, "ana", Click{User: "ana", Page: "/"})
	d.Commit()
	return d
}

// Without an option, what an operator cannot take goes to <topic>-dlq.
func ExampleOption() {
	app := millrace.New("policies")
	app.From(clicks).TryMap(withUser).MapValues(page).To(texts)
	for _, l := range onNobody(app).DeadLetters("clicks-dlq") {
		fmt.Println(l.Reason, l.Error)
	}
	// Output: error user_id is missing
}

func ExampleNamed() {
	app := millrace.New("names")
	app.From(clicks).TryMap(withUser, millrace.Named("check the user")).MapValues(page).To(texts)
	fmt.Println(onNobody(app).DeadLetters("clicks-dlq")[0].Stage)
	// Output: TryMap check the user
}

func ExampleDeadLetter() {
	bad := millrace.NewTopic("bad-clicks", codec.Bytes, codec.Bytes)
	app := millrace.New("policies")
	app.From(clicks).TryMap(withUser, millrace.DeadLetter(bad)).MapValues(page).To(texts)
	d := onNobody(app)
	fmt.Println(len(d.DeadLetters("bad-clicks")), len(d.DeadLetters("clicks-dlq")))
	// Output: 1 0
}

func ExampleSkip() {
	app := millrace.New("policies")
	app.From(clicks).TryMap(withUser, millrace.Skip()).MapValues(page).To(texts)
	d := onNobody(app)
	print(d, texts)
	fmt.Println(len(d.DeadLetters("clicks-dlq")))
	// Output:
	// ana /
	// 0
}

func ExampleStop() {
	app := millrace.New("policies")
	app.From(clicks).TryMap(withUser, millrace.Stop(), millrace.Named("check")).MapValues(page).To(texts)
	defer func() {
		what := fmt.Sprint(recover())
		fmt.Println(what[strings.Index(what, "stage"):])
	}()
	onNobody(app) // a running job ends with this error
	// Output: stage "TryMap check" refused clicks/0/0: error: user_id is missing
}

func ExampleRetry() {
	calls := 0
	flaky := func(c Click) (Click, error) {
		if calls++; calls < 3 {
			return c, errors.New("not now")
		}
		return c, nil
	}
	app := millrace.New("policies")
	app.From(clicks).TryMap(flaky, millrace.Retry(2)).MapValues(page).To(texts)
	d := run(app)
	d.Pipe(clicks, "ana", Click{Page: "/"})
	d.Commit()
	print(d, texts)
	// Output: ana /
}

// The group's key is the record's key, so a click is counted where it is read.
func ExampleRecordKey() {
	app := millrace.New("keyed")
	app.From(clicks.Keyed()).GroupBy(user, millrace.RecordKey()).Count("clicks").To(totals)
	d := onVisits(app)
	fmt.Println(d.Table(totals), strings.Contains(build(app).Describe(), "repartition"))
	// Output: map[ana:2 bob:1] false
}

func ExampleKeyCodec() {
	type place struct{ User, Page string }
	app := millrace.New("places")
	table := app.From(clicks).
		GroupBy(func(c Click) place { return place{c.User, c.Page} }, millrace.KeyCodec(codec.JSON[place]())).
		Count("places")
	view := table.View()
	onVisits(app)
	n, err := view.Get(place{"ana", "/cart"})
	fmt.Println(n.Result, err)
	// Output: 1 <nil>
}

func ExampleValueCodec() {
	last := millrace.NewTopic("last", codec.String, codec.JSON[Click]())
	app := millrace.New("last")
	app.From(clicks).GroupBy(user).
		Reduce("last", func(_, b Click) Click { return b }, millrace.ValueCodec(codec.JSON[Click]())).
		To(last)
	fmt.Println(onVisits(app).Table(last)["ana"].Page)
	// Output: /cart
}

// onTwoMinutes runs a job on clicks of two minutes; the second ends the first.
func onTwoMinutes(app *millrace.App) *millracetest.Driver {
	d := onVisits(app)
	d.PipeAt(clicks, "bob", visits()[1], millracetest.Start.Add(time.Minute))
	d.Commit()
	return d
}

func ExampleEmitFinal() {
	app := millrace.New("minutes")
	inMinutes(app).Count("clicks", millrace.EmitFinal()).To(userMinutes)
	printMinutes(onTwoMinutes(app), userMinutes)
	// Output:
	// 10:30 / 1
	// 10:30 /cart 2
}

func ExampleEmitBoth() {
	app := millrace.New("minutes")
	inMinutes(app).Count("clicks", millrace.EmitBoth()).
		Changes(func(u millrace.Update[string, int64]) string { return fmt.Sprint(u.Result, " final: ", u.Final) }).To(texts)
	print(onTwoMinutes(app), texts)
	// Output:
	// / 1 final: false
	// /cart 2 final: false
	// /cart 1 final: false
	// / 1 final: true
	// /cart 2 final: true
}

// No click comes any more, and the minute becomes final all the same.
func ExampleWallClock() {
	app := millrace.New("minutes")
	inMinutes(app).Count("clicks", millrace.EmitFinal(), millrace.WallClock()).To(userMinutes)
	d := onVisits(app)
	fmt.Println(len(d.Read(userMinutes)))
	d.Advance(2 * time.Minute)
	d.Commit()
	d.Advance(2 * time.Minute)
	d.Commit()
	printMinutes(d, userMinutes)
	// Output:
	// 0
	// 10:30 / 1
	// 10:30 /cart 2
}

// Clicks may come ten seconds out of order: the minute waits for them.
func ExampleDisorder() {
	app := millrace.New("minutes")
	app.From(clicks).EventTime(when, millrace.Disorder(10*time.Second)).GroupBy(user).
		Window(window.Tumbling(time.Minute)).Count("clicks", millrace.EmitFinal()).To(userMinutes)
	d := run(app)
	for _, after := range []time.Duration{0, 65 * time.Second, 59 * time.Second, 70 * time.Second} {
		d.Pipe(clicks, "ana", Click{User: "ana", At: millracetest.Start.Add(after)})
		d.Commit()
	}
	printMinutes(d, userMinutes)
	// Output: 10:30 ana 2
}

func ExampleNewTopic() {
	t := millrace.NewTopic("user-totals", codec.String, codec.Int64)
	fmt.Println(t.Name())
	// Output: user-totals
}

func ExampleTopic_Name() {
	fmt.Println(clicks.Name())
	// Output: clicks
}

func ExampleTopic_Codecs() {
	key, value := clicks.Codecs()
	fmt.Println(key.Name(), value.Name())
	// Output: string json
}

// A compacted topic keeps the newest record of each key.
func ExampleTopic_Compacted() {
	app := millrace.New("clicks")
	app.From(clicks).GroupBy(user).Count("clicks").To(totals.Compacted())
	fmt.Println(onVisits(app).Table(totals))
	// Output: map[ana:2 bob:1]
}

func ExampleNew() {
	fmt.Println(millrace.New("click-count").ID())
	// Output: click-count
}

func ExampleApp_ID() {
	fmt.Println(millrace.New("click-count").ID())
	// Output: click-count
}

func ExampleTopology_Describe() {
	app := millrace.New("clicks")
	app.From(clicks.Keyed()).GroupBy(user, millrace.RecordKey()).Count("clicks").To(totals)
	fmt.Print(build(app).Describe())
	// Output:
	// application clicks
	//
	// sub-topology 0
	//   From clicks; keyed
	//     GroupBy millrace_test.user
	//       Aggregate clicks; key string, value count as int64; changelog clicks-clicks-changelog; no hop
	//         To user-totals
}

// A whole program with its broker: it counts until its context ends.
func ExampleApp_Run() {
	dir, err := os.MkdirTemp("", "millrace-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	app := millrace.New("clicks")
	app.From(clicks).GroupBy(user).Count("clicks").To(totals)
	ctx, stop := context.WithCancel(context.Background())
	err = app.Run(ctx,
		millrace.Embedded(dir),
		millrace.Listen("localhost:0"),
		millrace.CommitInterval(20*time.Millisecond),
		millrace.Memory(64<<20),
		millrace.Logger(slog.New(slog.DiscardHandler)),
		millrace.OnReady(func(r millrace.Ready) {
			fmt.Println("it runs")
			stop()
		}),
	)
	fmt.Println(err)
	// Output:
	// it runs
	// <nil>
}
