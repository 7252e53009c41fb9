package web

import (
	"time"

	"millrace/record"
)

// Results is what this room shows: the answers of a click job. All methods are
// called from many goroutines and must not wait.
type Results interface {
	// Parts are what the tasks of this instance have, with the first top names of
	// each.
	Parts(top int) Parts
	// Peers are the other instances that have tasks of the job.
	Peers() []Peer
	User(id string) UserCount
	// Windows are one user's clicks per minute that begin in [from, to), in the
	// order of time; zero times are no bounds.
	Windows(id string, from, to time.Time) UserWindows
	DeadLetters(n int) DeadLetters
	Progress() Progress
}

// AsOf is the position that an answer reflects: all events below Offsets, none
// from UpTo on. A partition that UpTo does not have has no known end.
type AsOf struct {
	Offsets, UpTo map[record.Partition]record.Offset
	Watermark     time.Time // event time; zero before the first event
	CommittedAt   time.Time // zero when nothing was committed since the start
}

// Parts are what one instance has of the job's results.
type Parts struct {
	Users, Pages []Part
	Minutes      []Part // of them the position only: totals know no time
	DeadLetters  int64  // of the whole job
	Progress     Progress
}

// Part is what one task has of a result. No other task has any of its names.
type Part struct {
	Task       record.Partition
	Tasks      int // that have a part, on all instances
	Clicks     int64
	DemoClicks int64 // of Clicks, the simulated ones; pages only
	Names      int64 // distinct
	Top        []Count
	AsOf       AsOf
}

// Peer is another instance.
type Peer struct {
	Name     string
	Endpoint string // its HTTP address; empty when it has told none
}

// UserCount is one user's clicks.
type UserCount struct {
	Clicks int64
	Known  bool // false: no click of the user was counted
	AsOf   AsOf
	Away   *Away // the other fields mean nothing then
}

// UserWindows are one user's clicks per minute.
type UserWindows struct {
	Windows []Window
	AsOf    AsOf
	Away    *Away
}

// Window is a count of one minute. Until it is Final it may grow.
type Window struct {
	Start, End time.Time
	Clicks     int64
	Final      bool
}

// Away says why this instance cannot answer.
type Away struct {
	// Endpoint is the HTTP address of the instance that can; empty while nobody can.
	Endpoint string
	Reason   string
}

// Count is a user or page with its clicks.
type Count struct {
	Name   string
	Clicks int64
}

// DeadLetters are the newest malformed events, and all of them by reason.
type DeadLetters struct {
	Newest   []DeadLetter
	Total    int64
	ByReason map[string]int64
}

// DeadLetter is the place of one malformed event and what is wrong with it.
type DeadLetter struct {
	record.TopicPartition
	Offset    record.Offset
	Timestamp time.Time // of the record
	Reason    string
	Detail    string
}

// Progress is how far the job is on its way to the log's end.
type Progress struct {
	Ready       bool
	Counted, Of int64
	Waiting     string // why it does not get on; empty when it does
	Fix         string // what to do about Waiting; empty where it passes by itself
	Brokers     bool   // Waiting is for the brokers: once they are well, which Fix helps, it passes by itself
}

// MaxLimit is the longest list that a request may ask for.
const MaxLimit = 1000
