package history

import (
	"math"
	"slices"
)

// slot is one committed offset of one group.
type slot struct {
	group     string
	partition Partition
}

// stagedBy is one offset and the transaction that staged it.
type stagedBy struct {
	offset int64
	txn    *Txn
}

// offsets checks the committed offsets of groups. Writers stage rising offsets,
// so every observation lies between two bounds: the highest offset of a
// transaction that was known to be committed before the question, and the
// highest whose commit had been asked for before the answer.
func (c *checker) offsets() {
	staged := map[slot][]stagedBy{}
	for _, t := range c.Txns {
		for _, s := range t.Staged {
			at := slot{s.Group, s.Partition}
			staged[at] = append(staged[at], stagedBy{s.Offset, t})
		}
	}
	observed := map[slot][]Observed{}
	for _, o := range c.Offsets {
		at := slot{o.Group, o.Partition}
		observed[at] = append(observed[at], o)
	}
	for at, seen := range observed {
		c.rising(at, seen)
		for _, o := range seen {
			c.bounded(o, staged[at])
		}
	}
	for _, o := range c.Final {
		c.coupled(o, staged[slot{o.Group, o.Partition}])
	}
}

// rising checks that an answer is never behind one that had been given before
// it was asked for.
func (c *checker) rising(at slot, seen []Observed) {
	byAnswer := slices.Clone(seen)
	slices.SortFunc(byAnswer, func(a, b Observed) int { return int(a.Answered - b.Answered) })
	byAsked := slices.Clone(seen)
	slices.SortFunc(byAsked, func(a, b Observed) int { return int(a.Asked - b.Asked) })
	highest, next := int64(math.MinInt64), 0
	for _, o := range byAsked {
		for ; next < len(byAnswer) && byAnswer[next].Answered < o.Asked; next++ {
			highest = max(highest, byAnswer[next].Offset)
		}
		if o.Offset < highest {
			c.fault(WentBack, "group %s, %s: offset %d was committed, and later it was %d", at.group, at.partition, highest, o.Offset)
		}
	}
}

func (c *checker) bounded(o Observed, staged []stagedBy) {
	least, most := int64(-1), int64(-1)
	for _, s := range staged {
		if s.txn.Outcome == Committed && s.txn.Ended < o.Asked {
			least = max(least, s.offset)
		}
		if s.txn.Outcome != Aborted && s.txn.CommitSent != 0 && s.txn.CommitSent < o.Answered {
			most = max(most, s.offset)
		}
	}
	switch {
	case o.Offset < least:
		c.fault(WentBack, "group %s, %s: offset %d was committed, the broker says %d", o.Group, o.Partition, least, o.Offset)
	case o.Offset > most:
		c.fault(Early, "group %s, %s: the broker says %d; the highest whose commit was asked for is %d", o.Group, o.Partition, o.Offset, most)
	}
}

// coupled checks that offsets and records of a transaction share their fate: the
// last committed offset is the highest that a visible transaction staged.
func (c *checker) coupled(o Observed, staged []stagedBy) {
	want := int64(-1)
	var by *Txn
	for _, s := range staged {
		if s.offset > want && c.isVisible(s.txn) {
			want, by = s.offset, s.txn
		}
	}
	switch {
	case o.Offset == want:
	case o.Offset < want && by.Outcome == Committed:
		c.fault(Lost, "group %s, %s: %s committed offset %d, the broker says %d", o.Group, o.Partition, by, want, o.Offset)
	case o.Offset < want:
		c.fault(Torn, "group %s, %s: the records of %s are visible, its offset %d is not: the broker says %d", o.Group, o.Partition, by, want, o.Offset)
	default:
		c.fault(Torn, "group %s, %s: the broker says %d; the highest offset of a visible transaction is %d", o.Group, o.Partition, o.Offset, want)
	}
}

// isVisible says whether a transaction took effect. One without records is
// visible when its client was told so.
func (c *checker) isVisible(t *Txn) bool {
	for _, w := range t.Writes {
		if _, ok := c.committed[w.ID]; ok {
			return true
		}
	}
	return t.Outcome == Committed
}
