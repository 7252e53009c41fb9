package engine

import (
	"time"

	"millrace/record"
)

// limits say when an open transaction must end.
type limits struct {
	interval time.Duration // since its first record
	quick    time.Duration // the same, when the inputs are read to their end and it holds few records
	age      time.Duration // since the brokers learned of it: a share of their timeout
	records  int64         // taken
	bytes    int64         // held by tables in the open layer
	keys     int           // changed in tables: each costs the commit a record or more
	crossing int           // held by pre-aggregates: each costs the commit a record
	sent     int64         // bytes produced already

	took [3]time.Duration // by the last commits, the newest first; 0: none yet
}

// opened is what an open transaction amounts to.
type opened struct {
	first    time.Time // when its first record was taken, or a timer was due; zero: neither
	records  int64
	bytes    int64
	keys     int
	crossing int
	sent     int64
	oldest   record.Timestamp // of a record that was taken; 0: none has one
	atEnd    bool             // the last poll has reached the end of what it read
}

// quickRecords is up to which size a transaction may be committed early: a
// small one costs little more than the commits that it is ahead of, a large one
// is worth waiting for, since it adds up more per changed key.
const quickRecords = 2000

// quickShare of the interval such a transaction waits for company. Half as long
// costs no more under load, and twice as long is most of what a click waits.
const quickShare = 20

// patience is how long the transaction may stay open for company.
func (l limits) patience(o opened) time.Duration {
	if o.atEnd && o.records <= quickRecords {
		return l.quick
	}
	return l.interval
}

// due reports whether it is time to commit. A transaction without a record or a
// timer can wait for ever: there is nothing in it.
func (l limits) due(o opened, now time.Time) bool {
	if o.first.IsZero() {
		return false
	}
	age := now.Sub(o.first)
	return age >= l.patience(o) || age >= l.age ||
		o.records >= l.records || o.bytes >= l.bytes || o.keys >= l.keys || o.crossing >= l.crossing || o.sent >= l.sent
}

// wait is how long a poll may wait for records before the commit is due.
func (l limits) wait(o opened, now time.Time) time.Duration {
	if o.first.IsZero() {
		return longestPoll
	}
	return min(longestPoll, max(0, l.patience(o)-now.Sub(o.first)))
}

// longestPoll bounds a poll, so that ticks come about once a second.
const longestPoll = time.Second

// limits of one transaction for these options, before adapt.
func (o Options) limits() limits {
	return limits{
		interval: o.CommitInterval,
		quick:    o.CommitInterval / quickShare,
		age:      o.TransactionTimeout / 2,
		records:  4_000_000,
		bytes:    o.openBytes(),
		keys:     leastKeys,
		crossing: crossingKeys,
		sent:     64 << 20,
	}
}

// leastKeys is what a commit may write for whatever it takes. How many more it may
// write, adapt finds out; their memory is bounded by limits.bytes, and that of what
// is on its way by the client.
const (
	leastKeys = 200_000
	mostKeys  = 4_000_000
)

// crossingKeys is where more of them save nothing: each task adds up for itself, so
// of very many keys it has few twice in any transaction that memory has room for,
// and the larger its table the slower it is.
const crossingKeys = 100_000

// adapt sets the limits after a commit of o that took so long.
func (l limits) adapt(options Options, o opened, took time.Duration) limits {
	return l.adaptIntervals(options, took).adaptKeys(options, o.keys, took)
}

// adaptKeys lets a commit write as many keys as there is an eighth of the brokers'
// patience for, at the rate of the last one. The more keys, the more of the events
// behind an input change one that has changed already, and cost no record of their
// own; but all of them wait for the one commit.
//
// A commit of few keys says little about the cost of one, so only those near the
// limit raise it, and not by more than four times.
func (l limits) adaptKeys(options Options, keys int, took time.Duration) limits {
	enough := options.TransactionTimeout / 8
	if keys < l.keys/2 && took < enough {
		return l
	}
	affordable := float64(keys) * float64(enough) / float64(max(took, time.Millisecond))
	l.keys = int(min(affordable, 4*float64(l.keys)))
	l.keys = min(max(l.keys, leastKeys), mostKeys)
	return l
}

// adaptIntervals sets the intervals. Commits may take a fifth of the time, whatever
// the number of keys, and half of it when there is nothing more to read; but half
// the brokers' patience is never used up.
//
// What counts is the shortest of the last three. One sync that stalls says
// nothing about the next commit, and to wait four times as long after it would
// make a pause of 50 ms one of a quarter of a second.
func (l limits) adaptIntervals(o Options, took time.Duration) limits {
	l.took[2], l.took[1], l.took[0] = l.took[1], l.took[0], took
	usual := min(l.took[0], l.took[1], l.took[2])
	l.interval = min(max(o.CommitInterval, 4*usual), o.TransactionTimeout/4)
	l.quick = min(max(o.CommitInterval/quickShare, usual), l.interval)
	return l
}

// refused sets the interval after a transaction that was not committed. While the
// group rebalances none will be, however often the same records are tried again;
// so each try waits twice as long, up to the interval, until one is committed. And
// it must not fail for its size.
func (l limits) refused() limits {
	l.keys = leastKeys
	l.quick = min(2*l.quick, l.interval)
	return l
}
