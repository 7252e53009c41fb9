package millrace

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/codec"
	"millrace/internal/engine"
	"millrace/window"
)

// countsOf is a job with a count per word and one per window.
func countsOf(id, store string, size time.Duration) *App {
	itself := func(word string) string { return word }
	app := New(id)
	words := app.From(NewTopic("words", codec.Bytes, codec.String)).GroupBy(itself)
	words.Count(store).To(NewTopic("counts", codec.String, codec.Int64))
	words.Window(window.Tumbling(size)).Count("recent").To(NewTopic("recent-counts", WinKey(codec.String, size), codec.Int64))
	return app
}

// program runs an App as a user's main does.
func program(ctx context.Context, app *App, args ...string) (code int, stdout, stderr string) {
	var out, problems bytes.Buffer
	code = app.main(ctx, args, &out, &problems, []RunOption{Listen("localhost:0")})
	return code, out.String(), problems.String()
}

func TestPlanOfAProgram(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	same := countsOf("words", "total", time.Minute)
	code, out, _ := program(ctx, same, "--plan", "--data-dir", dir, "--log-level", "error")
	if code != exitDone || !strings.Contains(out, "create  topic words-total-changelog") {
		t.Errorf("before the first start: exit code %d\n%s", code, out)
	}
	countOne(ctx, t, same, dir)
	for name, c := range map[string]struct {
		app  *App
		code int
		says string
	}{
		"the same program":   {same, exitDone, "keep    state total"},
		"another window":     {countsOf("words", "total", time.Hour), exitDiffers, "it was written with key string, value count as int64, tumbling 1m0s, and the program has"},
		"a renamed state":    {countsOf("words", "sum", time.Minute), exitDiffers, `"sum" of the same form: it was renamed`},
		"another job":        {countsOf("others", "total", time.Hour), exitDone, "create  topic others-total-changelog"},
		"a job without name": {countsOf("", "total", time.Hour), exitFailed, ""},
	} {
		code, out, problems := program(ctx, c.app, "--plan", "--data-dir", dir, "--log-level", "error")
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", name, code, c.code, out, problems)
		}
	}
	// What plan calls a renamed state is refused at the start, too: it would begin
	// at nothing in the middle of the input.
	err := countsOf("words", "sum", time.Minute).Run(ctx, Embedded(dir), Listen("localhost:0"))
	if _, refused := errors.AsType[*engine.PreflightError](err); !refused {
		t.Errorf("a renamed state was started: %v", err)
	}
}

// countOne runs the job until both of its states have counted a word, and stops it.
func countOne(ctx context.Context, t *testing.T, app *App, dir string) {
	t.Helper()
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(running, Embedded(dir), Listen("localhost:0"), OnReady(func(r Ready) { ready <- r }))
	}()
	var brokers []string
	select {
	case r := <-ready:
		brokers = r.Brokers
	case err := <-ended:
		t.Fatal(err)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("counts", "recent-counts"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "words", Value: []byte("so")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for seen := make(map[string]bool); len(seen) < 2; { // both states have committed
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[r.Topic] = true })
		if ctx.Err() != nil {
			t.Fatalf("only these were counted: %v", seen)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestProgramSaysWhatIsWrong(t *testing.T) {
	app := countsOf("words", "total", time.Minute)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":         {[]string{"--help"}, exitDone, ""},
		"unknown flag": {[]string{"--broker", "x"}, exitUsage, "-broker"},
		"an argument":  {[]string{"jobs"}, exitUsage, `there is no argument "jobs"`},
		"a bad size":   {[]string{"--memory", "lots"}, exitUsage, "--memory"},
		"a bad level":  {[]string{"--log-level", "loud"}, exitUsage, "--log-level"},
		"nobody there": {[]string{"--plan", "--brokers", "127.0.0.1:1", "--data-dir", dir}, exitUnreachable, "127.0.0.1:1"},
		"no such file": {[]string{"--brokers", "127.0.0.1:1", "--command-config", dir + "/none"}, exitFailed, "--command-config"},
		"bad broker":   {[]string{"--kafka-addr", "nowhere", "--data-dir", dir}, exitFailed, "listen for Kafka clients"},
	} {
		code, _, stderr := program(t.Context(), app, c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, c.code, stderr)
		}
	}
}
