//go:build synctests

package engine

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/topology"
)

var (
	seedFlag  = flag.Int("seed", -1, "run only this seed of the storm")
	seedsFlag = flag.Int("seeds", 40, "seeds of the storms on kfake; a quarter as many on our broker")
	shardFlag = flag.Int("shard", 0, "run the seeds and failpoints with this remainder")
	shardsOf  = flag.Int("shards", 1, "after division by this")
)

// storm is one seeded run: records come in while machines die, freeze, lose
// power and answers, clocks are wrong, and instances come and go.
type storm struct {
	*world
	count  *tally
	rng    *rand.Rand
	first  aim // of the first machine
	demons map[*node]*nemesis
}

// transactionsPerStorm is how many a storm ends before it calms down, if that
// takes it no more than maxRounds.
const (
	transactionsPerStorm = 210
	maxRounds            = 80
)

// machine adds a machine, with what strikes at it.
func (s *storm) machine() *node {
	n := s.node(fmt.Sprintf("n%d", len(s.instances)))
	sure := len(s.instances) == 1
	m := newNemesis(s.rng.Uint64(), s.count.hit, func(rng *rand.Rand) (aim, int) {
		if sure {
			sure = false
			return s.first, 0
		}
		return atRandom(rng)
	})
	s.demons[n] = m
	m.attach(n)
	return n
}

// turnClock sets the machine's clock wrong, as its next instance will see it.
func (s *storm) turnClock(n *node) {
	n.skew = 0
	if s.rng.IntN(3) == 0 {
		n.skew = []time.Duration{-time.Hour, time.Hour, -10 * year, 10 * year}[s.rng.IntN(4)]
		s.count.hit("clock jump")
	}
}

const year = 365 * 24 * time.Hour

// run is the whole storm; it returns what was wrong at its end.
func (s *storm) run() (wrong []string) {
	partitions := int32(len(s.spans("in")))
	for range 1 + s.rng.IntN(3) {
		s.machine().start()
	}
	ended := 0
	for range maxRounds {
		for range 12 {
			p := s.rng.Int32N(partitions)
			s.send(p, s.events(p, 1+s.rng.IntN(3))...)
			time.Sleep(time.Duration(s.rng.IntN(40)) * time.Millisecond)
			s.reviveSome(s.rng.IntN(4) == 0)
		}
		if s.rng.IntN(3) == 0 {
			s.disturb(s.instances[s.rng.IntN(len(s.instances))])
		}
		before := ended
		if ended = s.ledger.total(); ended >= transactionsPerStorm {
			break
		}
		if ended == before { // the group is waiting for somebody: more input would prove no more
			time.Sleep(time.Duration(s.rng.IntN(8_000)) * time.Millisecond)
		}
	}
	wrong = s.calm()
	wrong = append(wrong, s.check()...)
	s.stopAll()
	s.count.settle(s.world)
	return append(wrong, s.checkDisks()...)
}

// calm ends all faults and waits until the job has caught up.
func (s *storm) calm() (wrong []string) {
	for _, m := range s.demons {
		m.rest()
	}
	if err := s.caughtUp(5*time.Minute, func() { s.reviveSome(true) }); err != nil {
		wrong = append(wrong, "it did not come to an end: "+err.Error())
	}
	return wrong
}

// reviveSome starts machines again that are down.
func (s *storm) reviveSome(now bool) {
	for _, n := range s.instances {
		if now && n.isDead() {
			s.turnClock(n)
			n.revive()
		}
	}
}

// disturb does one thing to a machine, or to the brokers.
func (s *storm) disturb(n *node) {
	if s.ours != nil && s.rng.IntN(4) == 0 {
		s.count.hit("power cut of the broker")
		s.ours.crash(s.rng.Uint64())
		return
	}
	switch s.rng.IntN(6) {
	case 0:
		if n.kill(s.rng.IntN(101), rand.New(rand.NewPCG(s.rng.Uint64(), 1))) {
			s.count.hit("kill")
		}
	case 1: // a clean stop; it comes back at once
		if !n.isDead() {
			s.count.hit("clean stop")
			_ = n.leave() // under faults its last commit may fail
			<-n.ended
			s.turnClock(n)
			n.start()
		}
	case 2:
		if len(s.instances) < 4 {
			s.count.hit("a machine more")
			s.machine().start()
		}
	case 3: // its network is away: a zombie, then awake
		if !n.isDead() {
			s.count.hit("cut off")
			n.network.cut()
			time.Sleep(time.Duration(s.rng.IntN(15_000)) * time.Millisecond)
			if !n.isDead() {
				n.network.mend()
			}
		}
	case 4: // a stopped process, then awake
		s.count.hit("frozen")
		n.freeze(time.Duration(s.rng.IntN(30_000)) * time.Millisecond)
	case 5:
		if s.cluster != nil {
			s.count.hit("all thrown out of the group")
			s.evictAll()
		}
	}
}

func runStorm(t *testing.T, seed uint64, plant func(*world), count *tally, on clusterKind) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		plan := []func(string) topology.Plan{keyedPlan, rekeyPlan}[seed%2]("app")
		w := newWorldOn(t, seed, plan, 1+int32(seed%3), on)
		s := &storm{world: w, count: count, rng: w.rng, demons: make(map[*node]*nemesis)}
		all := everyAim()
		s.first = all[seed/2%uint64(len(all))]
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
	count := newTally()
	for seed := range seeds {
		if *seedFlag >= 0 && seed != *seedFlag || seed%*shardsOf != *shardFlag {
			continue
		}
		for _, difference := range runStorm(t, uint64(seed), nil, count, on) {
			t.Errorf("seed %d: %s", seed, difference)
		}
		if t.Failed() {
			t.Fatalf("again with: go test -tags synctests ./internal/engine -run %s$ -seed %d -seeds %d", t.Name(), seed, seeds)
		}
	}
	t.Log(count)
	for what, n := range count.struck {
		t.Logf("%6d %s", n, what)
	}
	if count.worlds >= 20 {
		count.mustReach(t, map[string]float64{"transactions": 200, "transactions aborted": 0.5, "rebalances": 3, "kills": 2, "faults": 5})
	}
	if count.worlds >= 400 {
		count.mustStrike(t, stormFaults(on))
	}
}

// stormFaults are all that a long run must have seen.
func stormFaults(on clusterKind) []string {
	all := []string{"kill", "clean stop", "a machine more", "cut off", "frozen", "clock jump"}
	if on == onOurs {
		all = append(all, "power cut of the broker")
	} else {
		all = append(all, "all thrown out of the group")
	}
	for _, a := range everyAim() {
		all = append(all, a.String())
	}
	return all
}
