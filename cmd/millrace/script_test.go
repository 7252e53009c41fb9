package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millrace": main})
}

// givesUp is when a test no longer waits for what must happen soon. It measures
// nothing: the machine may be busy.
const givesUp = 90 * time.Second

// TestScripts runs the command line as users do: the real binary, real
// processes, free ports. testdata/script/README.md names the words that the
// scripts have beside testscript's own.
func TestScripts(t *testing.T) {
	log, err := filepath.Abs("../../examples/access-log/semicomplete-2015-05-access.log.gz")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ACCESS_LOG", log)
			e.Values[serversKey] = &servers{}
			e.Defer(func() { e.Values[serversKey].(*servers).killAll() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    scriptServe,
			"run":      scriptRun,
			"shutdown": scriptShutdown,
			"crash":    scriptCrash,
			"exits":    scriptExits,
			"await":    scriptAwait,
			"get":      scriptGet,
			"damage":   scriptDamage,
			"hang":     scriptHang,

			"certificate": scriptCertificate,
		},
	})
}

const serversKey = "servers"

// servers are the server processes of one script.
type servers struct{ running []*serverProcess }

type serverProcess struct {
	cmd    *exec.Cmd
	stdout io.Closer
	ended  chan struct{}
	err    error // of Wait, once ended is closed
	talk   *lockedBuffer
}

func (s *servers) last() *serverProcess {
	if len(s.running) == 0 {
		return nil
	}
	return s.running[len(s.running)-1]
}

func (s *servers) killAll() {
	for _, p := range s.running {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// scriptServe: serve [flags]. Starts a server on free ports over $WORK/data and
// waits for its ready line. MILLRACE_BROKERS and MILLRACE_HTTP then name it for
// the client verbs.
func scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	startServer(ts, append([]string{"serve", "--kafka-addr", ":0", "--http-addr", ":0", "--data-dir", "data"}, args...))
}

// scriptRun: run [flags]. The same for an instance without a broker.
func scriptRun(ts *testscript.TestScript, _ bool, args []string) {
	startServer(ts, append([]string{"run", "--http-addr", ":0"}, args...))
}

func startServer(ts *testscript.TestScript, args []string) {
	path, err := exec.LookPath("millrace")
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "MILLRACE_BROKERS=", "MILLRACE_HTTP=")
	talk := &lockedBuffer{}
	cmd.Stderr = talk
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	p := &serverProcess{cmd: cmd, stdout: stdout, ended: make(chan struct{}), talk: talk}
	all := ts.Value(serversKey).(*servers)
	all.running = append(all.running, p)
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	if readErr != nil {
		<-p.ended
		ts.Fatalf("no ready line: %v\n%s", readErr, talk)
	}
	ready := regexp.MustCompile(`^ready kafka=(\S+) http=(http://\S+)`).FindStringSubmatch(line)
	if secure := regexp.MustCompile(` kafka-tls=(\S+)`).FindStringSubmatch(line); secure != nil {
		ts.Setenv("MILLRACE_TLS", secure[1])
	}
	if ready == nil {
		ts.Fatalf("the ready line is %q", line)
	}
	ts.Setenv("MILLRACE_BROKERS", ready[1])
	ts.Setenv("MILLRACE_HTTP", ready[2])
}

// scriptShutdown: shutdown. Sends SIGTERM to the last server, which must exit with
// 0. What it said is in the file server.log.
func scriptShutdown(ts *testscript.TestScript, _ bool, _ []string) {
	p := ts.Value(serversKey).(*servers).last()
	ts.Check(p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
	case <-time.After(givesUp):
		ts.Fatalf("the server did not stop within %v:\n%s", givesUp, p.talk)
	}
	ts.Check(os.WriteFile(ts.MkAbs("server.log"), []byte(p.talk.String()), 0o600))
	if p.err != nil {
		ts.Fatalf("the server stopped with %v:\n%s", p.err, p.talk)
	}
}

// scriptCrash: crash. Ends the last server as a crash would.
func scriptCrash(ts *testscript.TestScript, _ bool, _ []string) {
	p := ts.Value(serversKey).(*servers).last()
	ts.Check(p.cmd.Process.Kill())
	<-p.ended
}

// scriptExits: exits CODE COMMAND [args]. Runs a command that must exit with
// that code; stdout and stderr are there for the words that look at them.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptAwait: await PATTERN COMMAND [args]. Repeats a command until its stdout
// matches: for what another process brings about.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	deadline := time.Now().Add(givesUp)
	for {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && pattern.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s; the last answer (%v) was\n%s%s\nthe server said\n%s", args[0], err, out, ts.ReadFile("stderr"), ts.Value(serversKey).(*servers).last().talk)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// scriptGet: get PATH PATTERN. Asks the server over HTTP until the answer
// matches.
func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[1])
	deadline := time.Now().Add(givesUp)
	for {
		body, err := fetch(ts.Getenv("MILLRACE_HTTP") + args[0])
		if err == nil && pattern.MatchString(body) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain for %s; the last answer (%v) was\n%s\nthe server said\n%s", args[1], err, body, ts.Value(serversKey).(*servers).last().talk)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func fetch(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), givesUp)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%s\n%s", response.Status, body), err
}

// scriptDamage: damage FILE OFFSET. Flips one bit of a file.
func scriptDamage(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	data, err := os.ReadFile(name)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	data[at] ^= 1
	ts.Check(os.WriteFile(name, data, 0o600))
}
