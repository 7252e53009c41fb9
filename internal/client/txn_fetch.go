package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/batch"
	"millrace/record"
)

// fetcher reads the partitions of a session ahead of Poll. franz-go knows of
// them as a member of the group and fetches none: all its partitions are paused
// for ever. Each broker that leads some is asked by one goroutine, which also
// takes the answers apart; another one finds leaders.
//
// What is fetched and not taken is bounded by limit; at the bound nothing is
// asked for until something is taken.
type fetcher struct {
	client  *kgo.Client
	maxWait time.Duration
	limit   int // bytes fetched ahead, their columns included

	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup
	ready  chan struct{} // holds one: there may be something to take
	lookup chan struct{} // holds one: a partition may lack its leader
	spare  sync.Pool     // of *batch.Columns

	mu      sync.Mutex
	feeds   map[record.TopicPartition]*feed
	order   []*feed // the same, in the order of assignment
	turn    int     // where the next look at order begins
	leaders map[int32]*leader
	ids     map[record.Topic][16]byte // as they were first seen
	ahead   int                       // bytes fetched or asked for and not taken
	taken   []*batch.Columns          // lent out by the last take
}

// feed is one partition.
type feed struct {
	record.TopicPartition
	turns   int  // grows when what was asked for is of no use any more
	running bool // resumed
	halted  bool // by a fault, until seek
	asked   bool // a request for it is on its way

	from     record.Offset // the last seek's
	at       record.Offset // behind what was taken; -1: seek has not been called
	next     record.Offset // to be fetched next
	epoch    int32         // leader epoch of the record before next; -1: not known
	unproven bool          // next and epoch must be held against the leader's log

	leader      int32 // -1: not known
	leaderEpoch int32
	failures    int // in a row
	missing     int // answers in a row that the topic does not exist
	after       time.Time

	chunks []chunk // fetched, in order
	size   int     // of them, in bytes
	fault  error   // comes after them, once
}

// chunk is what one answer brought for one partition.
type chunk struct {
	columns *batch.Columns
	taken   int // of the records
	next    record.Offset
	epoch   int32 // of the last record
	stable  record.Offset
	high    record.Offset
	size    int
}

// columnBytes is what a record takes in columns.
const columnBytes = 64

