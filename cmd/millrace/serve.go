package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const serveHelp = `Run the server: a durable broker of the Kafka protocol, the click job that counts
the topic click_events, the query API and the live page.

When it is ready it prints one line on stdout that begins with "ready" and names the
addresses. The first Ctrl-C (or SIGTERM) stops cleanly within five seconds, a second
one at once.

A record that was acknowledged at acks=all is on stable storage. --durability os
gives that up for speed: acknowledged then means in the memory of the operating
system, which survives the end of this process, but not that of the machine.

Listeners are for this machine only. A Kafka address that others can reach is refused
unless clients log in there (--auth sasl), or --insecure-allow-anonymous says that
everybody who can reach it may read and write. The same flag opens the HTTP address,
which knows no login. docs/security.md tells how to put a server on a network.

With --brokers no broker is started: the click job reads click_events from that
cluster.`

const serveExample = `  millrace serve                       # Kafka on localhost:9092, page on http://localhost:8080
  millrace serve --demo                # with simulated clicks, marked as such
  millrace serve --data-dir /var/lib/millrace --kafka-addr localhost:19092 --http-addr localhost:18080
  millrace serve --auth sasl --super-users admin   # clients log in; docs/security.md goes on from here
  millrace serve --brokers kafka:9092 --command-config prod.properties`

// serveFlags are the settings of a server, as given.
type serveFlags struct {
	dataDir, kafkaAddr, httpAddr string
	advertise                    string
	durability                   string
	memory                       string
	defaultPartitions            int
	insecure                     bool
	security                     securityFlags
	rebalanceDelay               time.Duration
	offsetsPartitions            int
	demo                         bool
	demoRate                     float64
	cluster                      cluster
	job                          jobFlags
	logLevel, logFormat          string
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run broker, click job, query API and page",
		Long:    serveHelp,
		Example: serveExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.settings()
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), s)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "./millrace-data", "where topics are stored; one process at a time")
	flags.StringVar(&f.kafkaAddr, "kafka-addr", "localhost:9092", "Kafka listener; localhost means 127.0.0.1 and ::1, port 0 picks a free one")
	flags.StringVar(&f.httpAddr, "http-addr", "localhost:8080", "listener of page, query API, metrics and health")
	flags.StringVar(&f.advertise, "advertise", "", "address that Kafka clients are told, HOST[:PORT] (default: the one by which they reached us)")
	flags.StringVar(&f.durability, "durability", "fsync", "fsync: acknowledged is on disk; os: acknowledged is in the system's memory")
	flags.IntVar(&f.defaultPartitions, "default-partitions", 4, "partitions of topics that are created without a number")
	flags.StringVar(&f.memory, "memory", "256MiB", "memory of the click job: state cache, fetches and open transactions")
	flags.BoolVar(&f.demo, "demo", false, "simulate clicks, marked as demo")
	flags.Float64Var(&f.demoRate, "demo-rate", 200, "simulated clicks per second")
	flags.BoolVar(&f.insecure, "insecure-allow-anonymous", false, "allow listeners that other machines can reach, without authentication")
	f.security.register(flags)
	f.job.register(cmd)
	flags.DurationVar(&f.rebalanceDelay, "group-initial-rebalance-delay", 100*time.Millisecond, "how long the first members of a consumer group wait for more (Kafka: 3s)")
	flags.IntVar(&f.offsetsPartitions, "offsets-topic-partitions", 4, "partitions of __consumer_offsets, decided when it is made (Kafka: 50)")
	flags.StringVar(&f.cluster.brokers, "brokers", "", "read from this Kafka cluster instead of starting a broker")
	flags.StringVar(&f.cluster.commandConfig, "command-config", "", "file of Kafka client properties for --brokers (TLS, SASL)")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text, or json for machines")
	excludes(flags, "brokers", "kafka-addr", "kafka-tls-addr", "tls-cert", "tls-key", "advertise", "advertise-tls", "auth", "super-users",
		"durability", "default-partitions", "max-connections", "max-connections-per-ip", "group-initial-rebalance-delay", "offsets-topic-partitions")
	complete(cmd, "durability", "fsync", "os")
	complete(cmd, "auth", authNone, authSASL)
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	complete(cmd, "log-format", "text", "json")
	return cmd
}

// serveSettings are checked serveFlags.
type serveSettings struct {
	dataDir           string
	kafka, http       address
	advertise         string
	durable           bool // fsync before an acknowledgement
	memoryBytes       int64
	defaultPartitions int
	insecure          bool
	security          securitySettings
	rebalanceDelay    time.Duration
	offsetsPartitions int
	demoRate          float64 // 0: no demo
	cluster           cluster // with brokers: no embedded broker
	job               jobSettings
	level             slog.Level
	jsonLogs          bool
}

// leastMemory is what the engine asks for.
const leastMemory = 16 << 20

