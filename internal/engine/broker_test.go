//go:build synctests

package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// ourBroker is Millrace's own broker on a disk that can lose power.
type ourBroker struct {
	world    *world
	disk     *crashfs.FS
	broker   *broker.Broker
	listener *tracked
	served   chan error
	metrics  *prometheus.Registry // of the broker that runs
	restarts sync.WaitGroup       // that a sync of the disk has begun
}

func (o *ourBroker) start() {
	o.world.t.Helper()
	listener, err := o.world.wire.Listen("tcp", "localhost:9092")
	if err != nil {
		o.world.t.Fatal(err)
	}
	o.listener = &tracked{Listener: listener}
	o.world.brokers = []string{listener.Addr().String()}
	o.metrics = prometheus.NewRegistry()
	o.broker, err = broker.Open(broker.Config{FS: o.disk, Advertise: listener.Addr().String(), Registerer: o.metrics})
	if err != nil {
		o.world.t.Fatal(err)
	}
	o.served = make(chan error, 1)
	go func() { o.served <- o.broker.Serve(o.listener) }()
}

func (o *ourBroker) stop() {
	o.restarts.Wait()
	o.disk.OnOp(nil, nil)
	o.restarts.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(o.broker.Close(ctx), <-o.served); err != nil {
		o.world.t.Error(err)
	}
}

// crash cuts the power: first nobody hears from the broker any more, then the
// disk is what the power cut leaves of it. Then it starts again.
func (o *ourBroker) crash(seed uint64) {
	o.restart(o.cutPower(seed))
}

func (o *ourBroker) cutPower(seed uint64) *crashfs.FS {
	o.listener.cut()
	policies := crashfs.Policies()
	return o.disk.Crash(policies[seed%uint64(len(policies))], seed)
}

func (o *ourBroker) restart(disk *crashfs.FS) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = o.broker.Close(gone) // what it still does goes to the old disk
	<-o.served
	o.disk = disk
	o.start()
}

// crashAtSync cuts the power before a sync of the disk; they count from 0.
func (o *ourBroker) crashAtSync(at int, struck func()) {
	var syncs atomic.Int64
	o.disk.OnOp(func(op crashfs.Op) {
		if !op.Kind.Syncs() || syncs.Add(1) != int64(at+1) {
			return
		}
		struck()
		disk := o.cutPower(uint64(at))
		o.restarts.Go(func() { o.restart(disk) }) // the sync is the broker's own, and must return
	}, nil)
}

// tracked is a listener that can end all its connections at once.
type tracked struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (l *tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = c.Close()
	}
	l.conns = append(l.conns, c)
	return c, nil
}

func (l *tracked) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}
