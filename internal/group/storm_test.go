package group

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const (
	oneWay         = 2 * time.Millisecond // between client and broker
	heartbeatEvery = 3 * time.Second      // the default of Kafka's clients
	session        = 10 * time.Second

	rebalanceTimeout = time.Minute
)

// TestStartTogether compares how processes that are started by one command find
// their work, with several initial delays: the reason for the default.
func TestStartTogether(t *testing.T) {
	for _, c := range []struct {
		delay       time.Duration
		generations int32
		within      time.Duration
	}{
		{0, 1, 400 * time.Millisecond}, // the default, 100 ms
		{-1, 2, heartbeatEvery + 500*time.Millisecond},
		{3 * time.Second, 1, 6*time.Second + 500*time.Millisecond}, // Kafka's
	} {
		s := newStorm(t, Config{InitialRebalanceDelay: c.delay}, 1)
		for i := range 8 {
			s.after(time.Duration(i)*20*time.Millisecond, s.newClient().start)
		}
		s.run(10 * time.Second)
		slowest := slices.Max(s.pauses)
		t.Logf("delay %v: %d generations, the last of 8 has work after %v", c.delay, s.group.Generation(), slowest)
		if s.group.Generation() != c.generations || slowest > c.within || s.working() != 8 {
			t.Errorf("delay %v: want %d generations and at most %v", c.delay, c.generations, c.within)
		}
	}
}

// TestStorm joins and removes members 50 times a minute for ten minutes, on the
// defaults. A rebalance lasts until the slowest member has had its heartbeat; a
// member that dies without a word holds it up until its session ends, and another
// may do so meanwhile: the rebalance timeout bounds that. The generations must
// not outnumber the changes.
func TestStorm(t *testing.T) {
	for _, c := range []struct {
		name      string
		silent    float64 // share of those who go without a word
		p99, most time.Duration
	}{
		{"polite", 0, heartbeatEvery + 500*time.Millisecond, 2 * heartbeatEvery},
		{"silent", 0.25, 2 * session, rebalanceTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			const changes = 500
			s := newStorm(t, Config{}, 2)
			s.silent = c.silent
			for range 20 {
				s.newClient().start()
			}
			for i := range changes {
				s.after(time.Duration(i+1)*1200*time.Millisecond, s.change)
			}
			s.run(10*time.Minute + 2*session)
			slices.Sort(s.pauses)
			p99, most := s.pauses[len(s.pauses)*99/100], s.pauses[len(s.pauses)-1]
			t.Logf("%d changes: %d generations, pause p50 %v, p99 %v, max %v",
				changes, s.group.Generation(), s.pauses[len(s.pauses)/2], p99, most)
			if p99 > c.p99 || most > c.most {
				t.Errorf("members are without work for too long: want p99 %v and at most %v", c.p99, c.most)
			}
			if s.group.Generation() > changes {
				t.Errorf("%d generations", s.group.Generation())
			}
			if s.group.State() != Stable || s.working() != len(s.clients) {
				t.Errorf("after the storm %d of %d work, the group is %s", s.working(), len(s.clients), s.group.State())
			}
		})
	}
}

// storm is a group, its clients and the events to come, on a clock of its own.
type storm struct {
	t       *testing.T
	rng     *rand.Rand
	group   *Group
	now     time.Time
	events  events
	clients []*stormClient
	silent  float64 // share of members that go without LeaveGroup
	ids     int
	planned int
	waiting map[Token]*stormClient
	token   Token
	pauses  []time.Duration // from losing work (or starting) to having some
}

type stormClient struct {
	s          *storm
	memberID   string
	generation int32
	lostWork   time.Time // zero: working
	leads      []MemberMetadata
	gone       bool
}

func newStorm(t *testing.T, cfg Config, seed uint64) *storm {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	return &storm{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: now,
		group:   New("g", cfg.WithDefaults(), now),
		waiting: map[Token]*stormClient{},
	}
}

func (s *storm) after(d time.Duration, do func()) {
	s.planned++
	heap.Push(&s.events, event{at: s.now.Add(d), order: s.planned, do: do})
}

// run takes events and the group's deadlines in the order of their time.
func (s *storm) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		due := s.group.Next()
		switch {
		case len(s.events) > 0 && !s.events[0].at.After(end) && (due.IsZero() || !due.Before(s.events[0].at)):
			e := heap.Pop(&s.events).(event)
			s.now = e.at
			e.do()
		case !due.IsZero() && !due.After(end):
			s.now = due
			s.apply(s.group.Expire(due))
		default:
			return
		}
	}
}

