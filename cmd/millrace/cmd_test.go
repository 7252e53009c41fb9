package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/client"
	"millrace/record"
)

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

func call(t *testing.T, stdin string, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr,
		getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}
	code := a.run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

func eachCommand(root *cobra.Command, do func(*cobra.Command)) {
	do(root)
	for _, child := range root.Commands() {
		if child.Name() != "completion" && child.Name() != "help" {
			eachCommand(child, do)
		}
	}
}

// TestHelpTeaches: every command says what it is for and shows how it is used,
// within the width of a terminal.
func TestHelpTeaches(t *testing.T) {
	root := (&app{stdout: io.Discard, stderr: io.Discard}).rootCommand()
	seen := 0
	eachCommand(root, func(cmd *cobra.Command) {
		seen++
		if cmd.Short == "" || len(cmd.Long) < len(cmd.Short) || !strings.Contains(cmd.Example, "millrace") {
			t.Errorf("%s: short, long or example is missing", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len([]rune(line)) > 110 {
				t.Errorf("%s: a line is longer than a terminal: %s", cmd.CommandPath(), line)
			}
		}
	})
	if seen < 20 {
		t.Fatalf("only %d commands were looked at", seen)
	}
}

// TestEveryExampleParses runs the flags and arguments of each example through
// the command that it belongs to.
func TestEveryExampleParses(t *testing.T) {
	words := regexp.MustCompile(`'[^']*'|\S+`)
	root := (&app{stdout: io.Discard, stderr: io.Discard}).rootCommand()
	eachCommand(root, func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, " #")
			_, line, found := strings.Cut(line, "millrace ")
			if !found {
				t.Errorf("%s: no command in the example %q", cmd.CommandPath(), line)
				continue
			}
			line, _, _ = strings.Cut(line, " | ")
			line, _, _ = strings.Cut(line, " < ")
			named, rest, err := root.Find(words.FindAllString(line, -1))
			if err == nil {
				err = named.ParseFlags(rest)
			}
			if err == nil && named.Args != nil {
				err = named.Args(named, named.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
			}
		}
	})
}

func TestEnvironmentFillsFlags(t *testing.T) {
	refused := call(t, "", map[string]string{"MILLRACE_DURABILITY": "maybe"}, "serve")
	if refused.code != exitUsage || !strings.Contains(refused.stderr, `--durability is "maybe"`) {
		t.Errorf("MILLRACE_DURABILITY was not read: %+v", refused)
	}
	flagWins := call(t, "", map[string]string{"MILLRACE_DURABILITY": "fsync"}, "serve", "--durability", "maybe")
	if flagWins.code != exitUsage {
		t.Errorf("the variable beat the flag: %+v", flagWins)
	}
	for _, name := range []string{"MILLRACE_BROKERS", "KAFKA_BROKERS"} {
		if got := call(t, "", map[string]string{name: "127.0.0.1:1"}, "topics", "list"); !strings.Contains(got.stderr, "127.0.0.1:1") {
			t.Errorf("%s was not read: %+v", name, got)
		}
	}
	if got := call(t, "", nil, "topics", "list", "--bootstrap-server", "127.0.0.1:1"); got.code != exitUnreachable {
		t.Errorf("--bootstrap-server is not --brokers: %+v", got)
	}
}

