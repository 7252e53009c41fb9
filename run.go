package millrace

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/client"
	"millrace/internal/engine"
)

// RunOption says where and how [App.Run] runs a job.
type RunOption func(*running) error

// running is what options set.
type running struct {
	embedded string // data directory of a broker in this process; empty: none
	listen   string // of that broker
	brokers  bool   // a cluster was named
	options  engine.Options
	ready    func(Ready)
	plan     bool // only say what would change
	stdout   io.Writer
}

// Ready says where a job that has started can be reached.
type Ready struct {
	Brokers []string // of the cluster that it runs on
	Dir     string   // where it keeps its state
}

// Brokers runs the job on a Kafka cluster, as many instances as there are
// partitions, each with a [StateDir] of its own. Addresses are HOST:PORT; a
// missing port is 9092.
func Brokers(addresses ...string) RunOption {
	return func(r *running) error {
		r.brokers, r.options.Client.Brokers = true, addresses
		return nil
	}
}

// ClientProperty sets a client setting under Kafka's name, such as
// security.protocol or sasl.mechanism.
func ClientProperty(name, value string) RunOption {
	return func(r *running) error { return r.options.Client.Set(name, value) }
}

// StateDir is where this instance keeps its state. It may be lost: the state is
// then restored from the changelog topics. Default millrace-state, or within
// the directory of [Embedded].
func StateDir(dir string) RunOption {
	return func(r *running) error {
		r.options.Dir = dir
		return nil
	}
}

// InstanceID makes this instance a static member of its group: when it comes
// back under the same id within ten seconds, nothing moves.
func InstanceID(id string) RunOption {
	return func(r *running) error {
		r.options.InstanceID = id
		return nil
	}
}

// Endpoint is an address of this instance that the others are told, see
// [AwayError].
func Endpoint(address string) RunOption {
	return func(r *running) error {
		r.options.Endpoint = address
		return nil
	}
}

// CommitInterval is how long a record waits at most until its results are
// visible, while commits are fast. Default 100 ms.
func CommitInterval(d time.Duration) RunOption {
	return func(r *running) error {
		r.options.CommitInterval = d
		return nil
	}
}

// Memory bounds state, fetches and open transactions together, in bytes.
// Default 256 MiB.
func Memory(bytes int64) RunOption {
	return func(r *running) error {
		r.options.MemoryBytes = bytes
		return nil
	}
}

// Logger gets what an operator should know; without it nothing is logged.
// Metrics takes the job's metrics.
func Logger(l *slog.Logger) RunOption {
	return func(r *running) error {
		r.options.Logger, r.options.Client.Logger = l, l
		return nil
	}
}

// Metrics takes the job's metrics, under the names of the documentation.
func Metrics(registerer prometheus.Registerer) RunOption {
	return func(r *running) error {
		r.options.Registerer = registerer
		return nil
	}
}

// OnReady is called once, when the job begins to run.
func OnReady(f func(Ready)) RunOption {
	return func(r *running) error {
		r.ready = f
		return nil
	}
}

// Run builds the job and runs it until ctx ends, with a last commit, and then
// returns nil. Without [Brokers] it runs on a broker in this process, with its
// data in ./millrace-data, see [Embedded].
//
// A cluster that is away is waited for. What no waiting heals is returned: a
// description or an option that is wrong, topics that do not fit the job, a
// record that an operator with the policy Stop refused.
func (a *App) Run(ctx context.Context, options ...RunOption) error {
	t, err := a.Build()
	if err != nil {
		return err
	}
	r := running{stdout: os.Stdout}
	for _, o := range options {
		err = errors.Join(err, o(&r))
	}
	if r.embedded == "" && !r.brokers {
		r.embedded = "millrace-data"
	}
	if err != nil {
		return err
	}
	if r.embedded == "" {
		return r.run(ctx, t)
	}
	return r.runEmbedded(ctx, t)
}

// run runs the job on the cluster that the options name.
func (r *running) run(ctx context.Context, t *Topology) error {
	r.options.Plan = *t.Plan()
	if r.options.Dir == "" {
		r.options.Dir = filepath.Join("millrace-state", r.options.Plan.App)
	}
	if r.plan {
		return r.review(ctx)
	}
	r.options.Version = buildVersion()
	e, err := engine.New(r.options)
	if err != nil {
		return err
	}
	t.Attach(e)
	if r.ready != nil {
		r.ready(Ready{Brokers: r.options.Client.Brokers, Dir: r.options.Dir})
	}
	return e.Run(ctx)
}

