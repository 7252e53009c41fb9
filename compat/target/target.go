// Package target starts the broker that a test talks to: Millrace, built from
// the checkout around this module, or a real Apache Kafka, so that every
// expectation can be proved on the original before Millrace is held to it.
// The two things most callers need are Start and Broker.Kill.
package target

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind says which broker is meant.
type Kind string

const (
	Millrace Kind = "millrace"
	Kafka    Kind = "kafka"
)

// FromEnv returns the broker named by TARGET; unset means Millrace.
func FromEnv() (Kind, error) {
	switch k := Kind(os.Getenv("TARGET")); k {
	case "", Millrace:
		return Millrace, nil
	case Kafka:
		return k, nil
	default:
		return "", fmt.Errorf("TARGET=%s: want %s or %s", k, Millrace, Kafka)
	}
}

// Options describe the broker to start. The zero value is a Millrace on free
// ports in a new temporary directory.
type Options struct {
	Kind Kind
	// Dir holds the data and the log of the process. Empty: a new directory
	// under the system's temporary one, removed by Close.
	Dir string
	// Args are added to the command line of `millrace serve`.
	Args []string
	// Brokers makes a Millrace without a broker of its own, which works on that
	// Kafka cluster.
	Brokers string
	// Properties are added to Kafka's server.properties, one per line.
	Properties []string
	// Secured asks clients to log in, on a listener in clear and on one over TLS.
	Secured bool
	// Wrap is put in front of the broker's command line, such as taskset.
	Wrap []string
}

// Broker is one broker process on fixed loopback ports. It survives its own
// Kill: Start brings the same directory up again on the same address.
type Broker struct {
	Kind    Kind
	Dir     string // everything of this broker
	DataDir string // its log directories lie directly inside
	Addr    string // Kafka listener, host:port
	HTTP    string // base URL of Millrace's pages; empty for Kafka
	TLSAddr string // listener over TLS of a secured broker, host:port
	CA      string // file with the certificate that signs TLSAddr's
	Ready   string // the `ready` line of the last start; empty for Kafka
	// StartTook is the time from exec until the broker answered: the ready
	// line of Millrace, the first accepted connection of Kafka.
	StartTook time.Duration

	options Options
	owned   bool // Dir is ours to remove
	mu      sync.Mutex
	cmd     *exec.Cmd
	exited  chan struct{}
	exitErr error
}

// Start starts a broker and returns when it is ready.
func Start(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{Kind: o.Kind, Dir: o.Dir, options: o}
	if b.Kind == "" {
		b.Kind = Millrace
	}
	if b.Dir == "" {
		dir, err := os.MkdirTemp("", "millrace-compat-")
		if err != nil {
			return nil, err
		}
		b.Dir, b.owned = dir, true
	}
	b.DataDir = filepath.Join(b.Dir, "data")
	if err := b.prepare(); err != nil {
		b.Close()
		return nil, err
	}
	if err := b.Start(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) prepare() error {
	addr, err := FreeAddr()
	if err != nil {
		return err
	}
	b.Addr = addr
	if b.options.Secured {
		if err := b.secure(); err != nil {
			return err
		}
	}
	if b.Kind == Kafka {
		return b.prepareKafka()
	}
	if b.HTTP, err = FreeAddr(); err != nil {
		return err
	}
	b.HTTP = "http://" + b.HTTP
	return nil
}

// Start starts the process again after Kill or Stop, on the same address and
// directory.
func (b *Broker) Start(ctx context.Context) error {
	began := time.Now()
	stdout, err := b.spawn()
	if err != nil {
		return err
	}
	if b.Kind == Kafka {
		err = b.awaitListener(ctx)
	} else {
		err = b.awaitReadyLine(ctx, stdout)
	}
	if err != nil {
		b.Kill()
		return fmt.Errorf("%s did not come up: %w\n%s", b.Kind, err, b.LogTail())
	}
	b.StartTook = time.Since(began)
	return nil
}

// StartAndKill starts the process and kills it after so long, ready or not.
func (b *Broker) StartAndKill(after time.Duration) error {
	if _, err := b.spawn(); err != nil {
		return err
	}
	select {
	case <-time.After(after):
	case <-b.exited:
		return fmt.Errorf("%s ended by itself: %v\n%s", b.Kind, b.cmd.ProcessState, b.LogTail())
	}
	return b.Kill()
}

// spawn starts the process with its standard error in the broker's log file,
// and returns the file that holds its standard output.
func (b *Broker) spawn() (stdout string, err error) {
	argv := b.millraceArgv()
	if b.Kind == Kafka {
		argv = b.kafkaArgv()
	}
	argv = append(append([]string{}, b.options.Wrap...), argv...)
	stderr, err := os.OpenFile(b.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	defer stderr.Close()
	stdout = filepath.Join(b.Dir, "stdout.txt")
	out, err := os.Create(stdout)
	if err != nil {
		return "", err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.Dir, out, stderr
	cmd.SysProcAttr = Orphanless()
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start %s: %w", argv[0], err)
	}
	exited := make(chan struct{})
	b.mu.Lock()
	b.cmd, b.exited = cmd, exited
	b.mu.Unlock()
	go func() {
		err := cmd.Wait()
		b.mu.Lock()
		b.exitErr = err
		b.mu.Unlock()
		close(exited)
	}()
	return stdout, nil
}

// Orphanless are the attributes of a child that must not outlive this process,
// however this process ends.
func Orphanless() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// PID is the process id of the running broker.
func (b *Broker) PID() int { return b.cmd.Process.Pid }

// Exited is closed when the running process has ended.
func (b *Broker) Exited() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exited
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (b *Broker) Kill() error {
	if b.cmd == nil {
		return nil
	}
	if err := b.cmd.Process.Kill(); err != nil && err != os.ErrProcessDone {
		return err
	}
	<-b.exited
	return nil
}

// Stop asks the process to end and waits for it. It is an error when the
// process does not end by itself before the deadline of ctx, or ends with
// another code than a clean stop has (0; 143 for a JVM).
func (b *Broker) Stop(ctx context.Context) error {
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", b.Kind, err)
	}
	select {
	case <-b.exited:
	case <-ctx.Done():
		b.Kill()
		return fmt.Errorf("%s did not stop on SIGTERM: %w\n%s", b.Kind, ctx.Err(), b.LogTail())
	}
	code := b.cmd.ProcessState.ExitCode()
	if code == 0 || b.Kind == Kafka && code == 143 {
		return nil
	}
	return fmt.Errorf("%s stopped with code %d\n%s", b.Kind, code, b.LogTail())
}

// Close ends the process whatever its state and removes what Start made. It is
// safe to call twice.
func (b *Broker) Close() {
	b.Kill()
	if b.owned {
		os.RemoveAll(b.Dir)
	}
}

func (b *Broker) logPath() string { return filepath.Join(b.Dir, "broker.log") }

// LogTail returns the last lines that the broker wrote about itself.
func (b *Broker) LogTail() string {
	raw, err := os.ReadFile(b.logPath())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// Log returns everything that the broker wrote about itself.
func (b *Broker) Log() string {
	raw, _ := os.ReadFile(b.logPath())
	return string(raw)
}

// FreeAddr returns a loopback address that nothing listens on now.
func FreeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
