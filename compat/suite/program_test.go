package suite

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/compat/target"
)

// event is one line of a client program's output: clients/README.md.
type event struct {
	Acked     *int
	Failed    *int
	Read      *int
	Error     string
	Assigned  []int32
	Partition int32
	Offset    int64
	Truncated bool
	Done      bool
	// What Kafka's verifiable consumer says.
	Name       string
	Partitions []struct{ Partition int32 }
	// What the transactional copier says.
	Consumed int
	// What the Kafka Streams program says.
	State string
}

// program is a running client program.
type program struct {
	name   string
	cmd    *exec.Cmd
	events chan event // closed when the program has ended; holds a whole run
	stderr string     // file
	mu     sync.Mutex
	err    error // how it ended, once events is closed
}

// eventsHeld bounds the output of a program that nobody reads yet; a program
// beyond it waits in its write.
const eventsHeld = 1 << 16

// start runs a client program until the test ends.
func start(t *testing.T, env []string, argv ...string) *program {
	t.Helper()
	p := &program{
		name:   filepath.Base(argv[0]) + " " + strings.Join(argv[1:], " "),
		cmd:    exec.Command(argv[0], argv[1:]...),
		events: make(chan event, eventsHeld),
		stderr: filepath.Join(t.TempDir(), "stderr"),
	}
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), env...), stderr
	p.cmd.SysProcAttr = target.Orphanless()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.events <- e
			}
		}
		err := p.cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		for range p.events {
		}
	})
	return p
}

// kill ends the program with SIGKILL.
func (p *program) kill() { p.cmd.Process.Kill() }

// until collects events up to the first one that satisfies enough.
func (p *program) until(t *testing.T, within time.Duration, what string, enough func(event) bool) []event {
	t.Helper()
	var seen []event
	deadline := time.After(within)
	for {
		select {
		case e, running := <-p.events:
			if !running {
				t.Fatalf("%s ended (%v) before %s\n%s", p.name, p.end(), what, p.words(seen))
			}
			seen = append(seen, e)
			if enough(e) {
				return seen
			}
		case <-deadline:
			t.Fatalf("%s: no %s within %s\n%s", p.name, what, within, p.words(seen))
		}
	}
}

// finish collects events until the program has ended well.
func (p *program) finish(t *testing.T, within time.Duration) []event {
	t.Helper()
	var seen []event
	deadline := time.After(within)
	for {
		select {
		case e, running := <-p.events:
			if running {
				seen = append(seen, e)
				continue
			}
			if err := p.end(); err != nil {
				t.Fatalf("%s: %v\n%s", p.name, err, p.words(seen))
			}
			return seen
		case <-deadline:
			t.Fatalf("%s has not ended within %s\n%s", p.name, within, p.words(seen))
		}
	}
}

// drain forgets what the program says within d.
func (p *program) drain(d time.Duration) {
	for deadline := time.After(d); ; {
		select {
		case <-p.events:
		case <-deadline:
			return
		}
	}
}

// quiet fails when the program says anything within d that unwanted matches.
func (p *program) quiet(t *testing.T, d time.Duration, what string, unwanted func(event) bool) {
	t.Helper()
	deadline := time.After(d)
	for {
		select {
		case e, running := <-p.events:
			if !running {
				t.Fatalf("%s ended: %v\n%s", p.name, p.end(), p.words(nil))
			}
			if unwanted(e) {
				t.Fatalf("%s: %s: %+v", p.name, what, e)
			}
		case <-deadline:
			return
		}
	}
}

func (p *program) end() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// words is what a failing test shows of a program.
func (p *program) words(seen []event) string {
	acks, reads := 0, 0
	for _, e := range seen {
		if e.Acked != nil {
			acks++
		}
		if e.Read != nil {
			reads++
		}
	}
	raw, _ := os.ReadFile(p.stderr)
	return fmt.Sprintf("(%d acks, %d reads in this step)\n%s", acks, reads, tail(string(raw)))
}
