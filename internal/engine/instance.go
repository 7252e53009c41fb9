package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/record"
)

// instance is the life of one session: what the engine has between joining the
// group and losing or leaving it. All but its starters is one goroutine.
type instance struct {
	engine  *Engine
	options *Options
	session *client.Session
	reader  *client.Reader
	admin   *client.Admin
	db      *store.DB
	layout  *layout

	transactionalID string // this instance's

	units  map[unitKey]*unit
	turns  map[unitKey]turn                        // of each unit's last start
	inputs map[record.TopicPartition][]*subscriber // of running tasks
	limits limits
	open   opened
	ticked time.Time

	spoiled   error     // why the open transaction must not be committed
	published time.Time // when the last snapshot was made
	republish bool      // one is due at once

	nobodySince time.Time // when a partition was first seen with nobody; zero: each is with somebody

	starters sync.WaitGroup
	started  chan startResult
	purge    purger
}

// unitKey names what moves between instances as one: partition p of a group of
// topics, with one task per sub-topology that reads them.
type unitKey struct {
	group int
	p     record.Partition
}

// unit is a unit that this instance has.
type unit struct {
	key    unitKey
	phase  phase
	tasks  []*task         // when running
	ctx    context.Context // of its restore
	cancel context.CancelFunc
	turn   turn  // of its start
	err    error // when failed
	done   atomic.Int64
	total  atomic.Int64
}

// phase is how far a unit is.
type phase int8

const (
	restoringPhase phase = iota
	runningPhase
	failedPhase // stopped with an error until the instance starts anew; others run
)

func (p phase) String() string { return [...]string{"restoring", "running", "failed"}[p] }

// subscriber is a task that reads a partition.
type subscriber struct {
	unit  *unit
	task  *task
	input *input
}

// run is the loop: changes of the group, records, commits, until ctx ends or
// the session is of no more use. It holds the engine's tables.
func (in *instance) run(ctx context.Context) error {
	if err := in.session.Begin(); err != nil {
		return err
	}
	for {
		if err := in.changes(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return in.lastCommit()
		}
		columns, err := in.poll(ctx)
		if err != nil {
			if err := in.faulty(err); err != nil {
				return err
			}
		}
		if in.spoiled != nil {
			continue // what was polled is read again
		}
		if err := in.process(columns); err != nil {
			if !in.damaged(err) {
				return in.giveUp(err)
			}
			continue // the next round drops what is open
		}
		if err := in.tick(); err != nil {
			return in.giveUp(err)
		}
		if in.limits.due(in.open, in.options.Now()) {
			if err := in.commit(ctx); err != nil {
				return err
			}
		}
		in.publish()
	}
}

func (in *instance) poll(ctx context.Context) (columns []client.Columns, err error) {
	wait := in.limits.wait(in.open, in.options.Now())
	err = in.waiting(func() error {
		columns, err = in.session.Poll(ctx, wait, pollRecords)
		return err
	})
	return columns, err
}

// pollRecords bounds one poll: what is processed between two looks at the clock.
const pollRecords = 50_000

// giveUp ends the session because a step failed: what is open must not be
// committed by anybody.
func (in *instance) giveUp(why error) error {
	ctx, cancel := context.WithTimeout(context.Background(), in.options.StopTimeout)
	defer cancel()
	return errors.Join(why, in.waiting(func() error { return in.session.Abort(ctx) }))
}

// damaged takes a store that the disk does not give back as it was: its entries
// are dropped, its unit restored from the changelog, and the others go on. It
// reports whether that is what err is about.
func (in *instance) damaged(err error) bool {
	damage, ok := errors.AsType[*store.DamageError](err)
	if !ok {
		return false
	}
	for _, u := range in.unitsOf(runningPhase) {
		for _, t := range u.tasks {
			for _, s := range t.stores {
				if t.p == damage.Partition && s.spec.Name == damage.Store && s.part.Clear() == nil {
					in.options.Logger.Error("state on disk is damaged: it is dropped and restored from the changelog", "job", in.options.Plan.App, "err", damage)
					in.spoiled = err
					in.restart(u)
					return true
				}
			}
		}
	}
	return false
}

// process hands columns to their tasks and steps them.
func (in *instance) process(columns []client.Columns) error {
	if len(columns) == 0 {
		return nil
	}
	var tasks []*task
	in.open.atEnd = true
	for i := range columns {
		c := &columns[i]
		in.open.atEnd = in.open.atEnd && c.AtEnd()
		for _, s := range in.inputs[c.TopicPartition] {
			if len(c.Offsets) > 0 && c.Offsets[0] < s.input.next {
				return fmt.Errorf("%s was read again at offset %d although %d was next", c.TopicPartition, c.Offsets[0], s.input.next)
			}
			if len(s.task.pending) == 0 {
				tasks = append(tasks, s.task)
			}
			s.task.take(s.input, c)
		}
		if n := len(c.Offsets); n > 0 {
			in.engine.owe(c.TopicPartition, c.Offsets[n-1]+1)
			in.open.records += int64(n)
			if first := c.Timestamps[0]; first > 0 && (in.open.oldest == 0 || first < in.open.oldest) {
				in.open.oldest = first
			}
			if in.open.first.IsZero() {
				in.open.first = in.options.Now()
				in.options.faults.reach(beforeProduce)
			}
		}
	}
	if err := in.each(tasks, (*task).process); err != nil {
		return err
	}
	in.measure(tasks)
	return nil
}

