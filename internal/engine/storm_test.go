//go:build synctests

package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/topology"
)

var (
	seedFlag  = flag.Int("seed", -1, "run only this seed of the storm")
	seedsFlag = flag.Int("seeds", 200, "seeds of the storm")
)

// Kafka's API keys that the protocol of the engine goes through.
var protocolKeys = []int16{0 /* Produce */, 1 /* Fetch */, 2 /* ListOffsets */, 9 /* OffsetFetch */, 10 /* FindCoordinator */, 11 /* JoinGroup */, 12, /* Heartbeat */
	13 /* LeaveGroup */, 14 /* SyncGroup */, 22 /* InitProducerId */, 25 /* AddOffsetsToTxn */, 26 /* EndTxn */, 28 /* TxnOffsetCommit */}

var points = []point{beforeProduce, afterPrepare, afterSent, afterEnd, afterApply, beforeFlush, afterFlush, beforeRestore, duringRestore,
	afterRestore, beforeSettle, afterSettle, beforeGiveAway}

// tally counts what a run of storms has been through: a run in which too little
// happened proves nothing.
type tally struct {
	commits, aborts, kills, strikes, joins atomic.Int64
	mu                                     sync.Mutex
	struck                                 map[string]int
}

func (c *tally) hit(what string) {
	c.strikes.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.struck == nil {
		c.struck = make(map[string]int)
	}
	c.struck[what]++
}

// storm is one seeded run: records come in while machines die, networks break,
// and instances come and go.
type storm struct {
	*world
	count *tally
	rng   *rand.Rand
}

// arm makes a fault strike the instance that is started next on n: at the nth
// request of a kind, or the nth time that the engine reaches a point.
func (s *storm) arm(n *node) {
	var after atomic.Int64
	after.Store(1 + int64(s.rng.IntN(4)))
	percent, rng := s.rng.IntN(101), rand.New(rand.NewPCG(s.rng.Uint64(), 1))
	die := func(what string) {
		s.count.hit(what)
		n.kill(percent, rng)
	}
	n.network.arm(nil)
	n.at(nil)
	if s.rng.IntN(3) == 0 {
		at := points[s.rng.IntN(len(points))]
		n.at(func(p point) {
			if p == at && after.Add(-1) == 0 {
				die(string(p))
			}
		})
		return
	}
	key := protocolKeys[s.rng.IntN(len(protocolKeys))]
	if s.rng.IntN(2) == 0 {
		key = []int16{0, 22, 26, 28}[s.rng.IntN(4)] // the heart of it
	}
	how := []strike{cutBefore, cutAfter, slow, dieBefore, dieAfter}[s.rng.IntN(5)]
	if key == 26 && s.rng.IntN(2) == 0 {
		how = lie
	}
	what := fmt.Sprintf("request %d, fault %d", key, how)
	n.network.arm(func(k int16) (strike, func()) {
		if k != key || after.Add(-1) != 0 {
			return pass, nil
		}
		if how != dieBefore && how != dieAfter {
			s.count.hit(what)
		}
		return how, func() { die(what) }
	})
}

// run is the whole storm; it returns what was wrong at its end.
func (s *storm) run() (wrong []string) {
	partitions := int32(len(s.spans("in")))
	for i := range 1 + s.rng.IntN(3) {
		n := s.node(fmt.Sprintf("n%d", i))
		s.arm(n)
		n.start()
	}
	for range 12 {
		for range 10 {
			p := s.rng.Int32N(partitions)
			s.send(p, s.events(p, 1+s.rng.IntN(4))...)
			time.Sleep(time.Duration(s.rng.IntN(200)) * time.Millisecond)
		}
		s.disturb(s.instances[s.rng.IntN(len(s.instances))])
	}
	for _, n := range s.instances { // calm
		n.network.arm(nil)
		s.reviveIfDead(n, func() { n.at(nil) })
	}
	if err := s.caughtUp(5*time.Minute, func() {
		for _, n := range s.instances {
			s.reviveIfDead(n, func() { n.at(nil) })
		}
	}); err != nil {
		wrong = append(wrong, "it did not come to an end: "+err.Error())
	}
	for _, n := range s.instances {
		s.count.aborts.Add(n.aborts())
	}
	wrong = append(wrong, s.check()...)
	s.stopAll()
	s.count.commits.Add(s.commits())
	s.count.kills.Add(int64(s.kills))
	return append(wrong, s.checkDisks()...)
}

