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
	// Offsets is, per partition, how far the events are in the answer, and UpTo where
	// it ends, as in [millrace.AsOf].
	Offsets, UpTo map[record.Partition]record.Offset
	// Watermark is the event time up to which minutes are complete; zero when
	// unknown.
	Watermark time.Time
	// CommittedAt is when this state became visible to readers.
	CommittedAt time.Time
}

func asOf(a millrace.AsOf) AsOf {
	at := AsOf{Offsets: byPartition(a.Offsets), UpTo: byPartition(a.UpTo), CommittedAt: a.CommittedAt}
	if a.Watermark != record.NoTimestamp {
		at.Watermark = a.Watermark.Time()
	}
	return at
}

// byPartition leaves out the topic, for there is one.
func byPartition(all map[record.TopicPartition]record.Offset) map[record.Partition]record.Offset {
	out := make(map[record.Partition]record.Offset, len(all))
	for tp, offset := range all {
		out[tp.Partition] = offset
	}
	return out
}

// Part is what one task has of a result: no other task has any of its names.
type Part struct {
	Task   record.Partition
	Tasks  int // that have a part, on all instances
	Clicks int64
	Demo   int64 // of Clicks, those marked as simulated, where that is counted
	Names  int64 // distinct users, or pages
	Top    []Count
	AsOf   AsOf
}

// UserParts are the parts that run here of the clicks per user, each with its n
// first users; n is at most MaxTop. [ErrNotComputed] if the job has none.
func (j *Job) UserParts(n int) ([]Part, error) { return partsOf(j.views.users, n) }

// PageParts are the same of the clicks per page.
func (j *Job) PageParts(n int) ([]Part, error) { return partsOf(j.views.pages, n) }

// MinuteParts are the parts that run here of the clicks per minute: what they have
// read, and up to which event time their minutes are complete. [ErrNotComputed] if
// the job has none.
func (j *Job) MinuteParts() (parts []Part, err error) {
	if j.views.minutes == nil {
		return nil, ErrNotComputed
	}
	all, err := j.views.minutes.Parts()
	for _, p := range all {
		parts = append(parts, Part{Task: p.Task, Tasks: p.Tasks, AsOf: asOf(p.AsOf)})
	}
	return parts, err
}

func partsOf[R any](v *millrace.View[string, R], n int) (parts []Part, err error) {
	if v == nil {
		return nil, ErrNotComputed
	}
	err = v.Each(func(o millrace.Observer[string, R], p millrace.Part) error {
		s := o.(*sums[R])
		part := Part{Task: p.Task, Tasks: p.Tasks, Clicks: s.clicks, Demo: s.demo, Names: s.names, AsOf: asOf(p.AsOf)}
		if n > 0 {
			part.Top = first(s.top.all(), n)
		}
		parts = append(parts, part)
		return nil
	})
	return parts, err
}

// User is the count of one user; found is false when the user was never seen.
// Errors are those of [millrace.View.Get], *[millrace.AwayError] among them.
func (j *Job) User(id string) (clicks int64, found bool, at AsOf, err error) {
	if j.views.users == nil {
		return 0, false, at, ErrNotComputed
	}
	answer, err := j.views.users.Get(id)
	at = asOf(answer.AsOf)
	if j.views.minutes != nil && at.Watermark.IsZero() { // totals know no time
		// Another instance may have the user's minutes: then it is not known here.
		if minutes, err := j.views.minutes.AsOf(id); err == nil {
			at.Watermark = asOf(minutes).Watermark
		}
	}
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
	windows, as, err := j.views.minutes.Get(id)
	for _, w := range windows {
		start := w.Window.Start.Time()
		if !start.Before(from) && (to.IsZero() || start.Before(to)) {
			minutes = append(minutes, WindowClicks{User: id, Start: start, End: w.Window.End.Time(), Clicks: w.Result, Final: w.Final})
		}
	}
	return minutes, asOf(as), err
}

// Refused is how many events are dead letters: of the whole job, for each instance
// reads their topic.
func (j *Job) Refused() int64 { return j.dead.total() }

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
