package topology

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"millrace/internal/state"
	"millrace/record"
)

// task is the [Task] of one sub-topology: its operators, wired to each other.
type task struct {
	sub     *Sub
	cfg     TaskConfig
	needs   *needs
	feeders []feeder // per source
	quiets  []*quiet // per source; nil for repartition topics
	places  []place  // per source; of no meaning for repartition topics
	letters []int    // sink of the dead letters of each source
	derived int      // sink of the dead letters of records that tables have made

	tables    []state.Table
	keepers   []*Node        // per table
	preparers []preparer     // an operator after those that it reads
	clocks    []*clock       // in the order of their operators
	gauges    []*gauge       // likewise
	readable  map[string]any // per store, see [View]

	batch   *Batch
	out     Output
	scratch []byte
	now     record.Timestamp
	latest  record.Timestamp // a greater time makes no sense

	open, kept Stats // open counts since the last commit
}

// feeder is an operator that begins a sub-topology.
type feeder interface {
	feed(b *Batch, from, to int) error
}

// preparer is an operator with something to send before a commit.
type preparer interface {
	place() *Node
	prepare() error

	// due says that there would be something to send although no record came.
	due() bool

	// memory is that of pre-aggregates, and of what a table keeps beside itself:
	// tables are counted by themselves.
	memory() Memory

	commit()
	abort()
}

func newTask(sub *Sub, starts []*Node, n *needs, cfg TaskConfig) (*task, error) {
	t := &task{
		sub: sub, cfg: cfg, needs: n,
		feeders: make([]feeder, len(sub.Sources)),
		quiets:  make([]*quiet, len(sub.Sources)),
		places:  make([]place, len(sub.Sources)),
		letters: make([]int, len(sub.Sources)),
		tables:  make([]state.Table, len(sub.Stores)),
		keepers: make([]*Node, len(sub.Stores)),
		kept:    Stats{DeadLetters: make(map[Refusal]int64), Watermark: record.NoTimestamp},
	}
	t.cfg.IdleAfter = cmp.Or(t.cfg.IdleAfter, 5*time.Second)
	t.cfg.MaxAhead = cmp.Or(t.cfg.MaxAhead, time.Hour)
	t.setNow(cfg.Now)
	if err := t.checkConfig(); err != nil {
		return nil, err
	}
	w := &wiring{task: t, memo: make(map[*Node]any)}
	t.derived = w.sink(n.derivedLetters)
	for i, source := range sub.Sources {
		t.letters[i], t.places[i] = t.derived, place{-1, -1}
		if !source.Repartition() {
			t.letters[i] = w.sink(letterTopic(source.Topic))
			t.quiets[i] = &quiet{name: fmt.Sprintf("%s/%d", source.Topic, cfg.Partition)}
		}
	}
	for i, start := range starts {
		t.feeders[i] = start.start(w)
	}
	if w.err != nil {
		return nil, w.err
	}
	t.order()
	for _, m := range t.markers() {
		m.settle()
	}
	return t, nil
}

// checkConfig is for the engine: what it says of each source must be there.
func (t *task) checkConfig() error {
	var faults []error
	for i, s := range t.sub.Sources {
		if s.Repartition() && (i >= len(t.cfg.Upstream) || t.cfg.Upstream[i] <= 0) {
			faults = append(faults, fmt.Errorf("topology: the number of tasks upstream of %s is missing", s.Topic))
		}
	}
	return errors.Join(faults...)
}

// order brings the operators into the order of the graph, and gives each gauge
// the clocks above it: tasks are wired from the end.
func (t *task) order() {
	slices.SortFunc(t.preparers, func(a, b preparer) int { return a.place().id - b.place().id })
	slices.SortFunc(t.clocks, func(a, b *clock) int { return a.node.id - b.node.id })
	slices.SortFunc(t.gauges, func(a, b *gauge) int { return a.node.id - b.node.id })
	for _, c := range t.clocks {
		if !c.node.isRepartition() {
			for _, up := range c.node.sources() {
				c.quiet = append(c.quiet, t.quietOf(up))
			}
			c.quiet = slices.DeleteFunc(c.quiet, func(q *quiet) bool { return q == nil })
		}
	}
	for _, g := range t.gauges {
		for _, c := range t.clocks {
			if slices.Contains(g.node.clocks(), c.node) {
				g.clocks = append(g.clocks, c)
			}
		}
	}
}

func (t *task) quietOf(source *Node) *quiet {
	for i, s := range t.sub.Sources {
		if s.Topic == source.source.Topic {
			return t.quiets[i]
		}
	}
	return nil
}

func (t *task) setNow(now time.Time) {
	t.now = record.TimestampOf(now)
	t.latest = min(lastTime, record.TimestampOf(now.Add(t.cfg.MaxAhead)))
}

