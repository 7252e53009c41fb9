package group

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAnyOrder runs a few clients against one group in any order of requests,
// answers, lost answers, crashes, broker restarts and failed writes, and checks
// after every step what must hold (see world.check). At the end the clients
// behave: the group must become stable with all of them. Then they all go: no
// request may be left without an answer.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"act":         func(t *rapid.T) { w.act(w.anyClient(t)) },
			"heartbeat":   func(t *rapid.T) { w.heartbeat(w.anyClient(t)) },
			"commit":      func(t *rapid.T) { w.commit(w.anyClient(t)) },
			"evict":       func(t *rapid.T) { w.evict(w.anyClient(t)) },
			"leave":       func(t *rapid.T) { w.leave(w.anyClient(t)) },
			"crash":       func(t *rapid.T) { w.crash(w.anyClient(t)) },
			"resubscribe": func(t *rapid.T) { w.anyClient(t).topics++ },
			"deliver":     func(t *rapid.T) { w.deliver(t, false) },
			"lose":        func(t *rapid.T) { w.deliver(t, true) },
			"giveUp":      func(t *rapid.T) { w.giveUp(w.anyClient(t)) },
			"zombie":      w.zombieCommits,
			"tick":        func(t *rapid.T) { w.advance(time.Duration(rapid.IntRange(1, 15_000).Draw(t, "ms")) * time.Millisecond) },
			"broker":      func(*rapid.T) { w.restartBroker() },
			"diskFull":    func(*rapid.T) { w.storeFails = true },
			"":            func(*rapid.T) { w.check() },
		})
		w.settle()
		w.end()
	})
}

// world is one group, its clients, and what is under way between them.
type world struct {
	t          *rapid.T
	group      *Group
	cfg        Config
	now        time.Time
	clients    []*client
	lastToken  Token
	lastID     int
	waiting    map[Token]*client // requests without an answer
	flying     []func()          // answers that the client has not seen yet
	stored     *Snapshot
	storeFails bool

	assigned map[string]string // "generation member" to the one assignment it may have
	leaders  map[int32]string  // generation to the member that was asked to assign
	fenced   map[string]bool   // member ids that a newer process has replaced
	newest   map[string]string // instance to its newest member id
	highest  int32             // generation that was stored last
}

// client is a consumer as Kafka's clients behave.
type client struct {
	name, instance string
	topics         int
	memberID       string
	lostID         bool // the broker forgot the id in a restart and may know an older one
	generation     int32
	waits          Token // for this answer; zero: none
	leads          []MemberMetadata
	phase          phase
}

type phase int

const (
	out    phase = iota // must join
	joined              // must sync
	working
)

func newWorld(t *rapid.T) *world {
	delay := time.Duration(rapid.IntRange(-1, 3).Draw(t, "initial delay, s")) * time.Second
	w := &world{
		t:        t,
		cfg:      Config{InitialRebalanceDelay: delay, MaxSize: 5}.WithDefaults(),
		now:      time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		waiting:  map[Token]*client{},
		assigned: map[string]string{},
		leaders:  map[int32]string{},
		fenced:   map[string]bool{},
		newest:   map[string]string{},
	}
	w.group = New("g", w.cfg, w.now)
	for i := range rapid.IntRange(2, 4).Draw(t, "clients") {
		c := &client{name: fmt.Sprintf("c%d", i), topics: 1}
		if rapid.Bool().Draw(t, "static") {
			c.instance = c.name
		}
		w.clients = append(w.clients, c)
	}
	return w
}

func (w *world) anyClient(t *rapid.T) *client { return rapid.SampledFrom(w.clients).Draw(t, "client") }

// act is the next thing that a client does by itself.
func (w *world) act(c *client) {
	switch {
	case c.waits != 0:
	case c.phase == out:
		w.join(c)
	case c.phase == joined:
		w.sync(c)
	}
}

func (w *world) token(c *client) Token {
	w.lastToken++
	c.waits = w.lastToken
	w.waiting[w.lastToken] = c
	return w.lastToken
}

