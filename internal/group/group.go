// Package group coordinates one classic Kafka consumer group as a state
// machine without I/O, clock or goroutine: each request is a function of the
// group, the time and the request, and gives [Effects]. The owner (the broker)
// holds the lock, does the I/O and delivers the answers, so that a test can run
// every order of events.
//
// Most readers need [Group] and [Effects]. The rules are those of Apache
// Kafka's ClassicGroup; where this package differs on purpose, the comment says
// so. KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-345 (static
// members), KIP-394 (member id first) and KIP-814 (skipped assignment) give
// the reasons behind them.
package group

import (
	"time"

	"millrace/record"
)

// State is where a group stands between two generations.
type State int8

const (
	// Empty has no members; it may hold committed offsets.
	Empty State = iota
	// PreparingRebalance waits until all members have joined again, at most for
	// the longest rebalance timeout among them.
	PreparingRebalance
	// CompletingRebalance has a new generation and waits for its leader's assignment.
	CompletingRebalance
	// Stable has an assignment for every member.
	Stable
	// Dead has been deleted: the owner must look the group up again.
	Dead
)

// String is Kafka's name of the state, as ListGroups and DescribeGroups show it.
func (s State) String() string {
	switch s {
	case Empty:
		return "Empty"
	case PreparingRebalance:
		return "PreparingRebalance"
	case CompletingRebalance:
		return "CompletingRebalance"
	case Stable:
		return "Stable"
	default:
		return "Dead"
	}
}

// Token names one request that waits for its answer. The owner chooses it; zero
// means none. A group answers every token exactly once.
type Token uint64

// Group is one consumer group. It is not safe for concurrent use: its owner
// serialises the calls. After a call whose Effects hold a Store, the owner must
// call [Group.Stored] before any other method.
type Group struct {
	id   string
	cfg  Config
	now  time.Time        // of the step that is being taken; its monotonic reading counts
	wall record.Timestamp // see SetWall

	state        State
	sinceMs      record.Timestamp // wall clock of the last change of state; NoTimestamp when a record did not say
	generation   int32            // grows by one with every completed join phase
	protocolType string           // "consumer" for consumers; empty: a simple group, offsets only
	protocol     string           // chosen by vote; empty until a first generation, and while Empty
	leader       string           // member id; empty without members

	members     []*member            // in the order in which they joined; all iteration follows it, for replay
	byID        map[string]*member   // the same members
	static      map[string]*member   // those with an instance id, by it
	pending     map[string]time.Time // member ids given out that have not joined yet, and when each is forgotten
	support     map[string]int       // protocol name to the number of members that offer it
	joining     int                  // members with a parked join
	sizes       int                  // bytes that the members hold, see [Config.MaxBytes]
	topics      map[string]bool      // subscribed by the generation; nil: unknown
	offsets     map[record.TopicPartition]Offset
	staged      map[stagedKey]Offset // within transactions; nil until the first
	offsetSizes int                  // bytes that all of them hold, about
	initial     bool                 // this join phase is the first after Empty
	newcomer    bool                 // a member joined since the initial delay was last extended
	extendBy    time.Duration        // how much longer the initial delay may become

	joinBy time.Time // the join phase ends then; zero: none runs
	syncBy time.Time // members that have not synced by then are removed; zero: all have
	next   time.Time // no deadline is earlier; zero: none at all

	out        Effects     // of the step that is being taken
	whenStored func(error) // what remains of the step whose Store is out
}

// New returns an Empty group without offsets.
func New(id string, cfg Config, now time.Time) *Group {
	return &Group{
		id:      id,
		cfg:     cfg,
		wall:    record.TimestampOf(now),
		sinceMs: record.TimestampOf(now),
		byID:    map[string]*member{},
		static:  map[string]*member{},
		pending: map[string]time.Time{},
		support: map[string]int{},
		offsets: map[record.TopicPartition]Offset{},
	}
}

// ID is the group's name.
func (g *Group) ID() string { return g.id }

// State is where the group stands.
func (g *Group) State() State { return g.state }

// Generation is the number of completed join phases.
func (g *Group) Generation() int32 { return g.generation }

// ProtocolType is "consumer" for consumers, and empty for a simple group.
func (g *Group) ProtocolType() string { return g.protocolType }

// MemberCount is the number of members, without the ids that have not joined.
func (g *Group) MemberCount() int { return len(g.members) }

// SizeBytes is about what the group holds in memory, for the owner's budget.
func (g *Group) SizeBytes() int {
	const group, pendingID = 1024, 128
	return group + g.sizes + g.offsetSizes + pendingID*len(g.pending)
}

// Next is the earliest moment at which [Group.Expire] may have something to do;
// zero when time alone changes nothing. It may be too early, never too late.
func (g *Group) Next() time.Time { return g.next }

// Idle reports whether dropping the group from memory would lose nothing: no
// member, no id given out, no offset, and no generation that a record holds.
func (g *Group) Idle() bool {
	return g.state == Empty && g.generation == 0 && len(g.pending) == 0 && len(g.offsets) == 0 && len(g.staged) == 0
}

// SetWall tells the wall clock for the steps that follow. It is apart from their
// now because it may jump: sessions must not feel that, but the moment from which
// offsets age is stored, and so can only be the wall clock's.
func (g *Group) SetWall(at record.Timestamp) { g.wall = at }

// Kill makes the group Dead. The owner has written its tombstones.
func (g *Group) Kill(now time.Time) {
	g.begin(now)
	g.become(Dead)
	clear(g.offsets)
	clear(g.staged)
	clear(g.pending)
	g.offsetSizes = 0
	g.joinBy, g.syncBy, g.next = time.Time{}, time.Time{}, time.Time{}
}

// begin starts a step. An open Store is our own broken order, not bad input.
func (g *Group) begin(now time.Time) {
	if g.whenStored != nil {
		panic("group: a request came in before Stored was called")
	}
	g.now = now
	g.out = Effects{}
}

func (g *Group) end() Effects {
	out := g.out
	g.out = Effects{}
	return out
}

func (g *Group) become(s State) {
	g.state = s
	g.sinceMs = g.wall
}

// store asks the owner to make the record durable before anything that depends
// on it is answered; then does the rest of the step.
func (g *Group) store(s Snapshot, then func(error)) {
	g.out.Store = &s
	g.whenStored = then
}

// Stored tells the group whether the record of the last Effects.Store was
// written. An error goes to the waiting members as it is.
func (g *Group) Stored(now time.Time, err error) Effects {
	then := g.whenStored
	if then == nil {
		panic("group: Stored was called without a Store")
	}
	g.whenStored = nil
	g.begin(now)
	then(err)
	return g.end()
}

// usesConsumerProtocol reports whether members carry Kafka's consumer
// subscriptions, which the group can read.
func (g *Group) usesConsumerProtocol() bool { return g.protocolType == consumerProtocolType }

// subscribedTo reports whether a member of the current generation may read the
// topic. A consumer group whose subscriptions cannot be read counts as
// subscribed to everything, so that no offset in use is removed.
func (g *Group) subscribedTo(t record.Topic) bool {
	if g.topics == nil {
		return g.usesConsumerProtocol()
	}
	return g.topics[string(t)]
}
