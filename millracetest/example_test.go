package millracetest_test

import (
	"fmt"
	"time"

	"millrace"
	"millrace/codec"
	"millrace/millracetest"
	"millrace/window"
)

var (
	words  = millrace.NewTopic("words", codec.String, codec.String)
	totals = millrace.NewTopic("totals", codec.String, codec.Int64)
)

func itself(word string) string { return word }

// counting is a job that counts words.
func counting() *millrace.App {
	app := millrace.New("words")
	app.From(words).GroupBy(itself).Count("words").To(totals)
	return app
}

// counted is that job, running; a test gives its t in place of Panics.
func counted() *millracetest.Driver { return millracetest.New(millracetest.Panics(), counting()) }

func ExampleNew() {
	d := millracetest.New(millracetest.Panics(), counting())
	d.Pipe(words, "", "be")
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:1]
}

func ExamplePanics() {
	defer func() { fmt.Println("a failure panics:", recover() != nil) }()
	millracetest.New(millracetest.Panics(), millrace.New("empty"))
	// Output: a failure panics: true
}

func ExamplePartitions() {
	d := millracetest.New(millracetest.Panics(), counting(), millracetest.Partitions(1))
	d.Pipe(words, "a", "be")
	d.Pipe(words, "b", "be")
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:2]
}

func ExampleDriver_Pipe() {
	d := counted()
	d.Pipe(words, "hamlet", "be")
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:1]
}

func ExampleDriver_PipeAt() {
	d := counted()
	d.PipeAt(words, "", "be", millracetest.Start.Add(time.Hour))
	d.Commit()
	fmt.Println(d.Read(totals)[0].At.Format(time.TimeOnly))
	// Output: 11:30:00
}

// passing is a job that passes on numbers of eight bytes, running.
func passing() *millracetest.Driver {
	app := millrace.New("numbers")
	app.From(millrace.NewTopic("numbers", codec.String, codec.Int64)).To(totals)
	return millracetest.New(millracetest.Panics(), app)
}

// Bytes that the job cannot read go to the dead letters.
func ExampleDriver_PipeBytes() {
	d := passing()
	d.PipeBytes("numbers", []byte("a"), []byte("seven"), d.Now())
	d.Commit()
	fmt.Println(len(d.DeadLetters("numbers-dlq")))
	// Output: 1
}

// Nothing can be seen before the commit.
func ExampleDriver_Commit() {
	d := counted()
	d.Pipe(words, "", "be")
	fmt.Println(d.Table(totals))
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output:
	// map[]
	// map[be:1]
}

// What was aborted is processed again, and counts once.
func ExampleDriver_Abort() {
	d := counted()
	d.Pipe(words, "", "be")
	d.Abort()
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:1]
}

// So is what a kill -9 has cut off.
func ExampleDriver_Crash() {
	d := counted()
	d.Pipe(words, "", "be")
	d.Crash()
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:1]
}

func ExampleDriver_Now() {
	fmt.Println(counted().Now())
	// Output: 2026-01-15 10:30:00 +0000 UTC
}

func ExampleDriver_Advance() {
	d := counted()
	d.Advance(time.Minute)
	fmt.Println(d.Now())
	// Output: 2026-01-15 10:31:00 +0000 UTC
}

func ExampleDriver_Read() {
	d := counted()
	for range 2 {
		d.Pipe(words, "", "be")
		d.Commit()
	}
	for _, r := range d.Read(totals) {
		fmt.Println(r.Key, r.Value)
	}
	// Output:
	// be 1
	// be 2
}

func ExampleDriver_Table() {
	d := counted()
	d.Pipe(words, "", "be")
	d.Pipe(words, "", "not")
	d.Commit()
	fmt.Println(d.Table(totals))
	// Output: map[be:1 not:1]
}

func ExampleDriver_DeadLetters() {
	d := passing()
	d.PipeBytes("numbers", []byte("a"), []byte("seven"), d.Now())
	d.Commit()
	for _, l := range d.DeadLetters("numbers-dlq") {
		fmt.Printf("%s: %s at %s\n", l.Value, l.Reason, l.Stage)
	}
	// Output: seven: decode at From numbers
}

func ExampleDriver_Late() {
	app := millrace.New("words")
	app.From(words).GroupBy(itself).Window(window.Tumbling(time.Minute)).Count("per-minute")
	d := millracetest.New(millracetest.Panics(), app, millracetest.Partitions(1))
	d.PipeAt(words, "", "be", d.Now().Add(time.Hour))
	d.PipeAt(words, "", "be", d.Now())
	d.Commit()
	fmt.Println(d.Late())
	// Output: 1
}
