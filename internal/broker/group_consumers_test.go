package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/broker"
	"millrace/internal/group"
	"millrace/internal/vfs/crashfs"
)

// consumer is one member of a group as applications run it. It polls until it is
// stopped, and tells what it owns.
type consumer struct {
	t      testing.TB
	cl     *kgo.Client
	socket *cutter
	cancel context.CancelFunc
	done   chan struct{}
	news   chan struct{} // something changed; capacity 1

	mu      sync.Mutex
	owned   map[int32]bool
	moves   int // assignments and revocations
	records map[string]int
}

// cutter dials, and can cut everything off, as a killed process does.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
	dead  bool
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return nil, errors.New("this client is dead")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func startConsumer(t testing.TB, n *node, groupID string, opts ...kgo.Opt) *consumer {
	t.Helper()
	c := &consumer{t: t, socket: &cutter{}, done: make(chan struct{}), news: make(chan struct{}, 1), owned: map[int32]bool{}, records: map[string]int{}}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(n.addr), kgo.ConsumerGroup(groupID), kgo.ConsumeTopics("t"), kgo.Dialer(c.socket.dial),
		kgo.SessionTimeout(700 * time.Millisecond), kgo.HeartbeatInterval(50 * time.Millisecond), kgo.RebalanceTimeout(5 * time.Second),
		kgo.AutoCommitInterval(100 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) { c.move(got, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { c.move(lost, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { c.move(lost, false) }),
	}, opts...)
	var err error
	if c.cl, err = kgo.NewClient(opts...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.cancel = cancel
	go c.poll(ctx)
	t.Cleanup(c.stop)
	return c
}

func (c *consumer) move(partitions map[string][]int32, owned bool) {
	c.mu.Lock()
	for _, p := range partitions["t"] {
		c.owned[p] = owned
	}
	c.moves++
	c.mu.Unlock()
	c.tell()
}

func (c *consumer) tell() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (c *consumer) poll(ctx context.Context) {
	defer close(c.done)
	for ctx.Err() == nil {
		fetches := c.cl.PollFetches(ctx)
		c.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { c.records[string(r.Value)]++ })
		c.mu.Unlock()
		c.tell()
	}
}

// stop leaves the group.
func (c *consumer) stop() {
	c.cancel()
	<-c.done
	c.cl.Close()
}

// die ends the process without a word to the broker.
func (c *consumer) die() {
	c.socket.cut()
	c.cancel()
	<-c.done
}

func (c *consumer) ownership() (partitions []int32, moves int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, owned := range c.owned {
		if owned {
			partitions = append(partitions, p)
		}
	}
	slices.Sort(partitions)
	return partitions, c.moves
}

func (c *consumer) seen(value string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.records[value]
}

// eventually waits for news of the consumers until ok, or fails.
func eventually(t testing.TB, what string, consumers []*consumer, ok func() bool) {
	t.Helper()
	news := make([]reflect.SelectCase, len(consumers)+1)
	for i, c := range consumers {
		news[i] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c.news)}
	}
	deadline := time.NewTimer(givesUp)
	defer deadline.Stop()
	news[len(consumers)] = reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(deadline.C)}
	for !ok() {
		if chosen, _, _ := reflect.Select(news); chosen == len(consumers) {
			for i, c := range consumers {
				owned, moves := c.ownership()
				t.Logf("consumer %d owns %v after %d moves", i, owned, moves)
			}
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// shared reports whether the consumers own partitions 0 to count-1 between them,
// each of them some.
func shared(consumers []*consumer, count int) bool {
	var all []int32
	for _, c := range consumers {
		owned, _ := c.ownership()
		if len(owned) == 0 {
			return false
		}
		all = append(all, owned...)
	}
	slices.Sort(all)
	return len(all) == count && all[0] == 0 && all[count-1] == int32(count-1) && len(slices.Compact(all)) == count
}

// Two consumers share the partitions; one is killed, and the other takes over
// with what the dead one had committed.
func TestConsumersShareAndTakeOver(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := serveGroups(t, crashfs.New())
			dial(t, n.addr).createTopic("t", 4)
			a := startConsumer(t, n, "g", kgo.Balancers(balancer))
			b := startConsumer(t, n, "g", kgo.Balancers(balancer))
			both := []*consumer{a, b}
			eventually(t, "both share the partitions", both, func() bool { return shared(both, 4) })
			produceEach(t, n, "before", 4)
			eventually(t, "everything is read", both, func() bool { return readOnce(both, "before", 4) })
			b.die()
			eventually(t, "the survivor owns everything", both[:1], func() bool { return shared(both[:1], 4) })
			produceEach(t, n, "after", 4)
			eventually(t, "everything is read", both[:1], func() bool { return readOnce(both[:1], "after", 4) })
		})
	}
}

// produceEach sends one record to each partition of t.
func produceEach(t testing.TB, n *node, word string, partitions int) {
	t.Helper()
	c := dial(t, n.addr)
	for p := range partitions {
		c.mustProduce("t", int32(p), fmt.Sprintf("%s-%d", word, p))
	}
}

func readOnce(consumers []*consumer, word string, partitions int) bool {
	for p := range partitions {
		seen := 0
		for _, c := range consumers {
			seen += c.seen(fmt.Sprintf("%s-%d", word, p))
		}
		if seen == 0 {
			return false
		}
	}
	return true
}

