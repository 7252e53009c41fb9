package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"millrace/internal/broker"
	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/internal/vfs"
	"millrace/internal/web"
)

// node is one running server. It starts from the disk outwards (broker, click
// job, page, demo) and stops the other way round, so that nothing loses what it
// stands on while it still works.
type node struct {
	settings serveSettings
	logger   *slog.Logger

	kafka, http address // with the ports that were found
	kafkaTLS    address // its host is empty without a TLS listener
	client      client.Config
	stops       []stop
	failed      chan error // the first error of a part ends the server
	running     sync.WaitGroup
}

// stop ends one part and waits for it.
type stop struct {
	part string
	end  func(context.Context) error
}

// stopWithin bounds a clean stop, all parts together.
const stopWithin = 4500 * time.Millisecond

func (n *node) start(ctx context.Context) error {
	n.failed = make(chan error, 1)
	n.warnOfExposure()
	registry := newRegistry()
	if err := n.startSource(ctx, registry); err != nil {
		return err
	}
	listeners, err := n.listenHTTP(ctx)
	if err != nil {
		return err
	}
	job, err := n.startJob(registry)
	if err != nil {
		return closeListeners(listeners, err)
	}
	n.startWeb(listeners, job, registry)
	return n.startDemo()
}

// warnOfExposure repeats, where operators look, what the flag has allowed.
func (n *node) warnOfExposure() {
	for _, a := range n.settings.openKafka() {
		n.logger.Warn("without authentication: whoever reaches this address may read and write everything", "flag", a.flag, "address", a.String())
	}
	if a := n.settings.http; !a.loopback() {
		n.logger.Warn("without authentication: whoever reaches this address may read all results", "flag", a.flag, "address", a.String())
	}
	if a := n.settings.kafka; n.settings.security.login && !n.settings.external() && !a.loopback() {
		n.logger.Warn("without encryption: whoever can listen on the network reads all records; passwords of SCRAM stay unreadable", "flag", a.flag, "address", a.String())
	}
}

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "millrace_build_info", Help: "Always 1; the label tells the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// startSource makes the cluster reachable from which the job reads.
func (n *node) startSource(ctx context.Context, registry *prometheus.Registry) error {
	if !n.settings.external() {
		return n.startBroker(ctx, registry)
	}
	var err error
	if n.client, err = n.settings.cluster.config(); err != nil {
		return err
	}
	n.client.Logger = n.logger
	if err := client.Check(ctx, n.client); err != nil {
		f := faultOf(err)
		f.fix = "correct --brokers or MILLRACE_BROKERS; without them serve starts a broker of its own"
		return f
	}
	return nil
}

func (n *node) startBroker(ctx context.Context, registry *prometheus.Registry) error {
	listeners, err := n.listenKafka(ctx, registry)
	if err != nil {
		return err
	}
	b, err := n.openBroker(ctx, registry)
	if err == nil {
		err = n.checkUsers(b)
	}
	if err != nil {
		return closeListeners(listeners, err)
	}
	n.run("broker", func() error { return b.Serve(listeners...) })
	n.client = client.Config{
		Brokers: []string{dialable(listeners[0])},
		Logger:  n.logger,
		// Whatever --advertise tells others and --auth asks of them, the way inside
		// does not leave the process.
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx) },
	}
	return nil
}

// listenKafka opens the plain listener and, if there is to be one, that of TLS.
func (n *node) listenKafka(ctx context.Context, registry *prometheus.Registry) ([]net.Listener, error) {
	certificates, err := n.openCertificates(registry)
	if err != nil {
		return nil, err
	}
	listeners, addr, err := n.settings.kafka.listen(ctx)
	if err != nil {
		return nil, err
	}
	n.kafka = addr
	if certificates == nil {
		return listeners, nil
	}
	secure, addr, err := n.settings.security.tls.listen(ctx)
	if err != nil {
		return nil, closeListeners(listeners, err)
	}
	n.kafkaTLS = addr
	return append(listeners, overTLS(secure, certificates)...), nil
}

func (n *node) openBroker(ctx context.Context, registry *prometheus.Registry) (*broker.Broker, error) {
	durability := log.Fsync
	if !n.settings.durable {
		durability = log.OS
		n.logger.Warn("acknowledged records are in the system's memory only: a crash of the machine can lose them", "durability", "os")
	}
	disk, err := vfs.OpenOS(n.settings.dataDir)
	if err != nil {
		return nil, directoryFault(n.settings.dataDir, err)
	}
	n.onStop("data directory", func(context.Context) error { return disk.Close() })
	var b *broker.Broker
	locked := func(err error) bool { return errors.Is(err, log.ErrLocked) }
	err = patiently(ctx, locked, func() (err error) {
		b, err = broker.Open(broker.Config{
			FS:                  disk,
			Log:                 log.Options{Durability: durability},
			Group:               group.Config{InitialRebalanceDelay: n.settings.rebalanceDelay},
			Advertise:           n.settings.advertise,
			AdvertiseTLS:        n.settings.security.advertiseTLS,
			RequireLogin:        n.settings.security.login,
			SuperUsers:          n.settings.security.superUsers,
			MaxConnections:      n.settings.security.maxConnections,
			MaxConnectionsPerIP: n.settings.security.maxConnectionsPerIP,
			DefaultPartitions:   n.settings.defaultPartitions,
			OffsetsPartitions:   n.settings.offsetsPartitions,
			Logger:              n.logger,
			Registerer:          registry,
		})
		return err
	})
	if err != nil {
		return nil, directoryFault(n.settings.dataDir, err)
	}
	n.onStop("broker", b.Close)
	return b, nil
}

