package clicks

import (
	"maps"
	"sync"
	"time"

	"millrace/record"
)

// AsOf is the position that an answer reflects: exactly the events below
// Offsets are in it.
type AsOf struct {
	// Offsets is, per partition, the offset of the next event to be counted.
	Offsets map[record.Partition]record.Offset
	// Watermark is the event time up to which every partition that has events
	// was counted: the least of their greatest timestamps. Zero before the
	// first event.
	Watermark time.Time
	// CommittedAt is when this state became visible to readers.
	CommittedAt time.Time
}

// Totals are the sums over everything counted.
type Totals struct {
	Clicks      int64
	DemoClicks  int64 // of Clicks, those marked as simulated
	Users       int64 // distinct
	Pages       int64 // distinct
	DeadLetters int64
	// UntrackedUserClicks and UntrackedPageClicks are in Clicks, but in no
	// user's or page's count: they were new when the memory budget was used up.
	UntrackedUserClicks int64
	UntrackedPageClicks int64
	AsOf                AsOf
}

// results is what the job has counted. One goroutine applies chunks, any number
// read. A reader holds the lock for a lookup or for one copy of a ranking
// (MaxTop names), never for a walk over all names, and counting decodes outside
// the lock: so neither waits for the other longer than some microseconds.
type results struct {
	maxBytes int64
	mu       struct {
		sync.RWMutex
		clicks      int64
		demo        int64
		users       *table
		pages       *table
		dead        deadLetters
		memory      *budget
		next        map[record.Partition]record.Offset
		eventTime   map[record.Partition]record.Timestamp // greatest seen
		committedAt time.Time
	}
}

func newResults(maxBytes int64, now time.Time) *results {
	r := &results{maxBytes: maxBytes}
	r.reset(now)
	return r
}

// reset forgets everything, for a count from the start.
func (r *results) reset(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.clicks, r.mu.demo = 0, 0
	r.mu.memory = &budget{maxBytes: r.maxBytes}
	r.mu.users, r.mu.pages = newTable(r.mu.memory), newTable(r.mu.memory)
	r.mu.dead = newDeadLetters()
	r.mu.next = make(map[record.Partition]record.Offset)
	r.mu.eventTime = make(map[record.Partition]record.Timestamp)
	r.mu.committedAt = now
}

// chunk is a run of one partition's events, decoded and ready to be applied.
type chunk struct {
	partition record.Partition
	next      record.Offset
	clicks    []Click
	dead      []DeadLetter
}

// apply makes the whole chunk visible at once, together with its position.
func (r *results) apply(c *chunk, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	latest, seen := r.mu.eventTime[c.partition]
	for i := range c.clicks {
		click := &c.clicks[i]
		r.mu.users.add(click.User)
		r.mu.pages.add(click.Page)
		if click.Demo {
			r.mu.demo++
		}
		if !seen || click.At > latest {
			latest, seen = click.At, true
		}
	}
	if seen {
		r.mu.eventTime[c.partition] = latest
	}
	for _, letter := range c.dead {
		r.mu.dead.add(letter)
	}
	r.mu.clicks += int64(len(c.clicks))
	r.mu.next[c.partition] = c.next
	r.mu.committedAt = now
}

// position is the offset of the next event of partition p to be counted.
func (r *results) position(p record.Partition) record.Offset {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.next[p]
}

func (r *results) asOfLocked() AsOf {
	a := AsOf{Offsets: maps.Clone(r.mu.next), CommittedAt: r.mu.committedAt}
	least, some := record.Timestamp(0), false
	for _, at := range r.mu.eventTime {
		if !some || at < least {
			least, some = at, true
		}
	}
	if some {
		a.Watermark = least.Time()
	}
	return a
}

func (r *results) totals() Totals {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Totals{
		Clicks:              r.mu.clicks,
		DemoClicks:          r.mu.demo,
		Users:               int64(len(r.mu.users.entries)),
		Pages:               int64(len(r.mu.pages.entries)),
		DeadLetters:         r.mu.dead.events,
		UntrackedUserClicks: r.mu.users.untracked,
		UntrackedPageClicks: r.mu.pages.untracked,
		AsOf:                r.asOfLocked(),
	}
}

// user is a user's count. complete is false when an unknown user may have
// clicks that were not tracked.
func (r *results) user(id string) (clicks int64, known, complete bool, asOf AsOf) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	clicks, known = r.mu.users.get(id)
	return clicks, known, known || r.mu.users.untracked == 0, r.asOfLocked()
}

func (r *results) topUsers(n int) ([]Count, AsOf) {
	r.mu.RLock()
	ranked, asOf := r.mu.users.ranked(), r.asOfLocked()
	r.mu.RUnlock()
	return first(ranked, n), asOf
}

func (r *results) topPages(n int) ([]Count, AsOf) {
	r.mu.RLock()
	ranked, asOf := r.mu.pages.ranked(), r.asOfLocked()
	r.mu.RUnlock()
	return first(ranked, n), asOf
}

func (r *results) deadLetters(n int) (letters []DeadLetter, byReason map[Reason]int64, asOf AsOf) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mu.dead.newest(n), r.mu.dead.reasons(), r.asOfLocked()
}