func (w *world) join(c *client) {
	var topics []string
	for i := range c.topics {
		topics = append(topics, fmt.Sprintf("t%d", i))
	}
	w.lastID++
	w.apply(w.group.Join(w.now, JoinRequest{
		Token:             w.token(c),
		MemberID:          c.memberID,
		InstanceID:        c.instance,
		SessionTimeout:    10 * time.Second,
		RebalanceTimeout:  30 * time.Second,
		ProtocolType:      "consumer",
		Protocols:         []Protocol{{Name: "range", Metadata: subscription(topics...)}},
		NewMemberID:       fmt.Sprintf("%s-%d", c.name, w.lastID),
		RequireMemberID:   true,
		CanSkipAssignment: true,
	}))
}

func (w *world) sync(c *client) {
	r := SyncRequest{Token: w.token(c), MemberID: c.memberID, InstanceID: c.instance, Generation: c.generation}
	for _, m := range c.leads {
		// The token makes every assignment different from all others.
		r.Assignments = append(r.Assignments, Assignment{MemberID: m.ID, Bytes: fmt.Appendf(nil, "%d/%s", r.Token, m.ID)})
	}
	w.apply(w.group.Sync(w.now, r))
}

func (w *world) heartbeat(c *client) {
	if c.phase == out {
		return
	}
	w.hear(c, w.group.Heartbeat(w.now, c.memberID, c.instance, c.generation))
}

// hear lets a working client act on an error.
func (w *world) hear(c *client, err error) {
	switch err {
	case nil:
	case ErrUnknownMember:
		c.phase, c.memberID = out, ""
	case ErrFenced:
		w.beFenced(c)
	default:
		c.phase = out
	}
}

// beFenced ends the process, as Kafka's clients do. It must not happen to the
// newest process of an instance, but for one case, which is Kafka's as well: the
// broker restarted before it had stored the id that it gave out.
func (w *world) beFenced(c *client) {
	if !c.lostID {
		w.t.Fatalf("%s was fenced although no newer process runs", c.name)
	}
	w.crash(c)
}

func (w *world) commit(c *client) {
	if c.phase == out {
		return
	}
	err := w.group.CheckCommit(w.now, c.memberID, c.instance, c.generation)
	if err == nil && w.group.State() == CompletingRebalance {
		w.t.Fatalf("%s committed before anybody owned anything", c.memberID)
	}
	if err == nil && (w.fenced[c.memberID] || c.generation != w.group.Generation()) {
		w.t.Fatalf("%s committed: fenced %v, generation %d of %d", c.memberID, w.fenced[c.memberID], c.generation, w.group.Generation())
	}
	if err != ErrRebalancing {
		w.hear(c, err)
	}
}

// zombieCommits lets every fenced process try, with any generation.
func (w *world) zombieCommits(*rapid.T) {
	for id := range w.fenced {
		instance, _, _ := strings.Cut(id, "-")
		for generation := range w.group.Generation() + 1 {
			if w.group.CheckCommit(w.now, id, instance, generation) == nil {
				w.t.Fatalf("fenced member %s committed in generation %d", id, generation)
			}
		}
	}
}

func (w *world) leave(c *client) {
	if c.phase != working || c.waits != 0 {
		return
	}
	_, effects := w.group.Leave(w.now, []Leaver{{MemberID: c.memberID, InstanceID: c.instance}})
	w.apply(effects)
	c.phase, c.memberID = out, ""
}

// evict is an administrator who removes a member, whatever it waits for.
func (w *world) evict(c *client) {
	l := Leaver{MemberID: c.memberID}
	if c.instance != "" {
		l = Leaver{InstanceID: c.instance}
	}
	_, effects := w.group.Leave(w.now, []Leaver{l})
	w.apply(effects)
}

// crash ends the process; the next one knows nothing but its instance id.
func (w *world) crash(c *client) {
	w.giveUp(c)
	c.phase, c.memberID, c.generation, c.lostID = out, "", 0, false
}

// giveUp drops the connection on which the client waits: it never sees the answer.
func (w *world) giveUp(c *client) { c.waits = 0 }