func newFetcher(maxWait time.Duration, limit int) *fetcher {
	f := &fetcher{
		maxWait: maxWait,
		limit:   limit,
		ready:   make(chan struct{}, 1),
		lookup:  make(chan struct{}, 1),
		feeds:   make(map[record.TopicPartition]*feed),
		leaders: make(map[int32]*leader),
		ids:     make(map[record.Topic][16]byte),
	}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// start begins to read. Partitions may have been assigned before.
func (f *fetcher) start(client *kgo.Client) {
	f.client = client
	f.wg.Go(f.findLeaders)
}

func (f *fetcher) close() {
	f.end()
	f.wg.Wait()
}

// signal puts a token into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// assign adds partitions, paused and without a position.
func (f *fetcher) assign(partitions []record.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range partitions {
		f.drop(tp)
		p := &feed{TopicPartition: tp, from: -1, at: -1, next: -1, epoch: -1, leader: -1, leaderEpoch: -1}
		f.feeds[tp] = p
		f.order = append(f.order, p)
	}
	signal(f.lookup)
}

// revoke removes partitions and what was fetched of them.
func (f *fetcher) revoke(partitions []record.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range partitions {
		f.drop(tp)
	}
	f.kick()
}

// retain removes all partitions but those, and returns which ones.
func (f *fetcher) retain(owned []record.TopicPartition) (gone []record.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp := range f.feeds {
		if !slices.Contains(owned, tp) {
			gone = append(gone, tp)
		}
	}
	for _, tp := range gone {
		f.drop(tp)
	}
	f.kick()
	return gone
}

// stands reports whether positions are of what the session has read since the
// last seek, in partitions that it has had all the time. They may lie behind what
// was taken: a task may hold records back.
func (f *fetcher) stands(positions map[record.TopicPartition]Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, position := range positions {
		if p := f.feeds[tp]; p == nil || position.Offset < p.from || position.Offset > p.at {
			return fmt.Errorf("%s: %w", tp, errNotOwned)
		}
	}
	return nil
}

// errNotOwned means that a partition was given away, at least for a while, since
// the open transaction began.
var errNotOwned = errors.New("the partition was not this member's all the time")

func (f *fetcher) drop(tp record.TopicPartition) {
	if p := f.feeds[tp]; p != nil {
		f.forget(p)
		delete(f.feeds, tp)
		f.order = slices.DeleteFunc(f.order, func(other *feed) bool { return other == p })
	}
}

// forget drops what was fetched or asked for and not taken. Columns of which a
// part is lent out are left to the garbage collector: the group may take a
// partition away while its records are being processed.
func (f *fetcher) forget(p *feed) {
	for _, c := range p.chunks {
		if c.taken == 0 {
			f.spare.Put(c.columns)
		}
	}
	f.ahead -= p.size
	p.chunks, p.size, p.fault = nil, 0, nil
	p.asked = false
	p.turns++
}

func (f *fetcher) pause(partitions []record.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range partitions {
		if p := f.feeds[tp]; p != nil {
			f.forget(p)
			p.running, p.next = false, p.at
		}
	}
	f.kick()
}

func (f *fetcher) resume(partitions []record.TopicPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tp := range partitions {
		if p := f.feeds[tp]; p != nil {
			p.running = true
		}
	}
	f.kick()
}

// seek sets where reading goes on. A request that asks for another position
// would keep the partition waiting: it is given up.
func (f *fetcher) seek(positions map[record.TopicPartition]Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tp, position := range positions {
		p := f.feeds[tp]
		if p == nil {
			continue
		}
		if p.asked {
			f.leaders[p.leader].giveUp()
		}
		f.forget(p)
		p.from, p.at, p.next, p.epoch = position.Offset, position.Offset, position.Offset, position.LeaderEpoch
		p.unproven, p.halted = p.epoch >= 0, false
		p.failures, p.missing, p.after = 0, 0, time.Time{}
	}
	signal(f.lookup)
	f.kick()
}

// kick makes all leaders look for what to ask next.
func (f *fetcher) kick() {
	for _, l := range f.leaders {
		signal(l.kick)
	}
}

// take appends what was fetched, for each partition at most what one answer
// brought, together at most limit records, and the faults of partitions whose
// records before the fault were all taken. The columns are lent until the next
// call.
func (f *fetcher) take(columns []Columns, limit int) ([]Columns, []error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.taken {
		f.spare.Put(c)
	}
	f.taken = f.taken[:0]
	var faults []error
	f.turn++
	for i := range f.order {
		p := f.order[(f.turn+i)%len(f.order)]
		switch {
		case len(p.chunks) > 0 && limit > 0:
			columns = append(columns, f.lend(p, limit))
			limit -= len(columns[len(columns)-1].Offsets)
		case len(p.chunks) == 0 && p.fault != nil:
			faults = append(faults, p.fault)
			p.fault = nil
		}
	}
	if len(columns) > 0 {
		f.kick()
		signal(f.ready) // there may be more
	}
	return columns, faults
}

// lend hands over the first chunk of a feed, or as much of it as limit allows.
func (f *fetcher) lend(p *feed, limit int) Columns {
	c := &p.chunks[0]
	end := min(len(c.columns.Offsets), c.taken+limit)
	lent := Columns{
		TopicPartition: p.TopicPartition,
		Columns:        c.columns.Slice(c.taken, end),
		LeaderEpoch:    c.epoch,
		Stable:         c.stable,
		HighWatermark:  c.high,
	}
	if end < len(c.columns.Offsets) {
		c.taken, p.at = end, c.columns.Offsets[end]
		lent.Next = p.at
		return lent
	}
	p.at, lent.Next = c.next, c.next
	f.taken = append(f.taken, c.columns)
	f.ahead -= c.size
	p.size -= c.size
	p.chunks = slices.Delete(p.chunks, 0, 1)
	return lent
}

// halt stops a partition for a reason that does not go by itself.
func (p *feed) halt(fault error) { p.fault, p.halted = fault, true }

// mislead takes a partition from its leader: it is looked for again, later the
// more often that was in vain.
func (p *feed) mislead(now time.Time) {
	p.leader = -1
	p.after = now.Add(min(time.Second, 10*time.Millisecond<<min(p.failures, 10)))
	p.failures++
}
