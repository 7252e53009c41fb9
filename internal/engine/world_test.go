//go:build synctests

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// world is a whole cluster and the instances of a job in one process, on a fake
// clock, with an in-memory network and disks that can lose power. It must be
// made inside a synctest bubble.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	wire    *kfake.VirtualNetwork
	brokers []string
	cluster *kfake.Cluster // nil on our broker
	ours    *ourBroker     // nil on kfake
	plan    topology.Plan

	stopCluster func()
	closing     []func()       // before the cluster stops
	options     func(*Options) // of every instance

	planted func(*faults)             // the bug of every instance, if any
	forge   func(frame []byte) []byte // what the instances send in place of their requests; nil: those
	deaf    bool                      // they do not hear of rebalances

	ledger   *ledger
	producer *kgo.Client
	admin    *client.Admin
	reader   *client.Reader
	sent     map[int32][]event // per partition, in offset order

	mu        sync.Mutex
	instances []*node
	kills     int
}

// event is one input record.
type event struct {
	key, value string
}

func newWorld(t *testing.T, seed uint64, plan topology.Plan, partitions int32) *world {
	return newWorldOn(t, seed, plan, partitions, onFake)
}

// clusterKind is what a world's cluster is.
type clusterKind int8

const (
	onFake clusterKind = iota // kfake, franz-go's model of a Kafka
	onOurs                    // Millrace's own broker
)

func newWorldOn(t *testing.T, seed uint64, plan topology.Plan, partitions int32, on clusterKind) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 5)), wire: &kfake.VirtualNetwork{}, plan: plan, ledger: newLedger(), sent: make(map[int32][]event)}
	if on == onOurs {
		w.ours = &ourBroker{world: w, disk: crashfs.New()}
		w.ours.start()
		w.stopCluster = w.ours.stop
	} else {
		w.startFake()
	}
	var err error
	config := client.Config{Brokers: w.brokers, Dial: w.wire.DialContext}
	if w.admin, err = client.NewAdmin(config); err != nil {
		t.Fatal(err)
	}
	if w.reader, err = client.NewReader(config); err != nil {
		t.Fatal(err)
	}
	w.producer = w.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if _, _, err := w.producer.ProducerID(context.Background()); err != nil { // while nothing strikes: this, franz-go does not try again
		t.Fatal(err)
	}
	for topic, n := range map[record.Topic]int{"in": int(partitions), "out": 3, "in-dlq": 1} {
		if err := w.admin.CreateTopic(context.Background(), client.TopicSpec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) startFake() {
	cluster, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ListenFn(w.wire.Listen),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cluster, w.brokers, w.stopCluster = cluster, cluster.ListenAddrs(), cluster.Close
}

func (w *world) kafka(options ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.brokers...), kgo.Dialer(w.wire.DialContext), kgo.DisableClientMetrics()}, options...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) close() {
	w.stopAll()
	for _, n := range w.instances {
		n.network.echoes.Wait()
	}
	for _, f := range w.closing {
		f()
	}
	w.producer.Close()
	w.admin.Close()
	w.reader.Close()
	w.stopCluster()
	time.Sleep(2 * lateness) // answers that are late for a connection that is gone
}

// send adds input and remembers it.
func (w *world) send(partition int32, events ...event) {
	w.t.Helper()
	for _, e := range events {
		r := &kgo.Record{Topic: "in", Partition: partition, Key: []byte(e.key), Value: []byte(e.value)}
		if err := w.producer.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			w.t.Fatal(err)
		}
		w.sent[partition] = append(w.sent[partition], e)
	}
}

// node is a machine: a disk and a network that outlive the instance on it.
type node struct {
	world   *world
	name    string
	disk    *vfs.MemFS
	network *network

	engine *Engine
	stop   context.CancelFunc
	ended  chan error
	crash  sync.Once // of the instance that runs
	dead   chan struct{}
	hook   atomic.Pointer[func(point)]
	syncs  atomic.Pointer[func()]
	skew   time.Duration // how far the machine's clock is off
}

func (w *world) node(name string) *node {
	n := &node{world: w, name: name, disk: vfs.NewCrashableMem(), network: &network{dial: w.wire.DialContext, ledger: w.ledger, forge: w.forge, deaf: w.deaf}}
	w.instances = append(w.instances, n)
	return n
}

// at sets what happens when an instance on the machine reaches a point.
func (n *node) at(f func(point)) { n.hook.Store(&f) }

func (n *node) reach(p point) {
	if f := n.hook.Load(); f != nil && *f != nil {
		(*f)(p)
	}
}

// onSync sets what happens before a sync of the machine's disk.
func (n *node) onSync(f func()) { n.syncs.Store(&f) }

func (n *node) synced() {
	if f := n.syncs.Load(); f != nil && *f != nil {
		(*f)()
	}
}

// freeze stops the machine's process where it is called, and all that it has
// under way, as SIGSTOP does.
func (n *node) freeze(length time.Duration) {
	n.network.stall()
	time.Sleep(length)
	n.network.resume()
}