// What is typed is neither refused nor without effect because of the variable of
// a flag that does not go with it.
func TestTypedFlagsBeatVariablesOfOthers(t *testing.T) {
	for _, c := range []struct {
		variables map[string]string
		typed     string
		want      string // in the complaint
	}{
		{map[string]string{"MILLRACE_BROKERS": "127.0.0.1:1"}, "jobs list --data-dir /dev/null/none", "/dev/null/none"},
		{map[string]string{"KAFKA_BROKERS": "127.0.0.1:1"}, "users list --data-dir /dev/null/none", "/dev/null/none"},
		{map[string]string{"MILLRACE_DATA_DIR": "/dev/null/none"}, "jobs list --brokers 127.0.0.1:1", "127.0.0.1:1"},
		{map[string]string{"MILLRACE_DATA_DIR": "/dev/null/none", "KAFKA_BROKERS": "127.0.0.1:1"}, "jobs list", "127.0.0.1:1"},
		{map[string]string{"MILLRACE_DATA_DIR": "/dev/null/none", "KAFKA_BROKERS": "127.0.0.1:1"}, "users list", "127.0.0.1:1"},
		{map[string]string{"MILLRACE_TO_LATEST": "true"}, "jobs reset j --to never", `"never"`},
		{map[string]string{"MILLRACE_DRY_RUN": "true"}, "jobs reset j --yes --brokers 127.0.0.1:1", "127.0.0.1:1"},
		{map[string]string{"MILLRACE_GROUP": "g"}, "consume c -e --brokers 127.0.0.1:1", "127.0.0.1:1"},
		{map[string]string{"MILLRACE_BROKERS": "127.0.0.1:1"}, "serve --auth sasl --http-addr :0 --kafka-addr :0 --data-dir /dev/null/none", "/dev/null/none"},
		{map[string]string{"MILLRACE_AUTH": "sasl"}, "serve --brokers 127.0.0.1:1 --http-addr :0 --data-dir " + t.TempDir(), "127.0.0.1:1"},
		{map[string]string{"MILLRACE_TO": "end", "MILLRACE_TO_LATEST": "true"}, "jobs reset j", "exclude each other"},
	} {
		got := call(t, "", c.variables, strings.Fields(c.typed)...)
		if got.code == exitDone || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%v millrace %s: exit %d\n%s", c.variables, c.typed, got.code, got.stderr)
		}
	}
}

func TestMisspeltVariablesAreNamed(t *testing.T) {
	// None of these is meant for a flag: Kubernetes sets them for a service called
	// millrace, and tests have their own.
	others := []string{
		"PATH=/bin", "MILLRACE_=x", "MILLRACE_DATADIR=", "MILLRACE_DATA_DIR=/d", "MILLRACE_CLEANUP_POLICY_OF_MINE=x",
		"MILLRACE_SERVICE_HOST=10.0.0.1", "MILLRACE_SERVICE_PORT=9092", "MILLRACE_SERVICE_PORT_KAFKA=9092", "MILLRACE_SERVICE_PORT_HTTP=8080", "MILLRACE_PORT=tcp://10.0.0.1:9092",
		"MILLRACE_PORT_9092_TCP=tcp://10.0.0.1:9092", "MILLRACE_PORT_9092_TCP_PROTO=tcp", "MILLRACE_PORT_9092_TCP_PORT=9092", "MILLRACE_PORT_9092_TCP_ADDR=10.0.0.1",
		"MILLRACE_HTTP=x", "MILLRACE_TLS=x", "MILLRACE_SCALE_ROLE=x", "MILLRACE_SCALE_DIR=x", "MILLRACE_SCALE_USERS=1", "MILLRACE_SCALE_MEMORY=1",
		"MILLRACE_CONFORMANCE_KAFKA=x", "MILLRACE_CONFORMANCE_SECURED_KAFKA=x", "MILLRACE_CONFORMANCE_RECORD=x", "MILLRACE_MUTATED_FRAMES=1", "MILLRACE_TEST_IDLE_CLIENTS=1",
	}
	misspelt := []string{"MILLRACE_DATADIR=/d", "MILLRACE_BROKER=b", "MILLRACE_KAFKA_ADRESS=:1", "MILLRACE_Log_Level=debug"}
	want := "MILLRACE_DATADIR is not read. Did you mean MILLRACE_DATA_DIR?\n" +
		"MILLRACE_BROKER is not read. Did you mean MILLRACE_BROKERS?\n" +
		"MILLRACE_KAFKA_ADRESS is not read. Did you mean MILLRACE_KAFKA_ADDR?\n" +
		"MILLRACE_Log_Level is not read. Did you mean MILLRACE_LOG_LEVEL?\n"
	for _, c := range []struct {
		command   string
		variables []string
		want      string
	}{
		{"query --by none", others, ""},
		{"query --by none", slices.Concat(others, misspelt), want},
		{"topics list -b 127.0.0.1:1", misspelt, want},
		{"version", misspelt, ""},
		{"completion bash", misspelt, ""},
		{"__complete topics describe --bro", misspelt, ""},
		{"help topics", misspelt, ""},
	} {
		var stdout, stderr bytes.Buffer
		a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(string) (string, bool) { return "", false }, environ: func() []string { return c.variables }}
		a.run(t.Context(), strings.Fields(c.command))
		said, _, _ := strings.Cut(stderr.String(), "error ")
		if named := strings.Contains(stderr.String(), "is not read"); said != c.want && (named || c.want != "") || strings.Contains(stdout.String(), "is not read") {
			t.Errorf("millrace %s, with %s:\n%swant:\n%s", c.command, c.variables, stderr.String(), c.want)
		}
	}
}