func (s *storm) newClient() *stormClient {
	c := &stormClient{s: s, lostWork: s.now}
	s.clients = append(s.clients, c)
	return c
}

func (c *stormClient) start() {
	c.lostWork = c.s.now
	c.join()
	c.s.after(time.Duration(c.s.rng.Int64N(int64(heartbeatEvery))), c.heartbeat)
}

// change lets one member go, a new one come, or both. Every third is each.
func (s *storm) change() {
	kind := s.rng.IntN(3)
	if kind > 0 {
		s.stopOne()
	}
	if kind < 2 {
		s.newClient().start()
	}
}

// stopOne ends a member that knows its id, while enough are left.
func (s *storm) stopOne() {
	i := s.rng.IntN(len(s.clients))
	c := s.clients[i]
	if len(s.clients) < 6 || c.memberID == "" {
		return
	}
	s.clients = slices.Delete(s.clients, i, i+1)
	c.gone = true
	if s.rng.Float64() >= s.silent {
		_, effects := s.group.Leave(s.now, []Leaver{{MemberID: c.memberID}})
		s.apply(effects)
	}
}

func (s *storm) working() (n int) {
	for _, c := range s.clients {
		if c.lostWork.IsZero() && c.generation == s.group.Generation() {
			n++
		}
	}
	return n
}

func (s *storm) nextToken(c *stormClient) Token {
	s.token++
	s.waiting[s.token] = c
	return s.token
}

// join sends JoinGroup; the eager protocol gives work up before.
func (c *stormClient) join() {
	if c.lostWork.IsZero() {
		c.lostWork = c.s.now
	}
	c.s.after(oneWay, func() {
		c.s.ids++
		c.s.apply(c.s.group.Join(c.s.now, JoinRequest{
			Token: c.s.nextToken(c), MemberID: c.memberID, RequireMemberID: true,
			NewMemberID:    fmt.Sprintf("m-%d", c.s.ids),
			SessionTimeout: session, RebalanceTimeout: rebalanceTimeout,
			ProtocolType: "consumer", Protocols: []Protocol{{Name: "range", Metadata: subscription("t")}},
		}))
	})
}

func (c *stormClient) heartbeat() {
	if c.gone {
		return
	}
	c.s.after(heartbeatEvery, c.heartbeat)
	if !c.lostWork.IsZero() {
		return
	}
	if err := c.s.group.Heartbeat(c.s.now, c.memberID, "", c.generation); err != nil {
		c.again(err)
	}
}

func (c *stormClient) again(err error) {
	if err == ErrUnknownMember {
		c.memberID = ""
	}
	c.join()
}

func (s *storm) apply(e Effects) {
	if e.Store != nil {
		defer func() { s.apply(s.group.Stored(s.now, nil)) }()
	}
	for _, a := range e.Joins {
		s.answer(a.Token, func(c *stormClient) { c.onJoin(a) })
	}
	for _, a := range e.Syncs {
		s.answer(a.Token, func(c *stormClient) { c.onSync(a) })
	}
}

func (s *storm) answer(t Token, deliver func(*stormClient)) {
	c := s.waiting[t]
	delete(s.waiting, t)
	s.after(oneWay, func() {
		if !c.gone {
			deliver(c)
		}
	})
}

func (c *stormClient) onJoin(a JoinAnswer) {
	c.memberID = a.MemberID
	if a.Err != nil {
		c.again(a.Err)
		return
	}
	c.generation, c.leads = a.Generation, a.Members
	c.s.after(oneWay, func() {
		r := SyncRequest{Token: c.s.nextToken(c), MemberID: c.memberID, Generation: c.generation}
		for _, m := range c.leads {
			r.Assignments = append(r.Assignments, Assignment{m.ID, []byte("work")})
		}
		c.s.apply(c.s.group.Sync(c.s.now, r))
	})
}

func (c *stormClient) onSync(a SyncAnswer) {
	if a.Err != nil {
		c.again(a.Err)
		return
	}
	c.s.pauses = append(c.s.pauses, c.s.now.Sub(c.lostWork))
	c.lostWork = time.Time{}
}

// events is a heap by time, then by the order in which they were planned.
type events []event

type event struct {
	at    time.Time
	order int
	do    func()
}

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