// start runs an instance on the machine.
func (n *node) start() *node {
	n.world.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	if os.Getenv("ENGINE_LOG") != "" {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.name)
	}
	o := Options{
		Plan:   n.world.plan,
		Client: client.Config{Brokers: n.world.brokers, Dial: n.network.Dial, Logger: logger},
		Dir:    "state", Store: store.Options{FS: watchedDisk{n.disk, n.synced}, CacheBytes: 1 << 20, MemTableBytes: 256 << 10},
		Threads:       1,
		FlushInterval: 300 * time.Millisecond,
		Logger:        logger,
		faults:        faults{at: n.reach, smallBatches: true},
	}
	if skew := n.skew; skew != 0 {
		o.Now = func() time.Time { return time.Now().Add(skew) }
	}
	if n.world.planted != nil {
		n.world.planted(&o.faults)
	}
	if n.world.options != nil {
		n.world.options(&o)
	}
	e, err := New(o)
	if err != nil {
		n.world.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.engine, n.stop, n.ended = e, cancel, make(chan error, 1)
	n.crash, n.dead = sync.Once{}, make(chan struct{})
	go func() { n.ended <- e.Run(ctx) }()
	return n
}

// kill takes the power away: nothing of the instance reaches the network or the
// disk any more. It may be called from anywhere and returns at once; revive
// starts the machine again. It reports whether the machine was alive.
func (n *node) kill(percent int, rng *rand.Rand) (was bool) {
	n.crash.Do(func() {
		was = true
		n.network.cut()
		n.disk = n.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
		n.stop()
		close(n.dead)
		n.world.mu.Lock()
		n.world.kills++
		n.world.mu.Unlock()
	})
	return was
}

// aborts is how many transactions of the instance were not known to be committed.
func (n *node) aborts() int64 {
	var m dto.Metric
	if err := n.engine.metrics.aborts.Write(&m); err != nil {
		n.world.t.Fatal(err)
	}
	return int64(m.GetCounter().GetValue())
}

func (n *node) isDead() bool {
	select {
	case <-n.dead:
		return true
	default:
		return false
	}
}

// revive waits for what is left of the killed instance and starts a new one.
func (n *node) revive() {
	<-n.ended
	n.network.mend()
	n.start()
}

// leave stops the instance cleanly.
func (n *node) leave() error {
	n.stop()
	err := <-n.ended
	n.ended <- err
	return err
}

func (w *world) stopAll() {
	for _, n := range w.instances {
		if n.engine != nil {
			if err := n.leave(); err != nil {
				w.t.Errorf("%s: %v", n.name, err)
			}
		}
	}
}

// caughtUp waits until the group has committed every input, within the given
// time of the fake clock. each is called in between, to move things along.
func (w *world) caughtUp(within time.Duration, each func()) error {
	last := errors.New("never looked")
	swept := time.Now()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if time.Since(swept) > 30*time.Second {
			w.evictAll()
			swept = time.Now()
		}
		if each != nil {
			each()
		}
		if last = w.behind(); last == nil {
			return nil
		}
	}
	for _, n := range w.instances {
		s := n.engine.Status()
		last = fmt.Errorf("%w; %s is %s: %v %+v", last, n.name, s.State, s.Err, s.Tasks)
	}
	return last
}

// evictAll takes every member out of the group; those that live join again. kfake
// never takes out a member that died between JoinGroup and SyncGroup by itself.
func (w *world) evictAll() {
	if w.cluster == nil {
		return
	}
	group := w.cluster.GroupInfo(w.plan.App)
	if group == nil {
		return // nobody has joined yet
	}
	for _, m := range group.Members {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group = w.plan.App
		gone := kmsg.NewLeaveGroupRequestMember()
		gone.MemberID = m.MemberID
		leave.Members = append(leave.Members, gone)
		if _, err := leave.RequestWith(context.Background(), w.producer); err != nil {
			w.t.Error(err)
		}
	}
}

// behind names a partition that is not read to its end; nil when all are.
func (w *world) behind() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	committed, err := w.admin.GroupOffsets(ctx, w.plan.App)
	if err != nil {
		return err
	}
	spans, err := w.settled()
	if err != nil {
		return err
	}
	for _, sub := range w.plan.Subs {
		for _, s := range sub.Sources {
			for tp, span := range spans {
				if tp.Topic == s.Topic && committed[tp] < span.Stable && w.records(tp, committed[tp], span.Stable) {
					return fmt.Errorf("%s is committed up to %d of %d", tp, committed[tp], span.Stable)
				}
			}
		}
	}
	return nil
}

// settled is what readers see of all topics of the job; an error when a
// transaction was open, which hides what lies behind it. The ends are asked for
// last: a transaction that ends in between has hidden something from the spans.
func (w *world) settled() (map[record.TopicPartition]client.Span, error) {
	topics := []record.Topic{"in-dlq", "out"}
	for _, sub := range w.plan.Subs {
		for _, s := range sub.Sources {
			topics = append(topics, s.Topic)
		}
		for _, s := range sub.Stores {
			topics = append(topics, s.Changelog)
		}
	}
	spans, err := w.admin.Spans(context.Background(), topics...)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		ends, err := w.admin.Offsets(context.Background(), topic)
		if err != nil {
			return nil, err
		}
		for _, p := range ends {
			tp := record.TopicPartition{Topic: topic, Partition: p.Partition}
			if spans[tp].Stable < p.End {
				return nil, fmt.Errorf("%s had an open transaction", tp)
			}
		}
	}
	return spans, nil
}

// records reports whether there is a committed record between two offsets.
func (w *world) records(tp record.TopicPartition, from, to record.Offset) bool {
	found := false
	w.read(tp, from, to, func(c *client.Columns) { found = found || len(c.Offsets) > 0 })
	return found
}

// read reads what is committed of a partition.
func (w *world) read(tp record.TopicPartition, from, to record.Offset, take func(*client.Columns)) {
	w.t.Helper()
	err := w.reader.Read(context.Background(), tp, from, to, func(c *client.Columns) error {
		take(c)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
