package millracetest_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace"
	"millrace/codec"
	"millrace/millracetest"
	"millrace/window"
)

type click struct {
	User string    `json:"user"`
	At   time.Time `json:"at"`
}

var (
	raw     = millrace.NewTopic("clicks", codec.Bytes, codec.JSON[click]())
	counts  = millrace.NewTopic("counts", codec.String, codec.Int64)
	minutes = millrace.NewTopic("minutes", millrace.WinKey(codec.String, time.Minute), codec.Int64)
)

func userOf(c click) string    { return c.User }
func timeOf(c click) time.Time { return c.At }

func counter() (*millrace.App, millrace.View[string, int64]) {
	app := millrace.New("count")
	table := app.From(raw).GroupBy(userOf).Count("users")
	table.To(counts)
	return app, table.View()
}

func TestNothingIsVisibleBeforeTheCommit(t *testing.T) {
	app, view := counter()
	d := millracetest.New(t, app)
	for range 4 { // without a key: over all partitions
		d.Pipe(raw, nil, click{User: "ana"})
	}
	if got := d.Read(counts); len(got) != 0 {
		t.Errorf("before the commit: %v", got)
	}
	d.Commit()
	got := d.Read(counts)
	if len(got) != 1 || got[0].Key != "ana" || got[0].Value != 4 {
		t.Errorf("%v", got)
	}
	answer, err := view.Get("ana")
	if err != nil || !answer.Found || answer.Result != 4 {
		t.Errorf("%+v, %v", answer, err)
	}
	if answer, err := view.Get("bob"); err != nil || answer.Found {
		t.Errorf("%+v, %v", answer, err)
	}
}

// Whatever is lost on the way, the counts are those of the input.
func TestAbortsAndCrashesChangeNothing(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		app, _ := counter()
		d := millracetest.New(t, app, millracetest.Partitions(1+int(seed%4)))
		want := make(map[string]int64)
		for range 60 {
			user := fmt.Sprint("user", rng.IntN(5))
			want[user]++
			d.Pipe(raw, nil, click{User: user})
			switch rng.IntN(8) {
			case 0:
				d.Commit()
			case 1:
				d.Abort()
			case 2:
				d.Crash()
			}
		}
		d.Commit()
		if got := d.Table(counts); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
	}
}

func TestWindowsBecomeFinalWithTime(t *testing.T) {
	app := millrace.New("minutes")
	app.From(raw).EventTime(timeOf).GroupBy(userOf).
		Window(window.Tumbling(time.Minute).Grace(5*time.Second)).
		Count("minutes", millrace.EmitFinal()).To(minutes)
	d := millracetest.New(t, app)
	at := millracetest.Start
	for range 6 {
		d.Pipe(raw, nil, click{"ana", at})
	}
	d.Commit()
	if got := d.Read(minutes); len(got) != 0 {
		t.Errorf("before the minute is over: %v", got)
	}
	for range 3 { // each partition gets one
		d.Pipe(raw, nil, click{"bob", at.Add(66 * time.Second)})
	}
	d.Commit()
	got := d.Read(minutes)
	if len(got) != 1 || got[0].Key.Key != "ana" || got[0].Value != 6 || got[0].Key.Window.Start.Time() != at {
		t.Errorf("%+v", got)
	}
	d.Crash()
	d.Pipe(raw, nil, click{"ana", at})
	d.Commit()
	if d.Late() != 1 || len(d.Read(minutes)) != 0 {
		t.Errorf("%d late, and a final result came again", d.Late())
	}
}

func TestDeadLetters(t *testing.T) {
	app := millrace.New("strict")
	app.From(raw).TryMap(func(c click) (click, error) {
		if c.User == "eve" {
			return c, errors.New("not her")
		}
		return c, nil
	}, millrace.Named("guard")).GroupBy(userOf).Count("users").To(counts)
	d := millracetest.New(t, app)
	d.Pipe(raw, nil, click{User: "eve"})
	d.PipeBytes("clicks", nil, []byte("no json"), d.Now())
	d.Commit()
	letters := d.DeadLetters("clicks-dlq")
	if len(letters) != 2 {
		t.Fatalf("%+v", letters)
	}
	for _, l := range letters {
		if l.Reason == "error" && (l.Error != "not her" || !strings.Contains(l.Stage, "guard")) || l.Reason == "decode" && string(l.Value) != "no json" {
			t.Errorf("%+v", l)
		}
	}
}

// A job that is not deterministic is found out by a crash.
func TestAnImpureJobIsFoundOut(t *testing.T) {
	calls := 0
	app := millrace.New("impure")
	app.From(raw).MapValues(func(c click) click {
		calls++
		return click{User: fmt.Sprint(c.User, calls)}
	}).GroupBy(userOf).Count("users").To(counts)
	d := millracetest.New(t, app)
	d.Pipe(raw, nil, click{User: "ana"})
	d.Crash()
	d.Commit()
	if got := d.Table(counts); got["ana1"] != 0 || got["ana2"] != 1 {
		t.Errorf("%v", got)
	}
}

func ExampleDriver() {
	app, _ := counter()
	var t testing.T // a test gives its own
	d := millracetest.New(&t, app)
	d.Pipe(raw, nil, click{User: "ana"})
	d.Pipe(raw, nil, click{User: "ana"})
	d.Crash() // before the commit: both are processed again
	d.Commit()
	for _, r := range d.Read(counts) {
		fmt.Println(r.Key, r.Value)
	}
	// Output: ana 2
}
