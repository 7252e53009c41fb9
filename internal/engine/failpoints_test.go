//go:build synctests

package engine

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/vfs/crashfs"
)

var (
	failpointsFlag = flag.String("failpoints", "", "run only these, by the name that a failure has printed")
	allFlag        = flag.Bool("all", false, "run all failpoints and all pairs of them, not a sample of them")
)

// ambush has one aim after the other wait for a machine, in a play that is the
// same for all: what a job does in its life, in little.
type ambush struct {
	*world
	aims  []aim
	demon *nemesis

	mu     sync.Mutex
	struck []string       // aims, as they have
	seen   map[string]int // requests, steps and syncs of the machine
}

func name(aims []aim) string {
	var names []string
	for _, a := range aims {
		text := a.String()
		if a.after > 0 {
			text = fmt.Sprintf("%s #%d", text, a.after+1)
		}
		names = append(names, text)
	}
	return strings.Join(names, " > ")
}

// play runs the play, and returns what was wrong at its end. What a name stands
// for is drawn from the name, so it can be run again.
func (s *ambush) play() []string {
	a, b := s.node("a"), s.node("b")
	h := fnv.New64a()
	_, _ = h.Write([]byte(name(s.aims)))
	rest := s.aims
	s.demon = newNemesis(h.Sum64(), s.hit, func(*rand.Rand) (aim, int) {
		if len(rest) == 0 {
			return aim{key: -1, patience: forever}, 0
		}
		next := rest[0]
		rest, next.patience = rest[1:], forever
		return next, 0
	})
	s.demon.attach(a)
	s.watch(a)

	a.start()
	s.feedAndWait(3, 50*time.Millisecond)
	s.feedAndWait(2, 1200*time.Millisecond) // a heartbeat, and a flush
	b.start()
	s.feedAndWait(6, 40*time.Millisecond) // a rebalance with work open
	s.feedAndWait(1, 12*time.Second)      // also when one must be waited for
	s.feedAndWait(3, 50*time.Millisecond)
	if !a.isDead() { // a clean stop
		_ = a.leave()
		<-a.ended
		a.start()
	}
	s.feedAndWait(3, 50*time.Millisecond)
	s.feedAndWait(2, 1200*time.Millisecond)
	s.demon.rest()
	var wrong []string
	if err := s.caughtUp(5*time.Minute, func() { s.revive(a) }); err != nil {
		wrong = append(wrong, "it did not come to an end: "+err.Error())
	}
	wrong = append(wrong, s.check()...)
	s.stopAll()
	return append(wrong, s.checkDisks()...)
}

func (s *ambush) hit(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.struck = append(s.struck, what)
}

// watch counts what an aim could be taken at.
func (s *ambush) watch(n *node) {
	saw := func(what string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen[what]++
	}
	n.network.arm(func(key int16) (strike, func()) {
		saw(keyName(key))
		return s.demon.request(key)
	})
	n.at(func(p point) {
		saw(string(p))
		s.demon.step(p)
	})
	n.onSync(func() {
		saw("sync")
		s.demon.sync()
	})
}

func (s *ambush) feedAndWait(times int, wait time.Duration) {
	for range times {
		for p := range int32(2) {
			s.send(p, s.events(p, 2)...)
		}
		time.Sleep(wait)
		s.revive(s.instances[0])
	}
}

func (s *ambush) revive(n *node) {
	if n.isDead() {
		n.revive()
	}
}

// spring runs the play with some aims.
func spring(t *testing.T, on clusterKind, job string, aims []aim, count *tally) (s *ambush, wrong []string) {
	return prepared(t, on, job, aims, count, func(*ambush) {})
}

func prepared(t *testing.T, on clusterKind, job string, aims []aim, count *tally, prepare func(*ambush)) (s *ambush, wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		s = &ambush{world: newWorldOn(t, 7, plans[job]("app"), 2, on), aims: aims, seen: make(map[string]int)}
		prepare(s)
		wrong = s.play()
		count.settle(s.world)
		s.close()
	})
	for _, what := range s.struck {
		count.hit(what)
	}
	return s, wrong
}

// often is how many requests of a kind that comes all the time are struck, one
// in each run: the first ones, which a start consists of. Of what belongs to a
// commit each one is struck.
const often = 6

// singles are all that can strike once in the play of a job.
func singles(seen map[string]int) []aim {
	var all []aim
	for key := range int16(kmsg.MaxKey + 1) {
		n := seen[keyName(key)]
		if !slices.Contains(heart, key) {
			n = min(n, often)
		}
		for _, how := range strikesOn(key) {
			for after := range n {
				all = append(all, aim{key: key, how: how, after: after})
			}
		}
	}
	for _, at := range points {
		for after := range seen[string(at)] {
			all = append(all, aim{key: -1, at: at, after: after}, aim{key: -1, at: at, after: after, freeze: true})
		}
	}
	for after := range seen["sync"] {
		all = append(all, aim{key: -1, sync: true, after: after})
	}
	return all
}

