package millrace_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace"
	"millrace/codec"
	"millrace/internal/client"
	"millrace/record"
)

// BenchmarkScale is a job with very many keys, in a process of its own with an
// embedded broker: how fast it counts, each key once and the first of them again,
// so that what comes is never what was seen last; how much memory the process
// takes at most, by /proc, whatever the runtime says; how long it takes after
// kill -9 until it counts again; and how long when its state is lost and comes
// from the changelog. It takes minutes: run it with -benchtime 1x and a -timeout.
//
// It fails when ten million keys take more memory than is promised. The rate is
// to be read from the row in which they fit into the budget: with less, each
// event costs a read from the disk's cache.
func BenchmarkScale(b *testing.B) {
	for _, s := range []scale{
		{users: 10_000, memory: 192 << 20, rss: 512 << 20},
		{users: 1_000_000, memory: 192 << 20, rss: 512 << 20},
		{users: 10_000_000, memory: 192 << 20, rss: 512 << 20},
		{users: 10_000_000, memory: 2 << 30},
	} {
		b.Run(fmt.Sprintf("users=%d/memory=%dMiB", s.users, s.memory>>20), func(b *testing.B) {
			for range b.N {
				s.measure(b)
			}
		})
	}
}

// scale is one size.
type scale struct {
	users  int
	memory int64 // the job's budget; the heap is kept below twice of it, as in the command
	rss    int64 // of the process, with broker, runtime and garbage; 0: any
}

func (s scale) events() int { return s.users + 2_000_000 }

const scaleWithin = 15 * time.Minute // each step, or it is given up

func (s scale) measure(b *testing.B) {
	dir := b.TempDir()
	filling := s.start(b, dir, "fill")
	filling.expect(b, "filled")
	filling.stop(b)

	counting := s.start(b, dir, "count")
	counting.expect(b, "counting")
	began, before := time.Now(), counting.cpu(b)
	counting.expect(b, "counted")
	b.ReportMetric(float64(s.events())/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64((counting.cpu(b)-before).Nanoseconds())/float64(s.events()), "cpu-ns/event")
	hwm := counting.memory(b)
	b.ReportMetric(float64(hwm)/(1<<20), "MiB")
	counting.kill(b)

	began = time.Now()
	again := s.start(b, dir, "count")
	again.expect(b, "counting")
	b.ReportMetric(time.Since(began).Seconds(), "s-after-kill")
	hwm = max(hwm, again.memory(b))
	again.kill(b)

	if err := os.RemoveAll(filepath.Join(dir, ".jobs")); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	restored := s.start(b, dir, "count")
	restored.expect(b, "counting")
	b.ReportMetric(time.Since(began).Seconds(), "s-restore")
	hwm = max(hwm, restored.memory(b))
	restored.kill(b)
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(float64(hwm)/(1<<20), "MiB-ever")
	if s.rss > 0 && hwm > s.rss {
		b.Errorf("the process took %d MiB, %d are promised", hwm>>20, s.rss>>20)
	}
}

// scaleProcess is this test binary as the process that is measured.
type scaleProcess struct {
	cmd   *exec.Cmd
	said  *bufio.Reader
	stdin io.Closer
}

