package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

// worker is one side's job on a Kafka: a process that counts clicksTopic into a
// topic of its own, and that goes on where it was when it is started again.
type worker interface {
	// run starts the process, waits until it has counted all clicks of the topic,
	// of which so many were counted before, and stops it in order.
	run(ctx context.Context, before, all int) (usage, error)
	close()
}

// usage is what one run of a job took.
type usage struct {
	rate    float64       // events/s, without the start of the process
	cpu     time.Duration // of the process, with its start
	commits float64       // 0: not known
}

// workers makes a worker on a cluster.
type workers func(brokers string, in input) (worker, error)

// millraces are Millrace's jobs with these arguments.
func millraces(args ...string) workers {
	return func(brokers string, in input) (worker, error) { return newMillraceWorker(brokers, in, args...) }
}

func streams(brokers string, in input) (worker, error) { return newStreamsWorker(brokers, in) }

// millraceWorker is `millrace serve --brokers`.
type millraceWorker struct {
	brokers string
	args    []string
	node    *target.Broker // nil before the first start
}

func newMillraceWorker(brokers string, in input, args ...string) (*millraceWorker, error) {
	if !target.HasFlag("serve", "results") {
		return nil, fmt.Errorf("%s serve has no flag --results", target.Binary())
	}
	if in.keyed {
		args = append(slices.Clone(args), "--keyed")
	}
	return &millraceWorker{brokers: brokers, args: args}, nil
}

func (m *millraceWorker) start(ctx context.Context) (err error) {
	if m.node != nil {
		return m.node.Start(ctx)
	}
	m.node, err = target.Start(ctx, target.Options{Kind: target.Millrace, Brokers: m.brokers, Args: m.args})
	return err
}

func (m *millraceWorker) stop(ctx context.Context) error { return m.node.Stop(ctx) }
func (m *millraceWorker) kill() error                    { return m.node.Kill() }
func (m *millraceWorker) lose() error                    { return os.RemoveAll(m.node.DataDir) }

func (m *millraceWorker) results() (string, func(*kgo.Record) (int, error)) {
	return "click_counts", clickCount
}

func clickCount(r *kgo.Record) (int, error) {
	var said struct{ Clicks int }
	err := json.Unmarshal(r.Value, &said)
	return said.Clicks, err
}

func (m *millraceWorker) close() {
	if m.node != nil {
		m.node.Close()
	}
}

// run takes the rate from the first new count that is answered to the last.
func (m *millraceWorker) run(ctx context.Context, before, all int) (u usage, err error) {
	if err := m.start(ctx); err != nil {
		return u, err
	}
	var began time.Time
	first := 0
	for clicks := 0; clicks < all; time.Sleep(20 * time.Millisecond) {
		if clicks, err = m.counted(ctx); err != nil {
			return u, fmt.Errorf("%d of %d clicks are counted: %w\n%s", clicks, all, err, m.node.LogTail())
		}
		if began.IsZero() && clicks > before {
			began, first = time.Now(), clicks
		}
		if clicks >= all { // what the first answer held was counted before the clock began
			u.rate = float64(clicks-first) / time.Since(began).Seconds()
		}
	}
	u.commits = metricOf(ctx, m.node, "millrace_job_commit_duration_seconds_count")
	if u.cpu, err = target.CPUTime(m.node.PID()); err != nil {
		return u, err
	}
	return u, m.stop(ctx)
}

// counted asks the query API how many clicks are in all results that can tell.
func (m *millraceWorker) counted(ctx context.Context) (int, error) {
	var total struct{ Clicks int }
	if err := ask(ctx, m.node, "/v1/counts", &total); err != nil {
		return 0, err
	}
	if slices.Contains(m.args, onlyCounts) {
		return total.Clicks, nil
	}
	var ranking struct{ Pages []struct{ Clicks int } }
	if err := ask(ctx, m.node, "/v1/counts/pages?limit=1000", &ranking); err != nil {
		return 0, err
	}
	sum := 0
	for _, page := range ranking.Pages {
		sum += page.Clicks
	}
	return min(total.Clicks, sum), nil
}