// listenHTTP finds the port that other instances are told.
func (n *node) listenHTTP(ctx context.Context) ([]net.Listener, error) {
	listeners, addr, err := n.settings.http.listen(ctx)
	n.http = addr
	return listeners, err
}

func (n *node) startWeb(listeners []net.Listener, job *runningJob, registry *prometheus.Registry) {
	server := web.New(web.Options{
		Results:      results{job},
		Jobs:         clusterJobs{n.client},
		Source:       n.source(),
		KafkaAddr:    n.kafkaText(),
		DemoRunning:  n.settings.demoRate > 0,
		LoopbackOnly: n.http.loopback(),
		Version:      version,
		Gatherer:     registry,
		Registerer:   registry,
		Logger:       n.logger,
	})
	n.onStop("page", server.Close)
	for _, l := range listeners {
		n.run("page", func() error { return server.Serve(l) })
	}
}

// startDemo sends simulated clicks for as long as the server runs.
func (n *node) startDemo() error {
	if n.settings.demoRate == 0 {
		return nil
	}
	producer, err := client.NewProducer(n.client, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	demo := clicks.NewDemo(clicks.DemoOptions{})
	ended := n.run("demo", func() error {
		return sendDemo(ctx, producer, demo, demoPlan{rate: n.settings.demoRate})
	})
	n.onStop("demo", func(ctx context.Context) error {
		cancel()
		<-ended
		err := producer.Flush(ctx)
		producer.Close()
		return err
	})
	return nil
}

// run starts a part; its error ends the server. The channel closes when it is done.
func (n *node) run(part string, work func() error) (ended chan struct{}) {
	ended = make(chan struct{})
	n.running.Go(func() {
		defer close(ended)
		if err := work(); err != nil {
			select {
			case n.failed <- fmt.Errorf("%s: %w", part, err):
			default: // the server is ending of an earlier error
			}
		}
	})
	return ended
}

func (n *node) onStop(part string, end func(context.Context) error) {
	n.stops = append(n.stops, stop{part, end})
}

// wait returns when ctx ends, or with the error of the part that failed first.
func (n *node) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		n.logger.Info("stopping")
		return nil
	case err := <-n.failed:
		return err
	}
}

// finish stops all parts, last started first, and waits for their goroutines.
func (n *node) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	for i := len(n.stops) - 1; i >= 0; i-- {
		if err := n.stops[i].end(ctx); err != nil {
			n.logger.Error("stopped uncleanly", "part", n.stops[i].part, "err", err)
		}
	}
	n.running.Wait()
}

// readyLine is the line that scripts wait for.
func (n *node) readyLine() string {
	if n.settings.external() {
		return fmt.Sprintf("ready kafka=%s http=http://%s", n.kafkaText(), n.http)
	}
	secure := ""
	if n.kafkaTLS.host != "" {
		secure = " kafka-tls=" + n.kafkaTLS.String()
	}
	return fmt.Sprintf("ready kafka=%s http=http://%s%s data=%s", n.kafka, n.http, secure, n.settings.dataDir)
}

func (n *node) kafkaText() string {
	if n.settings.external() {
		return strings.Join(n.client.Brokers, ",")
	}
	return n.kafka.said()
}

func (n *node) source() string {
	if n.settings.external() {
		return "topic click_events of the Kafka cluster at " + n.kafkaText()
	}
	return "topic click_events of the broker at " + n.kafkaText()
}

// directoryFault says what is wrong with a data directory.
func directoryFault(dir string, err error) error {
	f := &fault{code: "E1106", exit: exitFailed, err: err}
	f.what = fmt.Sprintf("the data directory %s cannot be opened: %s", dir, withoutFloors(err))
	f.fix = "correct what the message names, or choose another directory with --data-dir"
	switch {
	case errors.Is(err, log.ErrLocked):
		f.code = "E1103"
		f.what = fmt.Sprintf("the data directory %s is in use by another Millrace", dir)
		f.fix = fmt.Sprintf("stop that one (fuser -v %s names it), or choose another directory with --data-dir", dir)
	case errors.Is(err, log.ErrCopied):
		f.code = "E1105"
		f.fix = "the message above says which file to remove if the copy is meant to live on its own"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		f.code = "E1104"
		f.what = fmt.Sprintf("the data directory cannot be written: %s", withoutFloors(err))
		f.fix = "give the directory to this user, or choose another with --data-dir"
	}
	return f
}

// withoutFloors is err's text without what each room says it was doing: that
// helps in a log, and here the sentence has said it.
func withoutFloors(err error) string {
	text := err.Error()
	for _, doing := range []string{"open broker: ", "open log: ", "log: "} {
		text = strings.TrimPrefix(text, doing)
	}
	return text
}