// letterSink is where dead letters of these rows go, if their stage has no topic
// of its own.
func (t *task) letterSink(in *rows) int {
	if in.at == nil {
		return t.derived
	}
	return t.letters[t.batch.Source]
}

// Process implements [Task].
func (t *task) Process(b *Batch, out Output) error {
	t.batch, t.out = b, out
	if q := t.quiets[b.Source]; q != nil {
		q.took(b)
	}
	t.places[b.Source].took(b)
	for from := 0; from < b.Len(); from += chunkRows {
		if err := t.feeders[b.Source].feed(b, from, min(from+chunkRows, b.Len())); err != nil {
			return err
		}
	}
	return nil
}

// Tick implements [Task].
func (t *task) Tick(now time.Time) (due bool) {
	t.setNow(now)
	for _, q := range t.quiets {
		if q != nil {
			q.tick(now, t.cfg.IdleAfter)
		}
	}
	for _, g := range t.gauges {
		g.tick(now)
	}
	for _, p := range t.preparers {
		due = p.due() || due
	}
	return due
}

// Prepare implements [Task].
func (t *task) Prepare(out Output) error {
	t.batch, t.out = nil, out
	for _, p := range t.preparers {
		if err := p.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// Commit implements [Task].
func (t *task) Commit() {
	for _, table := range t.tables {
		table.Commit()
	}
	for _, p := range t.preparers {
		p.commit()
	}
	for _, c := range t.clocks {
		for i := range c.inputs {
			c.inputs[i].kept = c.inputs[i].open
		}
	}
	for _, g := range t.gauges {
		g.kept = g.open
	}
	for i := range t.places {
		t.places[i].kept = t.places[i].open
	}
	for _, c := range t.crossings() {
		c.commit()
	}
	t.kept.add(&t.open)
	t.open = Stats{}
	t.batch, t.out = nil, nil
}

// Abort implements [Task].
func (t *task) Abort() {
	for _, table := range t.tables {
		table.Abort()
	}
	for _, p := range t.preparers {
		p.abort()
	}
	for _, c := range t.clocks {
		for i := range c.inputs {
			c.inputs[i].open = c.inputs[i].kept
		}
	}
	for _, g := range t.gauges {
		g.open = g.kept
	}
	for i := range t.places {
		t.places[i].open = t.places[i].kept
	}
	for _, c := range t.crossings() {
		c.abort()
	}
	t.open = Stats{}
	t.batch, t.out = nil, nil
}

// crossings are the sources of repartition topics.
func (t *task) crossings() (all []crossing) {
	for _, f := range t.feeders {
		if c, ok := f.(crossing); ok {
			all = append(all, c)
		}
	}
	return all
}

// Held implements [Holder].
func (t *task) Held(source int) (first record.Offset, some bool) {
	if c, ok := t.feeders[source].(crossing); ok {
		return c.held()
	}
	return 0, false
}

// Tables implements [Task].
func (t *task) Tables() []state.Table { return t.tables }

// Memory implements [Task].
func (t *task) Memory() (m Memory) {
	for _, table := range t.tables {
		m.add(tableMemory(table))
	}
	for _, p := range t.preparers {
		m.add(p.memory())
	}
	for _, c := range t.crossings() {
		m.OpenBytes += c.heldBytes()
	}
	return m
}

func tableMemory(t state.Table) Memory {
	return Memory{OpenKeys: t.OpenKeys(), OpenBytes: t.OpenBytes(), DirtyBytes: t.DirtyBytes(), CacheBytes: t.CacheBytes()}
}

func (m *Memory) add(o Memory) {
	m.OpenKeys += o.OpenKeys
	m.OpenBytes += o.OpenBytes
	m.DirtyBytes += o.DirtyBytes
	m.CacheBytes += o.CacheBytes
}

// Stats implements [Task].
func (t *task) Stats() Stats {
	s := t.kept
	s.DeadLetters = maps.Clone(s.DeadLetters)
	least := record.Timestamp(math.MaxInt64)
	for _, g := range t.gauges {
		if g.kept < least {
			least, s.HeldBy = g.kept, g.heldBy
		}
	}
	if len(t.gauges) > 0 && least != noMark {
		s.Watermark = least
	}
	return s
}

func (s *Stats) deadLetter(r Refusal) {
	if s.DeadLetters == nil {
		s.DeadLetters = make(map[Refusal]int64)
	}
	s.DeadLetters[r]++
}

// add adds the counts of o, and leaves the rest.
func (s *Stats) add(o *Stats) {
	s.Records += o.Records
	s.Late += o.Late
	s.Skipped += o.Skipped
	s.Misplaced += o.Misplaced
	for r, n := range o.DeadLetters {
		s.DeadLetters[r] += n
	}
}