// inPairs are the failpoints of which each two follow each other in some run:
// each request of the protocol and each of its steps.
func inPairs() []aim {
	var all []aim
	for _, key := range protocolKeys {
		for _, how := range strikesOn(key) {
			if how == hold || how == echo || how == cutBefore && !slices.Contains(heart, key) {
				continue // to the instance they are a late and a lost answer
			}
			all = append(all, aim{key: key, how: how})
		}
	}
	for _, at := range points {
		all = append(all, aim{key: -1, at: at})
	}
	return append(all, aim{key: -1, sync: true}, aim{key: -1, sync: true, after: 7})
}

// sampled are the plays that this process runs: all of them, or one in so many,
// evenly; and those of its shard.
func sampled(i, oneIn int) bool {
	if !*allFlag {
		if i%oneIn != 0 {
			return false
		}
		i /= oneIn
	}
	return i%*shardsOf == *shardFlag
}

// ambushes runs the play once for each list of aims, and requires that a share
// of the runs had all of theirs strike.
func ambushes(t *testing.T, on clusterKind, job func(i int) string, lists [][]aim, oneIn int, share float64) {
	count := newTally()
	complete := 0
	for i, aims := range lists {
		if *failpointsFlag != "" && *failpointsFlag != name(aims) || *failpointsFlag == "" && !sampled(i, oneIn) {
			continue
		}
		s, wrong := spring(t, on, job(i), aims, count)
		if len(s.struck) == len(aims) {
			complete++
		}
		for _, difference := range wrong {
			t.Errorf("%s: %s", name(aims), difference)
		}
		if t.Failed() {
			t.Fatalf("again with: go test -tags synctests ./internal/engine -run '%s$' -failpoints '%s'", t.Name(), name(aims))
		}
	}
	t.Logf("%d of %d lists of failpoints, all struck in %d; %v", count.worlds, len(lists), complete, count)
	if *failpointsFlag == "" && float64(complete) < share*float64(count.worlds) {
		t.Errorf("the run is invalid: in only %d of %d plays all failpoints have struck", complete, count.worlds)
	}
}

// TestFailpointSingles: a job whose results are order, on a model of Kafka.
func TestFailpointSingles(t *testing.T) { allSingles(t, onFake, "keyed") }

// TestFailpointSinglesOnOurBroker: a job with a repartition topic, on ours.
func TestFailpointSinglesOnOurBroker(t *testing.T) { allSingles(t, onOurs, "rekeyed") }

func allSingles(t *testing.T, on clusterKind, job string) {
	calm, wrong := spring(t, on, job, nil, newTally())
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	var lists [][]aim
	for _, a := range singles(calm.seen) {
		lists = append(lists, []aim{a})
	}
	ambushes(t, on, func(int) string { return job }, lists, 29, 0.9)
}

// TestFailpointPairs: each failpoint after each, which mostly is while the job
// gets over the first.
func TestFailpointPairs(t *testing.T) {
	var lists [][]aim
	for _, first := range inPairs() {
		for _, second := range inPairs() {
			lists = append(lists, []aim{first, second})
		}
	}
	job := func(i int) string { return []string{"keyed", "rekeyed"}[(i+i/len(inPairs()))%2] }
	ambushes(t, onFake, job, lists, 167, 0.6)
}

// TestFailpointSyncsOfOurBroker: the power of our broker is cut before each sync
// of its disk.
func TestFailpointSyncsOfOurBroker(t *testing.T) {
	syncs := 0
	_, wrong := prepared(t, onOurs, "keyed", nil, newTally(), func(s *ambush) {
		s.ours.disk.OnOp(func(op crashfs.Op) {
			if op.Kind.Syncs() {
				s.mu.Lock()
				syncs++
				s.mu.Unlock()
			}
		}, nil)
	})
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	count := newTally()
	for at := range syncs - syncs/10 { // no two runs have quite as many: the last may not come
		called := fmt.Sprintf("sync of our broker #%d", at+1)
		if *failpointsFlag != "" && *failpointsFlag != called || *failpointsFlag == "" && !sampled(at, 29) {
			continue
		}
		_, wrong := prepared(t, onOurs, "keyed", nil, count, func(s *ambush) { s.ours.crashAtSync(at, func() { s.hit("power cut of the broker") }) })
		for _, difference := range wrong {
			t.Errorf("%s: %s", called, difference)
		}
		if t.Failed() {
			t.Fatalf("again with: go test -tags synctests ./internal/engine -run %s -failpoints '%s'", t.Name(), called)
		}
	}
	t.Logf("%d of %d syncs; %v", count.worlds, syncs, count)
	if *failpointsFlag == "" {
		count.mustReach(t, map[string]float64{"faults": 0.9})
	}
}