func (s serveSettings) external() bool { return s.cluster.brokers != "" }

func (f serveFlags) settings() (serveSettings, error) {
	s := serveSettings{insecure: f.insecure, cluster: f.cluster, durable: f.durability == "fsync", jsonLogs: f.logFormat == "json"}
	switch {
	case f.dataDir == "":
		return s, usage("name a directory, or leave it away for ./millrace-data", "--data-dir is empty")
	case f.durability != "fsync" && f.durability != "os":
		return s, usage("use --durability fsync or os", "--durability is %q", f.durability)
	case f.logFormat != "text" && f.logFormat != "json":
		return s, usage("use --log-format text or json", "--log-format is %q", f.logFormat)
	case s.level.UnmarshalText([]byte(f.logLevel)) != nil:
		return s, usage("use --log-level debug, info, warn or error", "--log-level is %q", f.logLevel)
	case f.defaultPartitions < 1 || f.defaultPartitions > 10_000:
		return s, usage("use 1 to 10000", "--default-partitions is %d", f.defaultPartitions)
	case f.rebalanceDelay < 0 || f.rebalanceDelay > 5*time.Minute:
		return s, usage("use a time from 0s to 5m", "--group-initial-rebalance-delay is %v", f.rebalanceDelay)
	case f.offsetsPartitions < 1 || f.offsetsPartitions > 1000:
		return s, usage("use 1 to 1000", "--offsets-topic-partitions is %d", f.offsetsPartitions)
	case f.demo && (f.demoRate <= 0 || f.demoRate > maxRate):
		return s, usage(fmt.Sprintf("use a rate above 0, at most %d", maxRate), "--demo-rate is %v", f.demoRate)
	}
	s.defaultPartitions, s.offsetsPartitions = f.defaultPartitions, f.offsetsPartitions
	if s.rebalanceDelay = f.rebalanceDelay; s.rebalanceDelay == 0 {
		s.rebalanceDelay = -1 // the broker's word for none
	}
	if f.demo {
		s.demoRate = f.demoRate
	}
	var err error
	if s.job, err = f.job.settings(); err != nil {
		return s, err
	}
	if s.memoryBytes, err = parseBytes("--memory", f.memory); err != nil {
		return s, err
	}
	if s.memoryBytes < leastMemory {
		return s, usage("use 16MiB or more; the default is 256MiB", "--memory is %q, too small for a job", f.memory)
	}
	if s.kafka, err = parseAddress("--kafka-addr", f.kafkaAddr); err != nil {
		return s, err
	}
	if s.http, err = parseAddress("--http-addr", f.httpAddr); err != nil {
		return s, err
	}
	if s.advertise, err = parseAdvertise("--advertise", f.advertise); err != nil {
		return s, err
	}
	if s.security, err = f.security.settings(); err != nil {
		return s, err
	}
	if s.external() && (s.security.login || s.security.hasTLS()) {
		return s, usage("give them to the server that runs the broker; --command-config says how to log in there", "--auth and --kafka-tls-addr belong to a broker, and with --brokers none is started")
	}
	if s.dataDir, err = filepath.Abs(f.dataDir); err != nil {
		return s, usage("name a directory", "--data-dir %s: %s", f.dataDir, err)
	}
	return s, s.checkExposure()
}

func (s serveSettings) checkExposure() error {
	if s.insecure {
		return nil
	}
	for _, a := range s.openKafka() {
		return exposedKafka(a)
	}
	if !s.http.loopback() {
		return exposedHTTP(s.http)
	}
	return nil
}

// openKafka are the Kafka listeners through which others could come in without
// a login.
func (s serveSettings) openKafka() []address {
	var open []address
	if s.external() || s.security.login {
		return nil
	}
	for _, a := range []address{s.kafka, s.security.tls} {
		if a.host != "" && !a.loopback() {
			open = append(open, a)
		}
	}
	return open
}

// parseBytes reads a size: 1048576, 64KiB, 256MiB, 1GiB.
func parseBytes(flag, text string) (int64, error) {
	number, shift := text, 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, found := strings.CutSuffix(text, unit); found {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > 1<<40>>shift {
		return 0, usage("use a size such as 64MiB or 1GiB", "%s is %q", flag, text)
	}
	return n << shift, nil
}

// serve runs a server until ctx ends or one of its parts fails.
func (a *app) serve(ctx context.Context, s serveSettings) error {
	spareProcessor()
	a.limitHeap(s.memoryBytes)
	n := &node{settings: s, logger: a.logger(s)}
	defer n.finish()
	if err := n.start(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout, n.readyLine()); err != nil {
		return fmt.Errorf("print the ready line: %w", err)
	}
	return n.wait(ctx)
}

func (a *app) logger(s serveSettings) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.level}
	if s.jsonLogs {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}
