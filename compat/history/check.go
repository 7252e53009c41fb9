package history

import (
	"fmt"
	"slices"
)

// Check returns every broken promise of a history, at most a hundred of each
// kind: one defect of a broker can break thousands.
func Check(h *History) []Fault {
	c := newChecker(h)
	for p, seen := range h.All {
		c.once(p, seen)
		c.order(p, seen, false)
	}
	for p, seen := range h.Committed {
		c.order(p, seen, true)
		c.visible(p, seen)
	}
	for _, t := range h.Txns {
		c.transaction(t)
	}
	for _, r := range h.Readers {
		c.reader(r)
	}
	c.offsets()
	slices.SortStableFunc(c.faults, func(a, b Fault) int { return slices.Index(kinds, a.Kind) - slices.Index(kinds, b.Kind) })
	return c.faults
}

// kinds orders a report: the worst first.
var kinds = []Kind{Lost, AbortedGot, Torn, Duplicate, Moved, WentBack, Reordered, Early, Skipped, Changed, Zombie, Unknowable}

const reportedPerKind = 100

// place is where a record lies.
type place struct {
	partition Partition
	offset    int64
}

func (p place) String() string { return fmt.Sprintf("%s %d", p.partition, p.offset) }

type writerTxn struct{ writer, life, seq int }

type checker struct {
	*History
	faults    []Fault
	counts    map[Kind]int
	txns      map[writerTxn]*Txn
	written   map[ID]Partition
	stored    map[ID]place // in the last reading of everything
	committed map[ID]place // in the last reading of committed transactions
}

func newChecker(h *History) *checker {
	c := &checker{History: h, counts: map[Kind]int{}, txns: map[writerTxn]*Txn{},
		written: map[ID]Partition{}, stored: map[ID]place{}, committed: map[ID]place{}}
	for _, t := range h.Txns {
		c.txns[writerTxn{t.Writer, t.Life, t.Seq}] = t
		for _, w := range t.Writes {
			c.written[w.ID] = w.Partition
		}
	}
	for p, seen := range h.Committed {
		for _, s := range seen {
			c.committed[s.ID] = place{p, s.Offset}
		}
	}
	return c
}

func (c *checker) fault(kind Kind, format string, args ...any) {
	if c.counts[kind]++; c.counts[kind] <= reportedPerKind {
		c.faults = append(c.faults, Fault{kind, fmt.Sprintf(format, args...)})
	}
}

func (c *checker) of(id ID) *Txn { return c.txns[writerTxn{id.Writer, id.Life, id.Txn}] }

// once notes where everything lies, and that it lies there once, where it was
// sent to, and was sent by somebody.
func (c *checker) once(p Partition, seen []Seen) {
	for _, s := range seen {
		at := place{p, s.Offset}
		sentTo, sent := c.written[s.ID]
		first, again := c.stored[s.ID]
		switch {
		case !sent:
			c.fault(Unknowable, "%s at %s", s.ID, at)
		case sentTo != p:
			c.fault(Moved, "%s was sent to %s and lies at %s", s.ID, sentTo, at)
		case again:
			c.fault(Duplicate, "%s is at %s and again at %s", s.ID, first, at)
		}
		if !again {
			c.stored[s.ID] = at
		}
	}
}

// order checks that the records of one writer lie as they were sent. Records of
// a fenced life may lie behind those of the next one, but never committed ones.
func (c *checker) order(p Partition, seen []Seen, committed bool) {
	type sender struct{ writer, life int }
	last := map[sender]ID{}
	for _, s := range seen {
		from := sender{s.ID.Writer, s.ID.Life}
		if committed {
			from.life = 0
		}
		if before, known := last[from]; known && s.ID.before(before) {
			c.fault(Reordered, "%s: %s at %d follows %s", p, s.ID, s.Offset, before)
		}
		last[from] = s.ID
	}
}

// visible checks that what is readable as committed was committed, and is the
// record that the reading of everything found there.
func (c *checker) visible(p Partition, seen []Seen) {
	for _, s := range seen {
		if at, found := c.stored[s.ID]; !found || at != (place{p, s.Offset}) {
			c.fault(Changed, "read_committed has %s at %s %d, read_uncommitted has not", s.ID, p, s.Offset)
		}
		if t := c.of(s.ID); t != nil && t.Outcome == Aborted {
			c.fault(AbortedGot, "%s at %s %d: %s", s.ID, p, s.Offset, aborted(t))
		}
	}
}

func aborted(t *Txn) string {
	if t.Fenced != 0 {
		return "its producer was fenced before it asked for the commit"
	}
	return "its client never asked for a commit"
}

// transaction checks one transaction: all of what was acknowledged is stored
// where it was said to be, and all or nothing of it is visible.
func (c *checker) transaction(t *Txn) {
	if t.Fenced != 0 && t.Said == Committed {
		c.fault(Zombie, "%s was fenced at %d, asked for the commit at %d and was told that it succeeded", t, t.Fenced, t.CommitSent)
	}
	var there, missing []Write
	for _, w := range t.Writes {
		c.acknowledged(t, w)
		if _, ok := c.committed[w.ID]; ok {
			there = append(there, w)
		} else {
			missing = append(missing, w)
		}
	}
	switch {
	case t.Outcome == Committed && len(missing) > 0:
		c.fault(Lost, "%s: %d of %d records are not there, such as %s", t, len(missing), len(t.Writes), missing[0].ID)
	case t.Outcome == Unknown && len(missing) > 0 && len(there) > 0:
		c.fault(Torn, "%s: %s is visible and %s is not", t, there[0].ID, missing[0].ID)
	}
}

func (c *checker) acknowledged(t *Txn, w Write) {
	if w.Offset < 0 {
		return
	}
	at, found := c.stored[w.ID]
	switch {
	case !found:
		c.fault(Lost, "%s: %s was acknowledged at %s %d", t, w.ID, w.Partition, w.Offset)
	case at != place{w.Partition, w.Offset}:
		c.fault(Moved, "%s was acknowledged at %s %d and lies at %s", w.ID, w.Partition, w.Offset, at)
	}
}
