package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestServeEndsWhatItStarted runs a whole server inside the test, so that the
// race detector sees it, and checks that nothing of it is left when it ends.
func TestServeEndsWhatItStarted(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	none := func(string) (string, bool) { return "", false }
	stdout, ready := io.Pipe()
	talk := &lockedBuffer{}
	server := &app{stdin: strings.NewReader(""), stdout: ready, stderr: talk, getenv: none}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	exited := make(chan int, 1)
	go func() {
		exited <- server.run(ctx, []string{"serve", "--demo", "--demo-rate", "5000", "--kafka-addr", ":0", "--http-addr", ":0", "--data-dir", t.TempDir()})
		_ = ready.Close() // never fails on a pipe
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("no ready line: %v\n%s", err, talk)
	}
	_, http, _ := strings.Cut(strings.TrimSpace(line), "http=")
	http, _, _ = strings.Cut(http, " ")
	deadline := time.Now().Add(givesUp)
	for {
		if got := call(t, "", nil, "query", "--top", "1", "--http", http); got.code == exitDone && strings.Contains(got.stdout, "user_") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was counted:\n%s", talk)
		}
	}
	watchTwice(t, http)
	stop()
	if code := <-exited; code != exitDone {
		t.Errorf("exit code %d:\n%s", code, talk)
	}
	if strings.Contains(talk.String(), "level=ERROR") || strings.Contains(talk.String(), "stopped uncleanly") {
		t.Errorf("the server complained:\n%s", talk)
	}
}

// watchTwice follows a ranking until it has changed, and ends as Ctrl-C would.
func watchTwice(t *testing.T, http string) {
	t.Helper()
	stdout, answers := io.Pipe()
	a := &app{stdin: strings.NewReader(""), stdout: answers, stderr: io.Discard, getenv: func(string) (string, bool) { return "", false }}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	exited := make(chan int, 1)
	go func() {
		exited <- a.run(ctx, []string{"query", "--top", "1", "--watch", "--http", http, "-o", "jsonl"})
		_ = answers.Close() // never fails on a pipe
	}()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatalf("no answer: %v", lines.Err())
	}
	first := lines.Text()
	if !lines.Scan() || lines.Text() == first {
		t.Errorf("%s was followed by %q", first, lines.Text())
	}
	stop()
	for lines.Scan() {
	}
	if code := <-exited; code != exitDone {
		t.Errorf("watching ended with exit code %d", code)
	}
}
