//go:build synctests

package engine

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka's API keys that the protocol of the engine goes through.
var protocolKeys = []int16{0 /* Produce */, 1 /* Fetch */, 2 /* ListOffsets */, 3 /* Metadata */, 9 /* OffsetFetch */, 10 /* FindCoordinator */, 11, /* JoinGroup */
	12 /* Heartbeat */, 13 /* LeaveGroup */, 14 /* SyncGroup */, 22 /* InitProducerId */, 26 /* EndTxn */, 28 /* TxnOffsetCommit */}

// heart are the keys of a commit, which are struck more often than the others.
var heart = []int16{produce, initProducerID, endTxn, txnOffsetCommit}

func keyName(key int16) string { return kmsg.Key(key).Name() }

var points = []point{beforeProduce, afterPrepare, afterSent, afterEnd, afterApply, beforeFlush, afterFlush, beforeRestore, duringRestore,
	afterRestore, beforeSettle, afterSettle, beforeGiveAway}

// strikesOn are the faults that make sense for a request.
func strikesOn(key int16) []strike {
	switch key {
	case endTxn:
		return []strike{cutBefore, cutAfter, slow, hold, dieBefore, dieAfter, lie, echo}
	case initProducerID:
		return []strike{cutBefore, cutAfter, slow, hold, dieBefore, dieAfter, lie}
	}
	return []strike{cutBefore, cutAfter, slow, hold, dieBefore, dieAfter}
}

// everyAim is each fault at what comes first of its kind. A storm begins with one
// of them, which waits until it strikes, so that a long run has had all.
func everyAim() []aim {
	all := []aim{{key: -1, sync: true, patience: forever}}
	for _, key := range protocolKeys {
		for _, how := range strikesOn(key) {
			all = append(all, aim{key: key, how: how, patience: forever})
		}
	}
	for _, at := range points {
		all = append(all, aim{key: -1, at: at, patience: forever}, aim{key: -1, at: at, freeze: true, patience: forever})
	}
	return all
}

// forever is the patience of an aim that is not given up.
const forever = math.MaxInt32

// nemesis is what strikes at one machine, over the lives of its instances: one
// aim after the other, each at the nth request of a kind, the nth step of a kind
// or the nth sync of the disk.
type nemesis struct {
	node *node
	hit  func(what string)                   // a fault has struck
	next func(*rand.Rand) (a aim, rests int) // what comes when one has struck

	mu    sync.Mutex
	rng   *rand.Rand
	calm  bool
	aim   aim
	rests int // requests that pass in peace before the next aim
}

// newNemesis makes one with a seed of its own.
func newNemesis(seed uint64, hit func(string), next func(*rand.Rand) (aim, int)) *nemesis {
	m := &nemesis{hit: hit, next: next, rng: rand.New(rand.NewPCG(seed, 2))}
	m.aim, m.rests = next(m.rng)
	return m
}

// aim is one fault that is to come.
type aim struct {
	key      int16 // of a request; -1: none
	how      strike
	at       point // a step of the engine; "": none
	freeze   bool  // at the step the process stops for a while, instead of dying
	sync     bool  // a sync of the state's disk
	after    int   // how many are let pass
	patience int   // requests until it is given up
}

func (a aim) String() string {
	switch {
	case a.sync:
		return "sync of the state: power cut"
	case a.freeze:
		return string(a.at) + ": frozen"
	case a.at != "":
		return string(a.at) + ": power cut"
	}
	return keyName(a.key) + ": " + a.how.String()
}

func (m *nemesis) attach(n *node) {
	m.node = n
	n.network.arm(m.request)
	n.at(m.step)
	n.onSync(m.sync)
}

// rest ends all that it does.
func (m *nemesis) rest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calm = true
}

// atRandom aims at anything, more often at what a commit consists of.
func atRandom(rng *rand.Rand) (a aim, rests int) {
	a = aim{key: -1, after: rng.IntN(3), patience: 150}
	switch rng.IntN(9) {
	case 0, 1, 2:
		a.at, a.after = points[rng.IntN(len(points))], rng.IntN(2)
		a.freeze = rng.IntN(3) == 0
	case 3:
		a.sync, a.after = true, rng.IntN(8)
	default:
		keys := protocolKeys
		if rng.IntN(2) == 0 {
			keys = heart
		}
		if a.key = keys[rng.IntN(len(keys))]; a.key == leaveGroup { // once in the life of an instance
			a.after, a.patience = 0, 2000
		}
		all := strikesOn(a.key)
		a.how = all[rng.IntN(len(all))]
	}
	return a, rng.IntN(150)
}

// met reports whether the aim is met now. When it is, the next one is drawn.
func (m *nemesis) met(is func(aim) bool) (aim, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calm || m.rests > 0 || !is(m.aim) {
		return aim{}, false
	}
	if m.aim.after--; m.aim.after >= 0 {
		return aim{}, false
	}
	met := m.aim
	m.aim, m.rests = m.next(m.rng)
	return met, true
}

func (m *nemesis) request(key int16) (strike, func()) {
	m.mu.Lock()
	if m.rests--; m.rests < -m.aim.patience {
		m.aim, m.rests = m.next(m.rng)
	}
	m.mu.Unlock()
	a, met := m.met(func(a aim) bool { return a.key == key })
	if !met {
		return pass, nil
	}
	if a.how != dieBefore && a.how != dieAfter {
		m.hit(a.String())
		return a.how, nil
	}
	return a.how, func() { m.die(a) }
}

func (m *nemesis) step(p point) {
	a, met := m.met(func(a aim) bool { return a.at == p })
	switch {
	case !met:
	case a.freeze:
		m.hit(a.String())
		m.node.freeze(time.Duration(m.intN(30_000)) * time.Millisecond)
	default:
		m.die(a)
	}
}

func (m *nemesis) sync() {
	if a, met := m.met(func(a aim) bool { return a.sync }); met {
		m.die(a)
	}
}

func (m *nemesis) intN(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(n)
}

func (m *nemesis) die(a aim) {
	if m.node.kill(m.intN(101), rand.New(rand.NewPCG(uint64(m.intN(1<<30)), 1))) {
		m.hit(a.String())
	}
}
