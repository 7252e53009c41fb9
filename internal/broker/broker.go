package broker

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"millrace/internal/log"
	"millrace/internal/wire"
)

// Broker is one node that serves the topics of a data directory.
type Broker struct {
	cfg       Config
	advertise advertised
	// advertiseTLS is advertise for connections over TLS.
	advertiseTLS advertised
	logger       *slog.Logger
	complaints   *complaints
	metrics      *metrics

	store       *log.Store
	security    *security
	catalog     *catalog
	producerIDs *producerIDs
	groups      *groups
	txns        *txns
	handlers    [maxAPIKey]handler
	rules       [maxAPIKey]rule

	requestBudget *wire.Budget
	loginBudget   *wire.Budget // for requests before the login, so that strangers hold up nobody
	answerBudget  *wire.Budget
	framePool     wire.Pool
	pools

	// running ends when Close begins; every connection's ctx is below it.
	running context.Context
	stop    context.CancelFunc
	// syncing ends when Close has no more patience: it bounds waits for the disk.
	syncing context.Context
	giveUp  context.CancelFunc

	inFlight atomic.Int64   // requests between handler and answer
	serving  sync.WaitGroup // accept loops and connections
	closing  sync.Once
	closed   error

	mu struct {
		sync.Mutex
		stopped   bool
		listeners []net.Listener
		conns     map[*conn]struct{}
		perIP     map[netip.Addr]int // without those of this process
		insiders  int                // connections of this process, see Dial
		strangers list.List          // connections that have not logged in, the oldest first
	}
}

// Open opens the data directory, recovers what a crash left, and prepares to
// serve. The caller must Close the broker.
func Open(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("broker configuration: %w", err)
	}
	store, err := log.Open(cfg.FS, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	b, err := newBroker(cfg, store)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open broker: %w", err), store.Close())
	}
	return b, nil
}

func newBroker(cfg Config, store *log.Store) (*Broker, error) {
	b := &Broker{
		cfg: cfg, logger: cfg.Logger, complaints: newComplaints(cfg.Logger), store: store,
		requestBudget: wire.NewBudget(cfg.RequestMemory),
		loginBudget:   wire.NewBudget(int64(cfg.maxStrangers()+evictionSlack) * 2 * int64(cfg.Limits.PreAuthMaxFrameBytes)),
		answerBudget:  wire.NewBudget(cfg.AnswerMemory),
	}
	b.pools.init()
	b.advertise, _ = parseAdvertise(cfg.Advertise)
	b.advertiseTLS, _ = parseAdvertise(cfg.AdvertiseTLS)
	b.running, b.stop = context.WithCancel(context.Background())
	b.syncing, b.giveUp = context.WithCancel(context.Background())
	b.mu.conns = map[*conn]struct{}{}
	b.mu.perIP = map[netip.Addr]int{}
	var err error
	if b.security, err = openSecurity(store.FS(), cfg.SuperUsers, cfg.Logger); err != nil {
		return nil, err
	}
	if b.catalog, err = openCatalog(store, cfg.MaxPartitions, cfg.Logger); err != nil {
		return nil, err
	}
	if b.producerIDs, err = openProducerIDs(store, cfg.Logger); err != nil {
		return nil, err
	}
	if b.groups, err = openGroups(b); err != nil {
		return nil, err
	}
	b.txns = openTxns(b)
	for key, h := range b.dispatchTable() {
		b.handlers[key] = h
	}
	for key, r := range rules() {
		b.rules[key] = r
	}
	b.metrics = newMetrics(cfg.Registerer, b)
	return b, nil
}

// ClusterID is the identity of the data directory.
func (b *Broker) ClusterID() string { return b.store.ClusterID() }

// Recovery tells what opening the logs found.
func (b *Broker) Recovery() log.RecoveryReport { return b.store.Report() }

// ErrClosed means that the broker was closed before it could serve.
var ErrClosed = errors.New("broker: closed")

// Serve accepts connections on the listeners until Close, and returns nil then.
// It owns the listeners. An error of one of them ends all of them.
func (b *Broker) Serve(listeners ...net.Listener) error {
	if !b.own(listeners) {
		closeAll(listeners)
		return ErrClosed
	}
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() {
			defer b.serving.Done()
			failed <- b.accept(ln)
		}()
	}
	var first error
	for range listeners {
		if err := <-failed; err != nil && first == nil {
			first = err
			closeAll(listeners)
		}
	}
	return first
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		_ = ln.Close()
	}
}

// own takes note of the listeners and of their accept loops, which the caller
// starts; false when the broker is closing.
func (b *Broker) own(listeners []net.Listener) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.stopped {
		return false
	}
	b.mu.listeners = append(b.mu.listeners, listeners...)
	b.serving.Add(len(listeners))
	return true
}

// accept serves one listener until it is closed.
func (b *Broker) accept(ln net.Listener) error {
	pause := acceptPause
	for {
		socket, err := ln.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			b.admit(socket, false)
		case b.running.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("kafka listener %s was closed", ln.Addr())
		default: // out of file descriptors, or a connection that was reset while it waited
			b.logger.Warn("a connection could not be accepted", "listener", ln.Addr().String(), "error", err, "retry_in", pause)
			if !sleep(b.running, pause) {
				return nil
			}
			pause = min(2*pause, longestAcceptPause)
		}
	}
}

const (
	acceptPause        = 5 * time.Millisecond
	longestAcceptPause = time.Second
)

// sleep waits for d, or returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// InFlight is the number of requests that were executed and are not answered.
func (b *Broker) InFlight() int { return int(b.inFlight.Load()) }

// RequestMemoryBytes is what requests hold now, of Config.RequestMemory.
func (b *Broker) RequestMemoryBytes() int64 { return b.requestBudget.UsedBytes() }

// AnswerMemoryBytes is what large answers hold now, of Config.AnswerMemory.
func (b *Broker) AnswerMemoryBytes() int64 { return b.answerBudget.UsedBytes() }

// connections is the number of clients now.
func (b *Broker) connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mu.conns)
}

// Close stops from front to back: no new connection, no new request, replies
// that are due leave, then transactions, groups and logs close. When ctx ends first, the
// connections are cut; what they had not been answered may or may not be stored.
// Safe to call more than once.
func (b *Broker) Close(ctx context.Context) error {
	b.closing.Do(func() {
		b.stop()
		b.stopConnections((*conn).stop)
		defer context.AfterFunc(ctx, func() {
			b.giveUp()
			b.stopConnections((*conn).cut)
		})()
		b.serving.Wait()
		b.giveUp()
		b.txns.close()
		b.closed = errors.Join(b.groups.close(), b.store.Close())
	})
	return b.closed
}

// stopConnections closes the listeners and does how to each connection.
func (b *Broker) stopConnections(how func(*conn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.stopped = true
	closeAll(b.mu.listeners)
	for c := range b.mu.conns {
		how(c)
	}
}