// What tells a child what to do.
const (
	scaleRole   = "MILLRACE_SCALE_ROLE"
	scaleUsers  = "MILLRACE_SCALE_USERS"
	scaleMemory = "MILLRACE_SCALE_MEMORY"
	scaleDir    = "MILLRACE_SCALE_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(scaleRole); role != "" {
		if err := scaleChild(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func (s scale) start(b *testing.B, dir, role string) *scaleProcess {
	b.Helper()
	p := &scaleProcess{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), scaleRole+"="+role, scaleDir+"="+dir, fmt.Sprintf("%s=%d", scaleUsers, s.users), fmt.Sprintf("%s=%d", scaleMemory, s.memory))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.said = bufio.NewReader(out)
	b.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// expect waits until the child says a word.
func (p *scaleProcess) expect(b *testing.B, word string) {
	b.Helper()
	late := time.AfterFunc(scaleWithin, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if line, err := p.said.ReadString('\n'); err != nil || strings.TrimSpace(line) != word {
		b.Fatalf("the process says %q, want %q: %v", line, word, err)
	}
}

// stop ends the child in order.
func (p *scaleProcess) stop(b *testing.B) {
	b.Helper()
	if err := errors.Join(p.stdin.Close(), p.cmd.Wait()); err != nil {
		b.Fatal(err)
	}
}

func (p *scaleProcess) kill(b *testing.B) {
	b.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		b.Fatal(err)
	}
	_ = p.cmd.Wait() // killed
}

// memory is the most that the process has ever had resident, in bytes.
func (p *scaleProcess) memory(b *testing.B) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatal("no VmHWM in /proc")
	return 0
}

// cpu is the processor time of the process, in hundredths of a second.
func (p *scaleProcess) cpu(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	user, err1 := strconv.Atoi(fields[12])
	system, err2 := strconv.Atoi(fields[13])
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// scaleChild is the measured process: it runs until its standard input ends.
func scaleChild(role string) error {
	users, err1 := strconv.Atoi(os.Getenv(scaleUsers))
	memory, err2 := strconv.ParseInt(os.Getenv(scaleMemory), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s := scale{users: users, memory: memory}
	debug.SetMemoryLimit(2 * memory)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	app := millrace.New("scale-" + role)
	if role == "fill" { // a job that reads nothing, to have the broker
		app.From(millrace.NewTopic("nothing", codec.Bytes, codec.Bytes)).To(millrace.NewTopic("nowhere", codec.Bytes, codec.Bytes))
	} else {
		events := millrace.NewTopic("events", codec.String, codec.String).Keyed()
		app.From(events).GroupBy(func(click string) string { return click[:len("u000000000")] }, millrace.RecordKey()).Count("clicks").To(millrace.NewTopic("counts", codec.String, codec.Int64))
	}
	watched := make(chan error, 1)
	run := app.Run(ctx, millrace.Embedded(os.Getenv(scaleDir)), millrace.Listen("localhost:0"), millrace.Memory(memory), millrace.OnReady(func(r millrace.Ready) {
		go func() {
			if role == "fill" {
				watched <- s.fill(ctx, r.Brokers)
			} else {
				watched <- s.watch(ctx, r.Brokers, app.ID())
			}
		}()
	}))
	select {
	case err := <-watched:
		return errors.Join(run, err)
	default:
		return run
	}
}

// fill sends the events: each user in turn, so that one comes back only after all
// others.
func (s scale) fill(ctx context.Context, brokers []string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(100_000), kgo.DefaultProduceTopic("events"))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range s.events() {
		c.Produce(ctx, scaleEvent(i%s.users), nil)
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	fmt.Println("filled")
	return nil
}

func scaleEvent(user int) *kgo.Record {
	value := fmt.Appendf(nil, `u%09d {"timestamp":1700000000000,"page":"/home/of"}`, user)
	return &kgo.Record{Key: value[:len("u000000000")], Value: value}
}

// watch says when the group commits for the first time in this process, and
// when it has committed everything. What is there already is counted again after
// a new record.
func (s scale) watch(ctx context.Context, brokers []string, group string) error {
	admin, err := client.NewAdmin(client.Config{Brokers: brokers})
	if err != nil {
		return err
	}
	defer admin.Close()
	start, err := sumOffsets(ctx, admin, group)
	if err != nil {
		return err
	}
	if int(start) >= s.events() {
		if err := oneMore(ctx, brokers); err != nil {
			return err
		}
	}
	for said := false; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		now, err := sumOffsets(ctx, admin, group)
		if err != nil {
			continue
		}
		if !said && now > start {
			fmt.Println("counting")
			said = true
		}
		if said && int(now) >= s.events() {
			fmt.Println("counted")
			return nil
		}
	}
	return nil
}

func sumOffsets(ctx context.Context, admin *client.Admin, group string) (sum record.Offset, err error) {
	all, err := admin.GroupOffsets(ctx, group)
	for _, o := range all {
		sum += o
	}
	return sum, err
}

func oneMore(ctx context.Context, brokers []string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("events"), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.ProduceSync(ctx, scaleEvent(0)).FirstErr()
}
