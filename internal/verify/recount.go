package verify

import (
	"strconv"

	"millrace/internal/client"
	"millrace/record"
)

// tally is how often something was clicked: below the first end of the input, and
// in all that was read.
type tally struct{ first, all int64 }

// fits says whether a stored count can be right.
func (t tally) fits(stored int64) bool { return t.first <= stored && stored <= t.all }

func (t *tally) add(below bool) {
	t.all++
	if below {
		t.first++
	}
}

// recount is the input's result in plain maps.
type recount struct {
	ends  map[record.Partition]client.Span // the first ends
	users map[string]*tally
	pages map[string]*tally
	bad   map[string]*tally // malformed events by place, topic/partition/offset
	total tally
}

func newRecount(ends map[record.Partition]client.Span) *recount {
	return &recount{ends: ends, users: make(map[string]*tally), pages: make(map[string]*tally), bad: make(map[string]*tally)}
}

func (c *recount) add(r *record.Record) {
	below := r.Offset < c.ends[r.Partition].Stable
	event, ok := parse(r.Value)
	if !ok {
		of(c.bad, place(r.TopicPartition, r.Offset)).add(below)
		return
	}
	c.total.add(below)
	of(c.users, event.user).add(below)
	of(c.pages, event.page).add(below)
}

func of(tallies map[string]*tally, name string) *tally {
	t := tallies[name]
	if t == nil {
		t = new(tally)
		tallies[name] = t
	}
	return t
}

// place is how a dead letter names where it came from.
func place(tp record.TopicPartition, o record.Offset) string {
	return string(tp.Topic) + "/" + strconv.Itoa(int(tp.Partition)) + "/" + strconv.FormatInt(int64(o), 10)
}