// apply carries out effects and puts the answers on their way.
func (w *world) apply(e Effects) {
	for _, a := range e.Joins {
		c := w.answered(a.Token)
		w.noteJoin(c, a)
		w.flying = append(w.flying, func() { w.onJoin(c, a) })
	}
	for _, a := range e.Syncs {
		c := w.answered(a.Token)
		w.flying = append(w.flying, func() { w.onSync(c, a) })
	}
	if e.Store == nil {
		return
	}
	if w.storeFails {
		w.storeFails = false
		w.apply(w.group.Stored(w.now, ErrTooLarge))
		return
	}
	w.noteStore(*e.Store)
	w.apply(w.group.Stored(w.now, nil))
}

func (w *world) answered(t Token) *client {
	c, ok := w.waiting[t]
	if !ok {
		w.t.Fatalf("request %d was answered twice, or never sent", t)
	}
	delete(w.waiting, t)
	return c
}

func (w *world) noteJoin(c *client, a JoinAnswer) {
	if a.Err != nil {
		return
	}
	if newest := w.newest[c.instance]; c.instance != "" && newest != a.MemberID {
		w.fenced[newest] = newest != ""
		w.newest[c.instance] = a.MemberID
	}
	if len(a.Members) > 0 && !a.SkipAssignment {
		if other := w.leaders[a.Generation]; other != "" && other != a.MemberID {
			w.t.Fatalf("generation %d has two leaders: %s and %s", a.Generation, other, a.MemberID)
		}
		w.leaders[a.Generation] = a.MemberID
	}
}

func (w *world) noteStore(s Snapshot) {
	if s.Generation < w.highest {
		w.t.Fatalf("stored generation %d after %d", s.Generation, w.highest)
	}
	w.highest = s.Generation
	w.stored = &s
}

func (w *world) onJoin(c *client, a JoinAnswer) {
	if c.waits != a.Token {
		return // it has given up
	}
	c.waits = 0
	switch a.Err {
	case nil:
		c.memberID, c.generation, c.phase, c.leads = a.MemberID, a.Generation, joined, a.Members
		c.lostID = false
		if a.SkipAssignment {
			c.leads = nil
		}
	case ErrMemberIDRequired:
		c.memberID = a.MemberID
	case ErrUnknownMember:
		c.memberID = ""
	case ErrFenced:
		w.beFenced(c)
	}
}

func (w *world) onSync(c *client, a SyncAnswer) {
	if c.waits != a.Token {
		return
	}
	c.waits = 0
	if a.Err != nil {
		w.hear(c, a.Err)
		return
	}
	if !strings.Contains(string(a.Assignment), "/"+c.name+"-") {
		w.t.Fatalf("%s works on %q", c.memberID, a.Assignment)
	}
	c.phase = working
	key := fmt.Sprintf("%d %s", c.generation, c.name)
	// A static member keeps its work under a new member id: the name stands for both.
	if before, ok := w.assigned[key]; ok && before != string(a.Assignment) && c.instance != "" {
		w.t.Fatalf("%s has two assignments: %q and %q", key, before, a.Assignment)
	}
	key = fmt.Sprintf("%d %s", c.generation, c.memberID)
	if before, ok := w.assigned[key]; ok && before != string(a.Assignment) {
		w.t.Fatalf("%s has two assignments: %q and %q", key, before, a.Assignment)
	}
	w.assigned[key] = string(a.Assignment)
	w.assigned[fmt.Sprintf("%d %s", c.generation, c.name)] = string(a.Assignment)
}

// deliver hands over one answer, or drops it with its connection.
func (w *world) deliver(t *rapid.T, lost bool) {
	if len(w.flying) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.flying)-1).Draw(t, "answer")
	answer := w.flying[i]
	w.flying = slices.Delete(w.flying, i, i+1)
	if !lost {
		answer()
	}
}

func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for at := w.group.Next(); !at.IsZero() && !at.After(end); at = w.group.Next() {
		w.now = at
		w.apply(w.group.Expire(at))
		if next := w.group.Next(); !next.IsZero() && !next.After(at) {
			w.t.Fatalf("the group wants to be woken at %v again", next)
		}
	}
	w.now = end
}

