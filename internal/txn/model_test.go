package txn

import (
	"flag"
	"fmt"
	"strings"
	"testing"
)

// The model runs every order of what two clients of one transactional id, the
// coordinator and the disk can do: up to three transactions over two partitions,
// two crashes of the coordinator that lose any unsynced tail of each log, a
// timeout, EndTxn requests that arrive late, twice or after a successor's, and
// answers that get lost. The decisions are those of this package; what the model
// adds is its owner: records that become durable in order, markers, a restart.
const (
	modelPartitions = 2
	modelTxns       = 3
	modelClients    = 2
)

// bounds are how often things may happen in the model.
type bounds struct {
	txns, crashes, timeouts uint8
	inits                   uint8 // of each client
	deliveries              uint8 // of each EndTxn
}

// owner is what the model's owner does right, or wrong on purpose.
type owner struct {
	version           Version
	lateEndTxn        bool // requests may arrive after their client has moved on
	noPrepare         bool // markers go out before the decision is durable
	completeEarly     bool // before the markers are durable
	forgetPrepared    bool // a restart aborts what was decided
	noAdoption        bool // a restart leaves open data alone that no record names
	repeatMarkers     bool // a restart writes markers again that are there
	noBump            bool // EndTxn leaves the epoch alone
	olderEpochCommits bool
	initKeepsOngoing  bool // InitProducerID does not abort
	oppositeRetry     bool // a repeated EndTxn is answered whatever it says
	initKeepsEpoch    bool
}

// violation says which promise the world breaks.
func (x *explorer) violation(w *world) string {
	settled := w.durable() && !w.adopt && !w.last().state.Prepared() && w.last().state != Ongoing
	for p := range w.logs {
		settled = settled && w.logs[p].durable == w.logs[p].n
	}
	for k := range w.txns[:w.begun] {
		if fault := w.check(uint8(k), settled); fault != "" {
			return fmt.Sprintf("transaction %d %s", k, fault)
		}
	}
	return ""
}

func (w *world) check(k uint8, settled bool) string {
	a := w.txns[k]
	var all uint8
	for p := range w.logs {
		o := w.logs[p].outcome(k)
		switch {
		case o == '!':
			return "was committed and aborted in one partition"
		case o == 'c' && a.banned:
			return "of a fenced client was committed"
		case o == 'c' && a.told == 'a', o == 'a' && a.told == 'c':
			return "ended otherwise than its client was told"
		case settled && o == 'o':
			return "hangs"
		case settled && a.told == 'c' && a.wrote>>p&1 == 1 && o != 'c':
			return "lost a write"
		}
		if o == 'c' || o == 'a' {
			if all != 0 && all != o {
				return "is torn"
			}
			all = o
		}
	}
	return ""
}

// fullModel explores all bounds at once: many minutes and some 100 million states.
var fullModel = flag.Bool("full-model", false, "explore the coordinator with all bounds at their largest at once")

// All promises hold in every world that clients of version 2 can bring about:
// with three transactions and two crashes, and with less of that but repeated
// requests, a timeout and clients that begin anew.
func TestModelV2(t *testing.T) {
	v2 := owner{version: V2, lateEndTxn: true}
	all := []bounds{
		{txns: 3, crashes: 2, inits: 1, deliveries: 1},
		{txns: 2, crashes: 1, timeouts: 1, inits: 2, deliveries: 2},
	}
	if *fullModel {
		all = []bounds{{txns: 3, crashes: 2, timeouts: 1, inits: 2, deliveries: 2}}
	}
	if raceEnabled { // one goroutine: there is nothing to find, and it takes ten times as long
		all = []bounds{{txns: 2, crashes: 1, timeouts: 1, inits: 1, deliveries: 1}}
	}
	states := 0
	for _, b := range all {
		states += explore(v2, b).report(t)
	}
	if floor := 1_000_000; states < floor && !raceEnabled {
		t.Errorf("%d states, want at least %d", states, floor)
	}
}

// The same for version 1, as long as no request arrives late.
func TestModelV1(t *testing.T) {
	states := explore(owner{version: V1}, bounds{txns: 2, crashes: 1, timeouts: 1, inits: 1, deliveries: 2}).report(t)
	if floor := 10_000; states < floor {
		t.Errorf("%d states, want at least %d", states, floor)
	}
}

func (x *explorer) report(t *testing.T) (states int) {
	t.Helper()
	t.Logf("%+v: %d states, %d steps, up to %d in a row", x.bounds, x.seen.count, x.edges, x.longest)
	if x.fault != "" {
		t.Fatal(x.fault)
	}
	return x.seen.count
}

// Each bug of an owner or of the rules is found. The last one is Kafka's: under
// version 1 a late EndTxn ends the wrong transaction (KIP-890).
func TestModelFindsBugs(t *testing.T) {
	for name, o := range map[string]owner{
		"marker before prepare":       {version: V2, noPrepare: true},
		"complete before markers":     {version: V2, completeEarly: true},
		"restart forgets decisions":   {version: V2, forgetPrepared: true},
		"restart leaves data alone":   {version: V2, noAdoption: true},
		"restart repeats markers":     {version: V2, repeatMarkers: true},
		"no new epoch":                {version: V2, lateEndTxn: true, noBump: true},
		"older epoch accepted":        {version: V2, lateEndTxn: true, olderEpochCommits: true},
		"init keeps the transaction":  {version: V2, initKeepsOngoing: true},
		"init keeps the epoch":        {version: V2, initKeepsEpoch: true},
		"opposite retry is confirmed": {version: V2, oppositeRetry: true},
		"version 1 with late EndTxn":  {version: V1, lateEndTxn: true},
	} {
		t.Run(name, func(t *testing.T) {
			x := explore(o, bounds{txns: 2, crashes: 1, timeouts: 1, inits: 2, deliveries: 2})
			if x.fault == "" {
				t.Fatalf("not found in %d states", x.seen.count)
			}
			t.Logf("found after %d states: %s", x.seen.count, x.fault[:strings.IndexByte(x.fault, '\n')])
		})
	}
}