// A static member that is started again takes its partitions up where it left
// them; the others notice nothing.
func TestStaticMemberRestartCausesNoRebalance(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	dial(t, n.addr).createTopic("t", 4)
	static := func(id string) *consumer {
		return startConsumer(t, n, "g", kgo.InstanceID(id), kgo.SessionTimeout(20*time.Second), kgo.Balancers(kgo.RangeBalancer()))
	}
	a, b := static("a"), static("b")
	both := []*consumer{a, b}
	eventually(t, "both share the partitions", both, func() bool { return shared(both, 4) })
	ownedByA, movesOfA := a.ownership()
	ownedByB, _ := b.ownership()
	_, generation := a.cl.GroupMetadata()

	b.stop() // a static member does not leave
	b = static("b")
	both[1] = b
	eventually(t, "the same work after the restart", both, func() bool { return shared(both, 4) })
	produceEach(t, n, "word", 4)
	eventually(t, "everything is read", both, func() bool { return readOnce(both, "word", 4) })
	if owned, moves := a.ownership(); moves != movesOfA || !slices.Equal(owned, ownedByA) {
		t.Errorf("the other member moved: %v, then %v", ownedByA, owned)
	}
	if owned, _ := b.ownership(); !slices.Equal(owned, ownedByB) {
		t.Errorf("the restarted member had %v and has %v", ownedByB, owned)
	}
	if _, now := b.cl.GroupMetadata(); now != generation {
		t.Errorf("generation %d became %d", generation, now)
	}
}

// A consumer goes on over a restart of the broker: nothing is read twice that
// was committed, and nobody has to rebalance.
func TestConsumersGoOnOverARestart(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	dial(t, n.addr).createTopic("t", 4)
	a := startConsumer(t, n, "g")
	one := []*consumer{a}
	eventually(t, "it owns everything", one, func() bool { return shared(one, 4) })
	produceEach(t, n, "before", 4)
	eventually(t, "everything is read", one, func() bool { return readOnce(one, "before", 4) })
	if err := a.cl.CommitUncommittedOffsets(testContext(t)); err != nil {
		t.Fatal(err)
	}
	a.stop()
	again := serveGroups(t, fsys.Crash(crashfs.Policies()[0], 1))
	b := startConsumer(t, again, "g")
	one = []*consumer{b}
	produceEach(t, again, "after", 4)
	eventually(t, "the new records are read", one, func() bool { return readOnce(one, "after", 4) })
	if b.seen("before-0")+b.seen("before-1")+b.seen("before-2")+b.seen("before-3") != 0 {
		t.Error("committed records were read again")
	}
}

// A hundred groups at the same time, each with a member that commits, leaves and
// is looked at by an administrator.
func TestHundredGroups(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	dial(t, n.addr).createTopic("t", 2)
	var running sync.WaitGroup
	for i := range 100 {
		m := newMember(t, n, fmt.Sprintf("group-%d", i))
		running.Go(func() {
			m.start()
			for offset := range int64(20) {
				m.mustCommit("t", offset, offset)
			}
			if i%2 == 0 {
				m.leave(5)
			}
		})
	}
	running.Wait()
	adm := kadm.NewClient(n.client(t))
	described, err := adm.DescribeGroups(testContext(t))
	if err != nil || len(described) != 100 {
		t.Fatalf("%d groups, %v", len(described), err)
	}
	for id, d := range described {
		offsets, err := adm.FetchOffsets(testContext(t), id)
		if err != nil || len(offsets["t"]) != 2 || offsets["t"][0].At != 19 || offsets["t"][1].At != 19 {
			t.Errorf("%s (%s): %+v, %v", id, d.State, offsets, err)
		}
	}
}

// A member that falls silent loses its place after its session timeout, and the
// others are told; while it sends heartbeats it stays.
func TestSessionTimeoutOnTheWire(t *testing.T) {
	n := serveGroups(t, crashfs.New())
	m := newMember(t, n, "g")
	m.createTopic("t", 1)
	m.session = 3 * time.Second // it begins with the join, and must last until the sync
	before := time.Now()
	m.start()
	waitUntil(t, "the member expires", func() bool { return len(m.describeGroup("g").Members) == 0 })
	if took := time.Since(before); took < m.session {
		t.Errorf("a session of %v ended after %v", m.session, took)
	}
	if code := m.heartbeat(4); code != 25 {
		t.Errorf("heartbeat: code %d, want UNKNOWN_MEMBER_ID", code)
	}
	// Fault 14: what it still wants to commit is refused.
	if codes := m.commit(8, "t", 1); codes[0] != 25 {
		t.Errorf("commit: code %d, want UNKNOWN_MEMBER_ID", codes[0])
	}
}

// The initial delay puts members that start together into one generation.
func TestInitialRebalanceDelay(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New(), Group: group.Config{InitialRebalanceDelay: 300 * time.Millisecond}})
	dial(t, n.addr).createTopic("t", 1)
	var joining sync.WaitGroup
	generations := make([]int32, 5)
	for i := range generations {
		m := newMember(t, n, "g")
		joining.Go(func() { generations[i] = m.join(3).Generation })
	}
	joining.Wait()
	if !slices.Equal(generations, []int32{1, 1, 1, 1, 1}) {
		t.Errorf("generations %v", generations)
	}
}
