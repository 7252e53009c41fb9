package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestInitWritesAProgramThatWorks builds what init has written, without looking
// anything up, runs its test, and runs it until it has counted something.
func TestInitWritesAProgramThatWorks(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "my clicks")
	wrote := call(t, "", nil, "init", dir, "--source", source, "--module", "example.com/myclicks", "-o", "json")
	if wrote.code != exitDone || !strings.Contains(wrote.stdout, `"module": "example.com/myclicks"`) || !strings.Contains(wrote.stderr, "make test") {
		t.Fatalf("%+v", wrote)
	}
	again := call(t, "", nil, "init", dir, "--source", source, "--module", "example.com/myclicks")
	if again.code != exitFailed || !strings.Contains(again.stderr, "E1801") {
		t.Errorf("a second init: %+v", again)
	}
	inDir(t, dir, "go", "vet", "./...")
	inDir(t, dir, "go", "test", "./...")
	inDir(t, dir, "go", "build", "-o", "program", ".")
	brokers := startProgram(t, dir)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.AllowAutoTopicCreation(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics("clicks_per_user"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range 3 {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: "click_events", Value: []byte(`{"user_id":"ana","page":"/"}`)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for counted := ""; counted != "3"; {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { counted = string(r.Value) })
		if ctx.Err() != nil {
			t.Fatalf("ana has clicked 3 times, and %q was counted", counted)
		}
	}
}

// inDir runs a command of the Go toolchain as a user of the program would, with
// the toolchain of this test and nothing from the network.
func inDir(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+runtime.Version(), "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// startProgram runs the program with its own broker until the test ends, and
// returns the broker's address.
func startProgram(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "program"), "--kafka-addr", "localhost:0")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MILLRACE_BROKERS=", "MILLRACE_DATA_DIR=")
	talk := &lockedBuffer{}
	cmd.Stderr = talk
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // if it still runs
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program ended with %v:\n%s", err, talk)
		}
	})
	out := bufio.NewReader(stdout)
	line, _ := out.ReadString('\n')
	go io.Copy(io.Discard, out) // ends with the program
	ready := regexp.MustCompile(`^ready kafka=(\S+) data=(.+)\n`).FindStringSubmatch(line)
	if ready == nil {
		t.Fatalf("the first line is %q\n%s", line, talk)
	}
	return ready[1]
}

// The toolchain stands in three places; a Go that is too old must not build.
func TestExampleNamesTheToolchain(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../examples/clickcount/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	toolchain := regexp.MustCompile(`(?m)^toolchain (\S+)$`).FindSubmatch(mod)
	if toolchain == nil || !strings.Contains(string(makefile), "GOTOOLCHAIN := "+string(toolchain[1])+"\n") {
		t.Errorf("go.mod says %q, examples/clickcount/Makefile says something else", toolchain)
	}
}

func TestInitRefusesWhatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		exit int
		says string
	}{
		"no checkout":        {[]string{t.TempDir(), "--source", t.TempDir()}, exitNotFound, "E1802"},
		"Millrace's name":    {[]string{t.TempDir(), "--module", "millrace"}, exitUsage, "--module"},
		"a name with blanks": {[]string{t.TempDir(), "--module", "my clicks"}, exitUsage, "--module"},
		"two directories":    {[]string{"a", "b"}, exitUsage, `does not take "b"`},
	} {
		got := call(t, "", nil, append([]string{"init"}, c.args...)...)
		if got.code != c.exit || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