// restartBroker loses all connections and everything that was not stored.
func (w *world) restartBroker() {
	clear(w.waiting)
	w.flying = nil
	for _, c := range w.clients {
		c.waits = 0
		c.lostID = c.memberID != ""
	}
	w.group = New("g", w.cfg, w.now)
	// What was handed out since and not stored never came with work: it may be
	// handed out again.
	maps.DeleteFunc(w.leaders, func(generation int32, _ string) bool { return generation > w.highest })
	if w.stored == nil {
		clear(w.newest)
		clear(w.fenced)
		return
	}
	w.group.Restore(w.now, *w.stored)
	clear(w.newest)
	for _, m := range w.stored.Members {
		w.newest[m.InstanceID] = m.ID
		delete(w.fenced, m.ID)
	}
}

// check compares the group's sums with its members, and its parked requests
// with those that wait.
func (w *world) check() {
	g, parked, support, sizes := w.group, map[Token]bool{}, map[string]int{}, 0
	for _, m := range g.members {
		if m.join != 0 {
			parked[m.join] = g.state == PreparingRebalance
		}
		if m.sync != 0 {
			parked[m.sync] = g.state == CompletingRebalance
		}
		for _, p := range m.protocols {
			support[p.Name]++
		}
		sizes += m.sizeBytes()
		if g.byID[m.id] != m || m.instanceID != "" && g.static[m.instanceID] != m {
			w.t.Fatalf("member %s is not found by its id", m.id)
		}
		if m.join == 0 && m.sync == 0 && m.deadline.IsZero() {
			w.t.Fatalf("member %s can never expire", m.id)
		}
	}
	for t, right := range parked {
		if !right {
			w.t.Fatalf("request %d is parked in %s", t, g.state)
		}
	}
	if len(parked) != len(w.waiting) {
		w.t.Fatalf("%d requests are parked, %d wait for an answer", len(parked), len(w.waiting))
	}
	if sizes != g.sizes || !maps.Equal(support, g.support) || len(g.byID) != len(g.members) {
		w.t.Fatalf("sums are off: %d bytes for %d, %v for %v", g.sizes, sizes, g.support, support)
	}
	if leads := g.byID[g.leader] != nil; leads != (len(g.members) > 0) {
		w.t.Fatalf("leader %q of %d members", g.leader, len(g.members))
	}
	if (g.state == Empty) != (len(g.members) == 0) && g.state != PreparingRebalance {
		w.t.Fatalf("%s with %d members", g.state, len(g.members))
	}
}

// settle lets all clients behave for long enough: the group must become stable
// and hold each of them once, with work from one and the same generation.
func (w *world) settle() {
	for range 400 {
		for len(w.flying) > 0 {
			answer := w.flying[0]
			w.flying = w.flying[1:]
			answer()
		}
		for _, c := range w.clients {
			if w.waiting[c.waits] == nil {
				w.giveUp(c) // the answer was lost: a real client's request times out
			}
		}
		for _, c := range w.clients {
			w.act(c)
			w.heartbeat(c)
		}
		w.advance(500 * time.Millisecond)
		w.check()
	}
	if w.group.State() != Stable || w.group.MemberCount() != len(w.clients) {
		w.t.Fatalf("after 200 quiet seconds: %s with %d members for %d clients", w.group.State(), w.group.MemberCount(), len(w.clients))
	}
	for _, c := range w.clients {
		if c.phase != working || c.generation != w.group.Generation() {
			w.t.Fatalf("%s is in phase %d, generation %d of %d", c.name, c.phase, c.generation, w.group.Generation())
		}
	}
}

// end stops all clients at once: every session ends, and nothing is left over.
func (w *world) end() {
	w.advance(10 * time.Minute)
	if w.group.State() != Empty || len(w.waiting) > 0 || !w.group.Next().IsZero() {
		w.t.Fatalf("when all are gone: %s, %d requests unanswered, next %v", w.group.State(), len(w.waiting), w.group.Next())
	}
}
