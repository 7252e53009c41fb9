package web

import (
	"time"

	"millrace/record"
)

// Results is what this room shows: the answers of a click job. All methods are
// called from many goroutines and must not wait.
type Results interface {
	Totals() Totals
	User(id string) UserCount
	TopUsers(n int) ([]Count, AsOf)
	TopPages(n int) ([]Count, AsOf)
	DeadLetters(n int) DeadLetters
	Progress() Progress
}

// AsOf is the position that an answer reflects: the events below Offsets.
type AsOf struct {
	Offsets     map[record.Partition]record.Offset
	Watermark   time.Time // event time; zero before the first event
	CommittedAt time.Time
}

// Totals are the sums over all events counted.
type Totals struct {
	Clicks, Users, Pages, DeadLetters int64
	DemoClicks                        int64 // of Clicks, the simulated ones
	// Untracked clicks are in Clicks, but in no user's or page's count.
	UntrackedUserClicks, UntrackedPageClicks int64
	AsOf                                     AsOf
}

// UserCount is one user's clicks. When the user is not Known, Complete says
// whether that is certain: false means that clicks may not have been tracked.
type UserCount struct {
	Clicks          int64
	Known, Complete bool
	AsOf            AsOf
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
	AsOf     AsOf
}

// DeadLetter is the place of one malformed event and what is wrong with it.
type DeadLetter struct {
	record.TopicPartition
	Offset    record.Offset
	Events    int64     // 1, or how many offsets a damaged place takes
	Timestamp time.Time // of the record; zero when it could not be read
	Reason    string
	Detail    string
}

// Progress is how far the job is on its way to the log's end.
type Progress struct {
	Ready       bool
	Counted, Of int64
	Waiting     string // why it does not get on; empty when it does
}

// MaxLimit is the longest list that a request may ask for.
const MaxLimit = 1000
