package history

import "sort"

// reader checks what a running reader was given against the last reading: each
// partition's records in order, without a gap, none that is not there, and none
// before its transaction could be visible.
func (c *checker) reader(r Reader) {
	final := c.All
	if r.Committed {
		final = c.Committed
	}
	byPartition := map[Partition][]Poll{}
	for _, poll := range r.Polls {
		byPartition[poll.Partition] = append(byPartition[poll.Partition], poll)
		if r.Committed {
			c.notEarly(r, poll)
		}
	}
	for p, polls := range byPartition {
		c.follows(r, p, polls, final[p])
	}
}

func (c *checker) notEarly(r Reader, poll Poll) {
	t := c.of(poll.ID)
	if t != nil && (t.CommitSent == 0 || poll.At < t.CommitSent) && t.Outcome != Aborted {
		c.fault(Early, "%s was given %s at %s %d, at %d; its commit was asked for at %d",
			r.Name, poll.ID, poll.Partition, poll.Offset, poll.At, t.CommitSent)
	}
}

// follows walks what was given beside what there is.
func (c *checker) follows(r Reader, p Partition, polls []Poll, final []Seen) {
	next := 0
	last := int64(-1)
	for _, poll := range polls {
		if poll.Offset <= last {
			c.fault(WentBack, "%s was given %s %d after %d", r.Name, p, poll.Offset, last)
			return
		}
		last = poll.Offset
		at := next + sort.Search(len(final)-next, func(i int) bool { return final[next+i].Offset >= poll.Offset })
		for _, missed := range final[next:at] {
			c.fault(Skipped, "%s was given %s %d and not %s at %d before it", r.Name, p, poll.Offset, missed.ID, missed.Offset)
		}
		next = at
		if at == len(final) || final[at].Offset != poll.Offset {
			c.gone(r, poll)
			continue
		}
		if final[at].ID != poll.ID {
			c.fault(Changed, "%s was given %s at %s %d, which now holds %s", r.Name, poll.ID, p, poll.Offset, final[at].ID)
		}
		next = at + 1
	}
}

// gone is about a record that a reader was given and that is not there at the
// end.
func (c *checker) gone(r Reader, poll Poll) {
	t := c.of(poll.ID)
	if r.Committed && t != nil && t.Outcome != Committed {
		c.fault(AbortedGot, "%s was given %s at %s %d, which is not committed at the end", r.Name, poll.ID, poll.Partition, poll.Offset)
		return
	}
	c.fault(Lost, "%s was given %s at %s %d, which is not there at the end", r.Name, poll.ID, poll.Partition, poll.Offset)
}
