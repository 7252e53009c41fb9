package topology

import (
	"fmt"
	"math"
	"time"

	"millrace/record"
)

// noMark is the watermark of an input that has told no time yet: it holds back
// everything.
const noMark = record.Timestamp(math.MinInt64)

// lastTime is the end of the year 9999: a greater time is no time.
const lastTime record.Timestamp = 253402300799999

// validTime says that a window can be asked about t: after the epoch, and not so
// far ahead of the wall clock that one wrong clock would close every window.
func (t *task) validTime(at record.Timestamp) bool { return at >= 0 && at <= t.latest }

// clock makes watermarks. That of a topic of the user's, or of an operator that
// gives records their time, has one input; that of a repartition topic one for
// each task upstream.
type clock struct {
	task     *task
	node     *Node
	disorder record.Timestamp
	inputs   []input
	quiet    []*quiet // what feeds a clock of records; nil for markers
}

// input is one source of time: what it says in the open transaction, and what it
// said at the last commit.
type input struct{ open, kept reading }

type reading struct {
	mark record.Timestamp
	idle bool // said by a marker; of records, quiet knows
}

// quiet watches one input partition for idleness, in wall-clock time. It is not
// part of the state: whoever starts anew begins to watch anew.
type quiet struct {
	name    string // topic/partition
	records int64
	atTick  int64     // records at the last Tick
	since   time.Time // of the Tick that first saw no more records
	atEnd   bool
	idle    bool
}

// tick says whether the partition has just become idle.
func (q *quiet) tick(now time.Time, after time.Duration) bool {
	if q.records != q.atTick || q.since.IsZero() {
		q.atTick, q.since = q.records, now
	}
	was := q.idle
	q.idle = q.atEnd && now.Sub(q.since) >= after
	return q.idle && !was
}

func (q *quiet) took(b *Batch) {
	q.atEnd = b.AtEnd
	if n := b.Len(); n > 0 {
		q.records += int64(n)
		q.idle = false
	}
}

func (t *task) newClock(n *Node, disorder record.Timestamp, inputs int) *clock {
	c := &clock{task: t, node: n, disorder: disorder, inputs: make([]input, inputs)}
	for i := range c.inputs {
		c.inputs[i] = input{reading{mark: noMark}, reading{mark: noMark}}
	}
	t.clocks = append(t.clocks, c)
	return c
}

// advance takes the times of a run of records and appends the watermark at each.
// A time that makes no sense moves nothing: the operator that needs it refuses
// the record.
func (c *clock) advance(marks, times []record.Timestamp) []record.Timestamp {
	mark := c.inputs[0].open.mark
	for _, at := range times {
		if at-c.disorder > mark && c.task.validTime(at) {
			mark = at - c.disorder
		}
		marks = append(marks, mark)
	}
	c.inputs[0].open.mark = mark
	return marks
}

// hear takes the marker of an upstream task.
func (c *clock) hear(upstream int, r reading) {
	in := &c.inputs[upstream]
	r.mark = max(r.mark, in.open.mark)
	in.open = r
}

func (c *clock) idle(i int) bool {
	if c.quiet == nil {
		return c.inputs[i].open.idle
	}
	for _, q := range c.quiet {
		if !q.idle {
			return false
		}
	}
	return true
}

// inputName is what a user looks for when a window does not close.
func (c *clock) inputName(i int) string {
	if c.quiet == nil {
		return fmt.Sprintf("task %d of %s", i, c.node.source.Topic)
	}
	for _, q := range c.quiet {
		if !q.idle {
			return q.name
		}
	}
	return c.quiet[0].name
}

// gauge is the watermark of one operator: the least of its active inputs, and it
// never goes back.
type gauge struct {
	task       *task
	node       *Node
	clocks     []*clock
	open, kept record.Timestamp
	heldBy     string

	// With wallClock the watermark moves on with the wall clock while all inputs
	// are idle, so that finals fire without new records.
	wallClock bool
	idleSince time.Time
	idleFrom  record.Timestamp
}

// read moves the watermark to what the inputs say, and says whether all are idle.
func (g *gauge) read() (allIdle bool) {
	least, allIdle := record.Timestamp(math.MaxInt64), true
	for _, c := range g.clocks {
		for i := range c.inputs {
			if c.idle(i) {
				continue
			}
			allIdle = false
			if mark := c.inputs[i].open.mark; mark < least {
				least, g.heldBy = mark, c.inputName(i)
			}
		}
	}
	if !allIdle {
		g.idleSince = time.Time{}
		g.open = max(g.open, least)
	}
	return allIdle
}

// tick lets the wall clock move the watermark of an operator that asks for it.
func (g *gauge) tick(now time.Time) {
	if !g.read() {
		return
	}
	g.heldBy = "all inputs idle"
	if !g.wallClock {
		return
	}
	if g.idleSince.IsZero() {
		g.idleSince, g.idleFrom = now, g.greatest()
	}
	if g.idleFrom != noMark {
		g.open = max(g.open, g.idleFrom+record.Timestamp(now.Sub(g.idleSince).Milliseconds()))
	}
}

// greatest is the greatest time that any input has told: when all are idle none
// has anything older to bring.
func (g *gauge) greatest() record.Timestamp {
	mark := g.open
	for _, c := range g.clocks {
		for i := range c.inputs {
			mark = max(mark, c.inputs[i].open.mark)
		}
	}
	return mark
}

// reading is what a marker says of this operator's inputs.
func (g *gauge) reading() reading {
	allIdle := g.read()
	return reading{mark: g.open, idle: allIdle}
}