func (s *storm) reviveIfDead(n *node, prepare func()) {
	if n.isDead() {
		prepare()
		n.revive()
	}
}

// disturb does one thing to a machine.
func (s *storm) disturb(n *node) {
	if s.ours != nil && s.rng.IntN(4) == 0 {
		s.count.hit("power cut of the broker")
		s.ours.crash(s.rng.Uint64())
		return
	}
	switch s.rng.IntN(6) {
	case 0:
		s.count.hit("kill")
		n.kill(s.rng.IntN(101), rand.New(rand.NewPCG(s.rng.Uint64(), 1)))
	case 1: // a clean stop; later it comes back
		if !n.isDead() {
			s.count.joins.Add(1)
			_ = n.leave() // under faults its last commit may fail
			<-n.ended
			s.arm(n)
			n.start()
		}
	case 2:
		if len(s.instances) < 4 {
			s.count.joins.Add(1)
			more := s.node(fmt.Sprintf("n%d", len(s.instances)))
			s.arm(more)
			more.start()
		}
	case 3: // a pause of the whole network of a machine: a zombie, then awake
		s.count.hit("cut off")
		n.network.cut()
		time.Sleep(time.Duration(s.rng.IntN(15)) * time.Second)
		if !n.isDead() {
			n.network.mend()
		}
	default:
		s.reviveIfDead(n, func() { s.arm(n) })
	}
}

// commits counts the transactions that were committed, by their markers in the
// offsets of the changelog: each leaves one behind its commit record.
func (w *world) commits() int64 {
	var n int64
	for _, sub := range w.plan.Subs {
		for _, spec := range sub.Stores {
			for _, records := range w.all(string(spec.Changelog)) {
				for _, r := range records {
					if isCommitKey(r.Key) {
						n++
					}
				}
			}
		}
	}
	return n
}

func runStorm(t *testing.T, seed uint64, plant func(*world), count *tally, on clusterKind) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		plan := []func(string) topology.Plan{keyedPlan, rekeyPlan}[seed%2]("app")
		w := newWorldOn(t, seed, plan, 1+int32(seed%3), on)
		s := &storm{world: w, count: count, rng: w.rng}
		if plant != nil {
			plant(w)
		}
		wrong = s.run()
		w.close()
	})
	return wrong
}

// TestStorm is the proof of the engine: whatever strikes, results are exact.
func TestStorm(t *testing.T) { storms(t, *seedsFlag, onFake) }

// TestStormOnOurBroker is the same on the broker that Millrace brings along.
func TestStormOnOurBroker(t *testing.T) { storms(t, *seedsFlag/4, onOurs) }

func storms(t *testing.T, seeds int, on clusterKind) {
	var count tally
	first, last := 0, seeds
	if *seedFlag >= 0 {
		first, last = *seedFlag, *seedFlag+1
	}
	for seed := first; seed < last; seed++ {
		for _, difference := range runStorm(t, uint64(seed), nil, &count, on) {
			t.Errorf("seed %d: %s", seed, difference)
		}
		if t.Failed() {
			t.Fatalf("again with: go test -tags synctests ./internal/engine -run %s -seed %d", t.Name(), seed)
		}
	}
	if n := int64(last - first); n >= 20 {
		for what, c := range map[string]struct{ got, floor int64 }{
			"task commits": {count.commits.Load(), 20 * n}, "aborts": {count.aborts.Load(), n / 2}, "kills": {count.kills.Load(), 2 * n},
			"faults": {count.strikes.Load(), 5 * n}, "joins and leaves": {count.joins.Load(), 2 * n},
		} {
			if c.got < c.floor {
				t.Errorf("the run proves nothing: %d %s in %d storms, the floor is %d", c.got, what, n, c.floor)
			}
		}
	}
	t.Logf("%d task commits, %d aborts, %d kills, %d faults, %d joins and leaves", count.commits.Load(), count.aborts.Load(), count.kills.Load(), count.strikes.Load(), count.joins.Load())
	t.Logf("struck: %v", count.struck)
}
