package engine

import (
	"time"

	"millrace/record"
)

// limits say when an open transaction must end.
type limits struct {
	interval time.Duration // since its first record
	age      time.Duration // since the brokers learned of it: a share of their timeout
	records  int64         // taken
	bytes    int64         // held by tables in the open layer
	keys     int           // changed: records that the commit will write
	sent     int64         // bytes produced already
}

// opened is what an open transaction amounts to.
type opened struct {
	first   time.Time // when its first record was taken, or a timer was due; zero: neither
	records int64
	bytes   int64
	keys    int
	sent    int64
	oldest  record.Timestamp // of a record that was taken; 0: none has one
}

// due reports whether it is time to commit. A transaction without a record or a
// timer can wait for ever: there is nothing in it.
func (l limits) due(o opened, now time.Time) bool {
	if o.first.IsZero() {
		return false
	}
	age := now.Sub(o.first)
	return age >= l.interval || age >= l.age ||
		o.records >= l.records || o.bytes >= l.bytes || o.keys >= l.keys || o.sent >= l.sent
}

// wait is how long a poll may wait for records before the commit is due.
func (l limits) wait(o opened, now time.Time) time.Duration {
	if o.first.IsZero() {
		return longestPoll
	}
	return min(longestPoll, max(0, l.interval-now.Sub(o.first)))
}

// longestPoll bounds a poll, so that ticks come about once a second.
const longestPoll = time.Second

// limits of one transaction for these options, before adapt.
func (o Options) limits() limits {
	return limits{
		interval: o.CommitInterval,
		age:      o.TransactionTimeout / 2,
		records:  4_000_000,
		bytes:    o.openBytes(),
		keys:     maxOpenKeys,
		sent:     64 << 20,
	}
}

// maxOpenKeys bounds the records of one commit: with their bookkeeping at the
// client about 300 bytes each.
const maxOpenKeys = 200_000

// adapt sets the interval after a commit that took so long: commits may take a
// fifth of the time, whatever the number of keys, but half the brokers' patience
// is never used up.
func (l limits) adapt(o Options, took time.Duration) limits {
	l.interval = min(max(o.CommitInterval, 4*took), o.TransactionTimeout/4)
	return l
}