func TestPositions(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]client.Start{
		"beginning": client.FromBeginning(), "end": client.FromEnd(), "latest": client.FromEnd(),
		"0": client.FromOffset(0), "17": client.FromOffset(17), "-10": client.FromLast(10),
		"-1h30m":               client.FromTime(now.Add(-90 * time.Minute)),
		"2026-01-15T09:00:00Z": client.FromTime(time.Date(2026, 1, 15, 9, 0, 0, 0, time.UTC)),
		"2026-01-15":           client.FromTime(time.Date(2026, 1, 15, 0, 0, 0, 0, time.Local)),
		"2026-01-15 08:00:00":  client.FromTime(time.Date(2026, 1, 15, 8, 0, 0, 0, time.Local)),
	} {
		if got, err := parsePosition(text, now); err != nil || got != want {
			t.Errorf("%q: got %+v (%v), want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "1.5", "-", "+1h", "2026-13-01"} {
		if got, err := parsePosition(text, now); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]struct {
		address  string
		loopback bool
	}{
		"localhost:9092": {"localhost:9092", true}, ":0": {"localhost:0", true}, "127.0.0.1:1": {"127.0.0.1:1", true}, "[::1]:1": {"[::1]:1", true},
		"127.1.2.3:1": {"127.1.2.3:1", true}, "0.0.0.0:1": {"0.0.0.0:1", false}, "[::]:1": {"[::]:1", false}, "10.0.0.1:1": {"10.0.0.1:1", false},
		"example.com:1": {"example.com:1", false}, "localhost.example.com:1": {"localhost.example.com:1", false},
	} {
		a, err := parseAddress("--kafka-addr", text)
		if err != nil || a.String() != want.address || a.loopback() != want.loopback {
			t.Errorf("%q: %s, loopback %v (%v)", text, a, a.loopback(), err)
		}
	}
	for _, text := range []string{"", "localhost", "localhost:", "localhost:http", "localhost:-1", "localhost:65536", "::1:9092"} {
		if a, err := parseAddress("--kafka-addr", text); err == nil {
			t.Errorf("%q was read as %s", text, a)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "64KiB": 64 << 10, "256MiB": 256 << 20, "1 GiB": 1 << 30} {
		if got, err := parseBytes("--memory", text); err != nil || got != want {
			t.Errorf("%q: %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "lots", "1MB", "9999999999GiB"} {
		if got, err := parseBytes("--memory", text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for n, want := range map[int64]string{-1: "-", 0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestFaultsNeverShowABareError: what the client room reports has a code, an
// exit code and a fix.
func TestFaultsNeverShowABareError(t *testing.T) {
	for _, test := range []struct {
		err  error
		code string
		exit int
	}{
		{client.UnknownTopicError{Topic: "t"}, "E1203", exitNotFound},
		{fmt.Errorf("x: %w", client.UnknownGroupError{Group: "g"}), "E1204", exitNotFound},
		{fmt.Errorf("x: %w", client.ErrTopicExists), "E1201", exitFailed},
		{fmt.Errorf("x: %w", client.ErrGroupInUse), "E1205", exitRefused},
		{fmt.Errorf("x: %w", client.ErrNotAuthorized), "E1402", exitRefused},
		{fmt.Errorf("x: %w", client.ErrUnreachable), "E1501", exitUnreachable},
		{fmt.Errorf("x: %w", client.ErrRefused), "E1202", exitRefused},
		{&client.UnknownPropertyError{Key: "k"}, "E1004", exitUsage},
		{context.Canceled, "E1003", exitFailed},
		{errors.New("anything else"), "E1002", exitFailed},
	} {
		f := faultOf(test.err)
		if f.code != test.code || f.exit != test.exit || f.Error() == "" {
			t.Errorf("%v: %s, exit %d, %q", test.err, f.code, f.exit, f.Error())
		}
	}
}

var anyCode = regexp.MustCompile(`"(E1\d{3})"`)

// TestEveryCodeIsDocumented compares the codes in the sources of this room and
// of the web room with docs/errors.md.
func TestEveryCodeIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, pattern := range []string{"*.go", "../../internal/web/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range anyCode.FindAllStringSubmatch(string(source), -1) {
				used[match[1]] = true
			}
		}
	}
	for code := range used {
		if !strings.Contains(string(docs), "| "+code+" |") {
			t.Errorf("%s has no line in docs/errors.md", code)
		}
	}
	for _, match := range regexp.MustCompile(`\| (E1\d{3}) \|`).FindAllStringSubmatch(string(docs), -1) {
		if !used[match[1]] {
			t.Errorf("docs/errors.md describes %s, which nothing reports", match[1])
		}
	}
	if len(used) < 25 {
		t.Fatalf("only %d codes were found", len(used))
	}
}

// TestDocsAreThoseOfTheBinary compares docs/cli.md with the help texts.
// UPDATE_DOCS=1 rewrites it.
func TestDocsAreThoseOfTheBinary(t *testing.T) {
	const name = "../../docs/cli.md"
	want := reference()
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what --help says: run UPDATE_DOCS=1 go test ./cmd/millrace -run Docs", name)
	}
}

// reference is the help of all commands as one page.
func reference() string {
	var page strings.Builder
	fmt.Fprintf(&page, "# The command line\n\nWhat `millrace --help` says, for all commands. This page is made from the help texts; a test holds it to them.\n")
	root := (&app{stdout: io.Discard, stderr: io.Discard}).rootCommand()
	eachCommand(root, func(cmd *cobra.Command) {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", cmd.CommandPath(), cmd.Long)
		if cmd.Runnable() {
			fmt.Fprintf(&page, "\n    %s\n", cmd.UseLine())
		}
		fmt.Fprintf(&page, "\n%s\n", indent(cmd.Example))
		if flags := strings.TrimRight(cmd.LocalFlags().FlagUsages(), "\n"); flags != "" {
			fmt.Fprintf(&page, "\n%s\n", indent(flags))
		}
	})
	fmt.Fprintf(&page, "\n## Kafka client properties\n\nFor `--command-config FILE` (one `key=value` per line) and `-X key=value`. Any other name is an error.\n\n")
	for _, key := range client.PropertyNames() {
		fmt.Fprintf(&page, "- `%s`\n", key)
	}
	return page.String()
}

func indent(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.TrimRight("    "+strings.TrimPrefix(line, "  "), "\n "))
	}
	return strings.Join(out, "\n")
}

func TestPaceOnAFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := pace{perSecond: 1000}
		for range 5001 {
			if !p.next(t.Context()) {
				t.Fatal("ended early")
			}
		}
		if took := time.Since(began); took < 4990*time.Millisecond || took > 5*time.Second {
			t.Errorf("5001 events at 1000 per second took %v", took)
		}
		time.Sleep(time.Minute) // a stall is not made up for
		began = time.Now()
		for range 1000 {
			p.next(t.Context())
		}
		if took := time.Since(began); took < 990*time.Millisecond {
			t.Errorf("after a stall 1000 events took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.next(ctx) {
			t.Error("an event passed after the end")
		}
	})
}

func TestPatienceOnAFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("in use")
		inUse := func(err error) bool { return errors.Is(err, busy) }
		tries := 0
		freedAfterThree := func() error {
			if tries++; tries <= 3 {
				return busy
			}
			return nil
		}
		if err := patiently(t.Context(), inUse, freedAfterThree); err != nil || tries != 4 {
			t.Errorf("%d tries, then %v", tries, err)
		}
		began := time.Now()
		if err := patiently(t.Context(), inUse, func() error { return busy }); !errors.Is(err, busy) || time.Since(began) != patience {
			t.Errorf("gave up after %v with %v", time.Since(began), err)
		}
		tries = 0
		other := func() error { tries++; return io.EOF }
		if err := patiently(t.Context(), inUse, other); !errors.Is(err, io.EOF) || tries != 1 {
			t.Errorf("another error was tried %d times: %v", tries, err)
		}
	})
}

func TestProgressBar(t *testing.T) {
	var drawn bytes.Buffer
	b := &progressBar{to: &drawn, total: 200, began: time.Now().Add(-time.Second)}
	b.show(50, 1000)
	b.show(60, 1100) // too soon: not drawn
	b.clear()
	if got := drawn.String(); strings.Count(got, "█") != 7 || !strings.Contains(got, " 25%  1000 lines, ") || !strings.Contains(got, "3s left") || !strings.HasSuffix(got, clearLine) {
		t.Errorf("drew %q", got)
	}
	if got := (&progressBar{}).text(1, 10, time.Second); got != "10 lines, 10 per second" {
		t.Errorf("of unknown length: %q", got)
	}
	quiet := &progressBar{total: 1}
	quiet.show(1, 1)
	quiet.clear() // no terminal: nothing to draw on
}

