package clicks

import (
	"errors"
	"maps"
	"time"

	"millrace"
	"millrace/record"
)

// Job is the click job and its answers, which are committed ones.
type Job struct {
	topology *millrace.Topology
	views    views
	dead     *deadLetters
}

// views are those of the job's tables; nil for a result that is not computed.
type views struct {
	users   *millrace.View[string, int64]
	pages   *millrace.View[string, pageCount]
	minutes *millrace.WindowView[string, int64]
}

// New describes the job.
func New(o Options) (*Job, error) {
	topology, v, err := describe(o)
	if err != nil {
		return nil, err
	}
	return &Job{topology: topology, views: v, dead: newDeadLetters()}, nil
}

// Topology is what is to be run.
func (j *Job) Topology() *millrace.Topology { return j.topology }

// AsOf is the commit that an answer shows.
type AsOf struct {
	// Offsets is, per partition, the offset of the next event to be committed.
	Offsets map[record.Partition]record.Offset
	// Watermark is the event time up to which minutes are complete; zero when
	// unknown.
	Watermark time.Time
	// CommittedAt is when this state became visible to readers.
	CommittedAt time.Time
}

// merge is the older of both where they differ, for an answer of several tasks.
func (a *AsOf) merge(b millrace.AsOf) {
	if a.Offsets == nil {
		a.Offsets = make(map[record.Partition]record.Offset)
		a.CommittedAt = b.CommittedAt
		if b.Watermark != record.NoTimestamp {
			a.Watermark = b.Watermark.Time()
		}
	}
	for tp, offset := range b.Offsets {
		a.Offsets[tp.Partition] = offset
	}
	if b.CommittedAt.Before(a.CommittedAt) {
		a.CommittedAt = b.CommittedAt
	}
	if b.Watermark == record.NoTimestamp || b.Watermark.Time().Before(a.Watermark) {
		a.Watermark = time.Time{}
		if b.Watermark != record.NoTimestamp {
			a.Watermark = b.Watermark.Time()
		}
	}
}

// Totals are the sums over everything committed on this instance.
type Totals struct {
	Clicks      int64
	DemoClicks  int64 // of Clicks, those marked as simulated
	Users       int64 // distinct
	Pages       int64 // distinct
	DeadLetters int64
	AsOf        AsOf
}

// Totals are the sums of this instance's tasks.
func (j *Job) Totals() (t Totals, err error) {
	users, usersErr := eachSum(j.views.users, func(s *sums[int64], at millrace.AsOf) {
		t.Users += s.names
		t.Clicks += s.clicks
		t.AsOf.merge(at)
	})
	_, pagesErr := eachSum(j.views.pages, func(s *sums[pageCount], at millrace.AsOf) {
		t.Pages += s.names
		t.DemoClicks += s.demo
		if !users {
			t.Clicks += s.clicks
		}
		t.AsOf.merge(at)
	})
	t.DeadLetters = j.dead.total()
	return t, errors.Join(usersErr, pagesErr)
}

// eachSum calls f with each task's sums; computed is false for a result that the
// job does not have.
func eachSum[R any](v *millrace.View[string, R], f func(*sums[R], millrace.AsOf)) (computed bool, err error) {
	if v == nil {
		return false, nil
	}
	return true, v.Each(func(o millrace.Observer[string, R], at millrace.AsOf) error {
		f(o.(*sums[R]), at)
		return nil
	})
}

// User is the count of one user; found is false when the user was never seen.
// Errors are those of [millrace.View.Get], *[millrace.AwayError] among them.
func (j *Job) User(id string) (clicks int64, found bool, at AsOf, err error) {
	if j.views.users == nil {
		return 0, false, at, ErrNotComputed
	}
	answer, err := j.views.users.Get(id)
	at.merge(answer.AsOf)
	return answer.Result, answer.Found, at, err
}

// ErrNotComputed means that the job was started without the asked-for result.
var ErrNotComputed = errors.New("the job does not compute this result: see --results")

// Minutes are a user's clicks per minute, in the order of time, of the minutes
// that begin in [from, to); a zero to is no bound. Errors are those of [Job.User].
func (j *Job) Minutes(id string, from, to time.Time) (minutes []WindowClicks, at AsOf, err error) {
	if j.views.minutes == nil {
		return nil, at, ErrNotComputed
	}
	windows, asOf, err := j.views.minutes.Get(id)
	at.merge(asOf)
	for _, w := range windows {
		start := w.Window.Start.Time()
		if !start.Before(from) && (to.IsZero() || start.Before(to)) {
			minutes = append(minutes, WindowClicks{User: id, Start: start, End: w.Window.End.Time(), Clicks: w.Result, Final: w.Final})
		}
	}
	return minutes, at, err
}

// TopUsers are the n users with the most clicks on this instance, ties by name;
// n is at most MaxTop.
func (j *Job) TopUsers(n int) ([]Count, AsOf, error) { return top(j.views.users, n) }

// TopPages are the n pages with the most clicks, as TopUsers.
func (j *Job) TopPages(n int) ([]Count, AsOf, error) { return top(j.views.pages, n) }

func top[R any](v *millrace.View[string, R], n int) (counts []Count, at AsOf, err error) {
	_, err = eachSum(v, func(s *sums[R], asOf millrace.AsOf) {
		counts = append(counts, s.top.all()...)
		at.merge(asOf)
	})
	return first(counts, n), at, err
}

// DeadLetters are the n newest events that were refused, newest first, and the
// number of all of them by reason; n is at most MaxDeadLetters.
func (j *Job) DeadLetters(n int) ([]DeadLetter, map[string]int64) {
	return j.dead.newest(n), j.dead.reasons()
}

func (d *deadLetters) reasons() map[string]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.mu.byReason)
}