// Flags reads the flags that the millrace command has for this: --brokers,
// --command-config, --data-dir, --kafka-addr, --instance-id, --commit-interval,
// --memory and --log-level, each also from the environment as MILLRACE_BROKERS
// and so on; and --plan, which only prints what [App.Run] would change on the
// cluster. Call it with os.Args[1:], or use [App.Main]. Options before it are its
// defaults.
func Flags(args []string) RunOption {
	return func(r *running) error {
		f := newFlags(r)
		if err := f.parse(args); err != nil {
			return &flagError{err}
		}
		return f.apply(r)
	}
}

// flags are those of one [Flags].
type flags struct {
	set                      *flag.FlagSet
	brokers, config, dataDir string
	kafkaAddr, instance      string
	memory, level            string
	interval                 time.Duration
	plan                     bool
	logLevel                 slog.Level
	bytes                    int64
}

func newFlags(r *running) *flags {
	f := &flags{set: flag.NewFlagSet(filepath.Base(os.Args[0]), flag.ContinueOnError)}
	f.set.SetOutput(io.Discard) // faults are returned, not printed
	f.set.StringVar(&f.brokers, "brokers", "", "use this Kafka cluster, `HOST:PORT` separated by commas; without it a broker runs in this process")
	f.set.StringVar(&f.config, "command-config", "", "`file` of Kafka client properties for --brokers")
	f.set.StringVar(&f.dataDir, "data-dir", cmp.Or(r.embedded, r.options.Dir, "millrace-data"), "`directory` of data and state")
	f.set.StringVar(&f.kafkaAddr, "kafka-addr", cmp.Or(r.listen, "localhost:9092"), "`address` of the broker in this process")
	f.set.StringVar(&f.instance, "instance-id", r.options.InstanceID, "`name` that makes this a static member of its group")
	f.set.DurationVar(&f.interval, "commit-interval", r.options.CommitInterval, "longest wait for a commit (default 100ms)")
	f.set.StringVar(&f.memory, "memory", "", "`budget` for state, fetches and open transactions (default 256MiB)")
	f.set.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	f.set.BoolVar(&f.plan, "plan", false, "only say what a start would change on the cluster, and whether this program fits what is there")
	return f
}

// parse reads the environment, then the arguments. Asked for help, it prints it.
func (f *flags) parse(args []string) error {
	err := errors.Join(fromEnvironment(f.set), f.set.Parse(args))
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "Usage of %s; each flag can be an environment variable, --data-dir as MILLRACE_DATA_DIR:\n", f.set.Name())
		f.set.SetOutput(os.Stderr)
		f.set.PrintDefaults()
		return err
	}
	if err == nil && f.set.NArg() > 0 {
		err = fmt.Errorf("there is no argument %q", f.set.Arg(0))
	}
	if e := f.logLevel.UnmarshalText([]byte(f.level)); e != nil {
		err = errors.Join(err, fmt.Errorf("--log-level: %w", e))
	}
	var e error
	if f.bytes, e = parseBytes(f.memory); e != nil {
		err = errors.Join(err, fmt.Errorf("--memory: %w", e))
	}
	return err
}

func (f *flags) apply(r *running) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: f.logLevel}))
	r.options.Logger, r.options.Client.Logger = logger, logger
	r.options.InstanceID, r.options.CommitInterval, r.listen, r.plan = f.instance, f.interval, f.kafkaAddr, f.plan
	if f.bytes > 0 {
		r.options.MemoryBytes = f.bytes
	}
	if f.brokers != "" {
		r.brokers, r.options.Client.Brokers = true, client.SplitBrokers(f.brokers)
	}
	if !r.brokers {
		r.embedded = f.dataDir
		return nil
	}
	r.embedded, r.options.Dir = "", f.dataDir
	return readProperties(&r.options.Client, f.config)
}

// fromEnvironment sets each flag from its variable. What is on the command line
// comes later, and wins.
func fromEnvironment(set *flag.FlagSet) (err error) {
	set.VisitAll(func(f *flag.Flag) {
		name := "MILLRACE_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value := os.Getenv(name); value != "" {
			if e := set.Set(f.Name, value); e != nil {
				err = errors.Join(err, fmt.Errorf("%s=%s: %w", name, value, e))
			}
		}
	})
	return err
}

func readProperties(c *client.Config, name string) error {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("--command-config: %w", err)
	}
	return errors.Join(c.ReadProperties(f, name), f.Close())
}

// parseBytes reads sizes such as 512MiB, 1GiB or a plain number; empty is 0.
func parseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	unit := int64(1)
	number := s
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}} {
		if cut, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = cut, u.bytes
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is not a size: use a form such as 512MiB", s)
	}
	return n * unit, nil
}