// measure brings what is known of the open transaction up to date.
func (in *instance) measure(tasks []*task) {
	in.open.bytes, in.open.keys, in.open.crossing, in.open.sent = 0, 0, 0, 0
	for _, u := range in.units {
		for _, t := range u.tasks {
			m := t.step.Memory()
			in.open.bytes += m.OpenBytes
			keys := t.openKeys()
			in.open.keys += keys
			in.open.crossing += m.OpenKeys - keys
			in.open.sent += t.out.bytes
		}
	}
}

// each steps tasks, as many at a time as there are threads, and returns the
// first error.
func (in *instance) each(tasks []*task, step func(*task)) error {
	if threads := min(in.options.Threads, len(tasks)); threads > 1 {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range threads {
			wg.Go(func() {
				for i := next.Add(1) - 1; int(i) < len(tasks); i = next.Add(1) - 1 {
					step(tasks[i])
				}
			})
		}
		wg.Wait()
	} else {
		for _, t := range tasks {
			step(t)
		}
	}
	for _, t := range tasks {
		if t.err != nil {
			return &stepError{task: t.String(), err: t.err}
		}
	}
	return nil
}

// stepError ends the job: a stage with the policy Stop, or a broken invariant.
type stepError struct {
	task string
	err  error
}

func (e *stepError) Error() string { return e.task + ": " + e.err.Error() }
func (e *stepError) Unwrap() error { return e.err }

// tick tells running tasks the time, about once a second. One that has
// something to commit without input takes part in the next commit.
func (in *instance) tick() error {
	now := in.options.Now()
	if now.Sub(in.ticked) < longestPoll {
		return nil
	}
	in.ticked = now
	for _, t := range in.running() {
		if t.step.Tick(now) {
			t.changed = true
			if in.open.first.IsZero() {
				in.open.first = now
			}
		}
	}
	in.flushDue(now)
	in.purge.maybeStart(in, now)
	return nil
}

// running are the tasks of all running units, in a stable order.
func (in *instance) running() []*task {
	var all []*task
	for g := range in.layout.groups {
		for p := record.Partition(0); ; p++ {
			u, ok := in.units[unitKey{g, p}]
			if ok && u.phase == runningPhase {
				all = append(all, u.tasks...)
			}
			if int32(p) >= in.layout.partitionsOf(g) {
				break
			}
		}
	}
	return all
}

// partitionsOf is the number of units of a group of topics.
func (l *layout) partitionsOf(group int) int32 {
	var n int32
	for _, t := range l.groups[group].topics {
		n = max(n, l.facts[t].Partitions)
	}
	return n
}

// faulty takes what Poll says of single partitions: their units stop, the others
// run on. It returns what concerns the session as a whole.
func (in *instance) faulty(err error) error {
	var rest []error
	for _, err := range flatten(err) {
		tp, ok := faultyPartition(err)
		if !ok {
			rest = append(rest, err)
			continue
		}
		for key, u := range in.units {
			if topics := in.layout.groups[key.group].topics; slices.Contains(topics, tp.Topic) && (tp.Partition < 0 || key.p == tp.Partition) && u.phase != failedPhase {
				in.fail(u, err)
			}
		}
	}
	return errors.Join(rest...)
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// faultyPartition is the partition that an error is about; partition -1 is all
// of a topic.
func faultyPartition(err error) (record.TopicPartition, bool) {
	if e, ok := errors.AsType[*client.PositionError](err); ok {
		return e.TopicPartition, true
	}
	if e, ok := errors.AsType[client.CorruptError](err); ok {
		return e.TopicPartition, true
	}
	if e, ok := errors.AsType[client.UnknownTopicError](err); ok {
		return record.TopicPartition{Topic: e.Topic, Partition: -1}, true
	}
	return record.TopicPartition{}, false
}

// fail stops a unit. What it has in the open transaction must go too: the
// offsets of its partitions are committed with the others', so the transaction
// is dropped as a whole.
func (in *instance) fail(u *unit, err error) {
	in.options.Logger.Error("a task has stopped, the others go on", "job", in.options.Plan.App, "topics", in.layout.groups[u.key.group].topics, "partition", u.key.p, "err", err)
	in.session.Pause(in.partitionsOf(u.key))
	if u.cancel != nil {
		u.cancel()
	}
	in.unsubscribe(u)
	in.spoiled, in.republish = err, true
	u.phase, u.err, u.tasks = failedPhase, err, nil
}

// dropSpoiled aborts the open transaction and goes on without what spoiled it.
func (in *instance) dropSpoiled(ctx context.Context) error {
	ctx, cancel := in.patiently(ctx)
	defer cancel()
	why := in.spoiled
	in.spoiled = nil
	return in.abandon(ctx, why)
}

func (in *instance) unsubscribe(u *unit) {
	for _, tp := range in.partitionsOf(u.key) {
		delete(in.inputs, tp)
	}
}

// partitionsOf are the source partitions of a unit.
func (in *instance) partitionsOf(key unitKey) []record.TopicPartition {
	var all []record.TopicPartition
	for _, topic := range in.layout.groups[key.group].topics {
		if int32(key.p) < in.layout.facts[topic].Partitions {
			all = append(all, record.TopicPartition{Topic: topic, Partition: key.p})
		}
	}
	return all
}

// changelogsOf are the changelog partitions of a unit's stores.
func (in *instance) changelogsOf(key unitKey) []record.TopicPartition {
	var all []record.TopicPartition
	for _, i := range in.layout.groups[key.group].subs {
		sub := &in.layout.plan.Subs[i]
		if int32(key.p) >= tasksOf(sub, in.layout.facts) {
			continue
		}
		for _, spec := range sub.Stores {
			all = append(all, record.TopicPartition{Topic: spec.Changelog, Partition: key.p})
		}
	}
	return all
}