func TestDamagedGzip(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	for i := range 2000 {
		fmt.Fprintf(w, "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /%d HTTP/1.1\" 200 1\n", i)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"header.gz": {0x1f, 0x8b, 8, 0}, "cut.gz": packed.Bytes()[:packed.Len()/2]} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		a := &app{}
		in, err := a.openInput(path)
		if err == nil {
			_, err = io.Copy(io.Discard, in.reader)
			in.close()
		}
		if err == nil {
			t.Errorf("%s was read without an error", name)
		}
	}
}

func TestNothingSteersTheTerminal(t *testing.T) {
	var out bytes.Buffer
	printTable(&out, []string{"USER"}, []row{{cells: []string{"\x1b[2J\rana\n"}}})
	if slices.ContainsFunc(out.Bytes(), func(c byte) bool { return c < ' ' && c != '\n' }) {
		t.Errorf("control characters reach the terminal: %q", out.String())
	}
}

// TestSecondSignalEndsAtOnce sends this process two signals: the first ends the
// context, the second calls exit.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	exited := make(chan int, 1)
	ctx, stop := interruptible(func(code int) { exited <- code })
	defer stop()
	self := os.Getpid()
	if err := syscall.Kill(self, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if err := syscall.Kill(self, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := <-exited; code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

func TestRecordsAsJSON(t *testing.T) {
	// The other shapes are in testdata/script/produce-consume.txtar.
	for value, want := range map[string]string{
		"\xff":                 `"value":null,"value_base64":"/w=="`,
		`{"a":1,"a":2}`:        `"value":"{\"a\":1,\"a\":2}"`,
		`{"a":  [ 1 ]}`:        `"value":{"a":[1]}`,
		`1e999`:                `"value":1e999`,
		"":                     `"value":""`,
		`"text"`:               `"value":"text"`,
		strings.Repeat("[", 3): `"value":"[[["`,
	} {
		var out bytes.Buffer
		r := record.Record{Value: []byte(value)}
		if err := printJSON(&out, recordJSON(&r)); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q: %s (%v), want %s in it", value, out.String(), err, want)
		}
	}
}