// onlyCounts is the argument that leaves the count per user alone.
const onlyCounts = "--results=click_counts"

// ask reads an answer of the query API; it stays as it was while there is none.
func ask(ctx context.Context, node *target.Broker, path string, into any) error {
	answer, err := get(ctx, node, path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

// streamsWorker is clients/java/Count.java.
type streamsWorker struct {
	java, classPath string
	dir             string
	args            []string
	heap            string    // as the JVM takes it
	says            io.Writer // what it prints; nil: nobody reads it
	running         *exec.Cmd // nil before the first start
}

// newStreamsWorker has more heap than it needs: with 1 GiB and millions of keys it
// does nothing but collect garbage, and that would not be its speed.
func newStreamsWorker(brokers string, in input, args ...string) (*streamsWorker, error) {
	java, classPath, err := foreign.Streams()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "millrace-streams-")
	if err != nil {
		return nil, err
	}
	args = append([]string{"brokers=" + brokers, "input=" + clicksTopic, "output=" + streamsOutput, "id=bench", "dir=" + dir,
		fmt.Sprint("keyed=", in.keyed)}, args...)
	return &streamsWorker{java: java, classPath: classPath, dir: dir, args: args, heap: "-Xmx4g"}, nil
}

// streamsOutput is where Count.java writes.
const streamsOutput = "counts"

func (s *streamsWorker) start(ctx context.Context) error {
	s.running = s.command(context.WithoutCancel(ctx))
	s.running.Stdout, s.running.Stderr = s.says, s.says
	return s.running.Start()
}

// stop is in order; a JVM that ends by the signal says so.
func (s *streamsWorker) stop(ctx context.Context) error {
	if err := s.running.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := context.AfterFunc(ctx, func() { s.running.Process.Kill() })
	defer late()
	if err := s.running.Wait(); s.running.ProcessState.ExitCode() != 143 {
		return fmt.Errorf("stop Kafka Streams: %w", err)
	}
	return nil
}

func (s *streamsWorker) kill() error {
	err := s.running.Process.Kill()
	s.running.Wait() // killed
	return err
}

func (s *streamsWorker) lose() error { return os.RemoveAll(s.dir) }

func (s *streamsWorker) results() (string, func(*kgo.Record) (int, error)) {
	return streamsOutput, func(r *kgo.Record) (int, error) { return strconv.Atoi(string(r.Value)) }
}

func (s *streamsWorker) close() {
	if s.running != nil {
		s.kill()
	}
	os.RemoveAll(s.dir)
}

func (s *streamsWorker) command(ctx context.Context, more ...string) *exec.Cmd {
	argv := slices.Concat([]string{s.heap, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", s.classPath, "Count"}, s.args, more)
	cmd := exec.CommandContext(ctx, s.java, argv...)
	cmd.SysProcAttr = target.Orphanless()
	return cmd
}

// run takes the rate from the first event read to the last counted.
func (s *streamsWorker) run(ctx context.Context, before, all int) (usage, error) {
	out, err := s.command(ctx, fmt.Sprint("events=", all-before)).Output()
	if err != nil {
		return usage{}, fmt.Errorf("run Kafka Streams: %w\n%s", errors.Join(ctx.Err(), err), out)
	}
	return streamsUsage(string(out), all-before)
}

// streamsUsage reads the line with which Count.java ends.
func streamsUsage(out string, events int) (usage, error) {
	var said struct {
		Events, Seconds float64
		CPU             float64 `json:"cpu_seconds"`
	}
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "cpu_seconds") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			return usage{}, fmt.Errorf("read %q of Kafka Streams: %w", line, err)
		}
	}
	if said.Seconds <= 0 || said.Events != float64(events) {
		return usage{}, fmt.Errorf("no result of Kafka Streams, which says: %s", out)
	}
	return usage{rate: said.Events / said.Seconds, cpu: time.Duration(said.CPU * float64(time.Second))}, nil
}
