package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"millrace/internal/client"
	"millrace/internal/state"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
)

// changes takes what the group has decided, and units that have become ready.
func (in *instance) changes(ctx context.Context) error {
	for _, e := range in.session.Events() {
		keys := in.unitKeys(e.Partitions)
		if e.Kind == client.Assigned {
			if err := in.layout.fits(e.Partitions); err != nil {
				return err
			}
			var units []*unit
			for _, key := range keys {
				in.giveAway(key, client.Lost) // if franz-go did not say that it was lost
				u := &unit{key: key}
				in.units[key] = u
				units = append(units, u)
			}
			in.start(ctx, units)
			continue
		}
		for _, key := range keys {
			in.giveAway(key, e.Kind)
		}
	}
	if in.spoiled != nil {
		if err := in.dropSpoiled(ctx); err != nil {
			return err
		}
	}
	for {
		select {
		case r := <-in.started:
			if err := in.begin(r); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// unitKeys are the units that partitions belong to.
func (in *instance) unitKeys(partitions []record.TopicPartition) []unitKey {
	var keys []unitKey
	seen := make(map[unitKey]bool)
	for _, tp := range partitions {
		key := unitKey{in.layout.groupOf(tp.Topic), tp.Partition}
		if key.group >= 0 && !seen[key] {
			seen[key] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// giveAway drops a unit that another instance gets. What it has committed goes
// to disk, for the case that it comes back. The open transaction cannot be
// committed any more, whatever is in it.
func (in *instance) giveAway(key unitKey, kind client.EventKind) {
	u := in.units[key]
	if u == nil {
		return
	}
	in.options.faults.reach(beforeGiveAway)
	if u.cancel != nil {
		u.cancel()
	}
	in.unsubscribe(u)
	delete(in.units, key)
	if kind == client.Revoked {
		for _, t := range u.tasks {
			in.flush(t, in.options.Now())
		}
	}
	in.spoiled, in.republish = errGivenAway, true
}

var errGivenAway = errors.New("partitions were given to another instance")

// restart starts a running unit anew, because Kafka is ahead of its tables.
func (in *instance) restart(u *unit) {
	in.session.Pause(in.partitionsOf(u.key))
	in.unsubscribe(u)
	again := &unit{key: u.key}
	in.units[u.key] = again
	in.start(in.engine.life, []*unit{again})
}

// begin lets a unit run whose tasks are ready.
func (in *instance) begin(r startResult) error {
	u := r.unit
	if in.units[u.key] != u || u.phase != restoringPhase {
		return nil // it was given away meanwhile
	}
	if r.err != nil {
		if !lasting(r.err) {
			return r.err
		}
		in.fail(u, r.err)
		return nil
	}
	u.phase, u.tasks = runningPhase, r.tasks
	in.republish = true
	back := make(map[record.TopicPartition]client.Position)
	for _, t := range r.tasks {
		for _, i := range t.inputs {
			in.inputs[i.tp] = append(in.inputs[i.tp], &subscriber{u, t, i})
			back[i.tp] = client.Position{Offset: i.next, LeaderEpoch: i.leaderEpoch}
		}
		if err := in.each([]*task{t}, (*task).process); err != nil { // tells it which inputs are empty
			return in.giveUp(err)
		}
	}
	in.session.Rewind(back)
	in.session.Resume(in.partitionsOf(u.key))
	return nil
}

// lasting errors stay until a person has acted; all others may go by themselves.
func lasting(err error) bool {
	_, mismatch := errors.AsType[*MismatchError](err)
	_, changelog := errors.AsType[*ChangelogError](err)
	_, recreated := errors.AsType[*RecreatedError](err)
	_, changed := errors.AsType[*ChangedError](err)
	_, deleted := errors.AsType[client.UnknownTopicError](err)
	return deleted || mismatch || changelog || recreated || changed || errors.Is(err, errCommitRecord)
}

// startResult is a unit that is ready to run, or why it is not.
type startResult struct {
	unit  *unit
	tasks []*task
	err   error
}

// start brings units from what the group has decided to where they can run, in
// a goroutine of its own. The order is what makes it right:
//
//  1. Their partitions are paused.
//  2. Instances that are gone from the group are fenced, which ends what they
//     had open. This instance's own id was taken over when the session opened.
//  3. The group's offsets are asked for. The brokers answer when no commit is
//     pending any more.
//  4. Only then the ends of the changelogs: before, they may be too low. And
//     only when every transaction that is open there has ended: a commit that
//     the group knows of may not have reached its changelogs yet.
//  5. The changelogs are read from the positions on disk to those ends.
//  6. What each store reflects must be what the group has committed.
//  7. Watermarks and timers are set, and the partitions go on.
func (in *instance) start(ctx context.Context, units []*unit) {
	for _, u := range units {
		u.ctx, u.cancel = context.WithCancel(ctx)
		u.turn = in.turns[u.key].next()
		if !in.options.faults.noTurns {
			in.turns[u.key] = u.turn
		}
	}
	in.starters.Go(func() {
		in.options.faults.reach(beforeRestore)
		s := &starter{in: in, ctx: ctx}
		units := s.lookAt(units)
		var wg sync.WaitGroup
		room := make(chan struct{}, restoreAtOnce)
		for _, u := range units {
			room <- struct{}{}
			wg.Go(func() {
				tasks, err := s.unit(u)
				u.turn.end()
				s.tell(startResult{u, tasks, err})
				<-room
			})
		}
		wg.Wait()
	})
}

// restoreAtOnce bounds how many units are restored at the same time, and with
// it the memory for what is fetched.
const restoreAtOnce = 4

// turn makes the starts of one unit use its place on disk one after the other.
// One that was given away may still be writing when the unit comes back, and what
// it writes is older than what its successor, or that one's tasks, have written.
type turn struct {
	before <-chan struct{} // closed when the start before this one has let go; nil: there is none
	over   chan struct{}   // closed when this one has
}

// next is the turn after t, which may be the zero value.
func (t turn) next() turn { return turn{t.over, make(chan struct{})} }

// await waits until the disk is free: as long as a restore that is cancelled
// needs to notice.
func (t turn) await() {
	if t.before != nil {
		<-t.before
	}
}

// end lets the next one begin. The start must write nothing any more.
func (t turn) end() {
	t.await()
	close(t.over)
}

// starter is one start of some units.
type starter struct {
	in        *instance
	ctx       context.Context
	committed map[record.TopicPartition]client.Position
	spans     map[record.TopicPartition]client.Span
}

// tell hands a result to the loop, which may have ended.
func (s *starter) tell(r startResult) {
	select {
	case s.in.started <- r:
		s.in.session.Wake()
	case <-s.in.engine.life.Done():
	}
}

// lookAt does steps 2 to 4, and returns the units that can go on. The others are
// told why not.
func (s *starter) lookAt(units []*unit) []*unit {
	for len(units) > 0 {
		err := s.look(units)
		if err == nil {
			return units
		}
		rest := s.unconcerned(units, err)
		for _, u := range units {
			if !slices.Contains(rest, u) {
				s.tell(startResult{unit: u, err: err})
				u.turn.end()
			}
		}
		units = rest
	}
	return nil
}

// unconcerned are the units that an error says nothing about: when an input does
// not exist, those that do not read it.
func (s *starter) unconcerned(units []*unit, err error) []*unit {
	unknown, deleted := errors.AsType[client.UnknownTopicError](err)
	if !deleted {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(units), func(u *unit) bool {
		return slices.Contains(s.in.layout.groups[u.key.group].topics, unknown.Topic)
	})
}

// look does steps 2 to 4.
func (s *starter) look(units []*unit) error {
	var inputs, changelogs []record.TopicPartition
	for _, u := range units {
		inputs = append(inputs, s.in.partitionsOf(u.key)...)
		changelogs = append(changelogs, s.in.changelogsOf(u.key)...)
	}
	if s.in.options.faults.readEndFirst {
		if err := s.ends(inputs, changelogs); err != nil {
			return err
		}
	}
	gone := s.in.session.Gone()
	if s.in.options.faults.noFence {
		gone = nil
	}
	if err := s.in.session.Fence(s.ctx, gone); err != nil {
		// A peer that cannot be fenced holds the end of the changelog back until
		// its transaction times out. The brokers wait for that; so do we.
		s.in.options.Logger.Warn("an instance that is gone could not be fenced", "job", s.in.options.Plan.App, "err", err)
	}
	var err error
	if s.committed, err = s.in.session.Committed(s.ctx, inputs); err != nil {
		return err
	}
	if s.in.options.faults.readEndFirst {
		return nil
	}
	return s.ends(inputs, changelogs)
}

// ends asks how far the inputs and the changelogs can be read.
func (s *starter) ends(inputs, changelogs []record.TopicPartition) error {
	var err error
	if s.spans, err = s.in.admin.ExistingSpans(s.ctx, topicNames(inputs)...); err != nil {
		return err
	}
	look := s.in.admin.Decided
	if s.in.options.faults.readEndFirst {
		look = func(ctx context.Context, tps []record.TopicPartition) (map[record.TopicPartition]client.Span, error) {
			return s.in.admin.Spans(ctx, topicNames(tps)...)
		}
	}
	spans, err := look(s.ctx, changelogs)
	maps.Copy(s.spans, spans)
	return err
}

func topicNames(partitions []record.TopicPartition) []record.Topic {
	var topics []record.Topic
	for _, tp := range partitions {
		if !slices.Contains(topics, tp.Topic) {
			topics = append(topics, tp.Topic)
		}
	}
	return topics
}

func (s *starter) unit(u *unit) ([]*task, error) {
	u.turn.await()
	var tasks []*task
	for _, i := range s.in.layout.groups[u.key.group].subs {
		sub := &s.in.layout.plan.Subs[i]
		if int32(u.key.p) >= tasksOf(sub, s.in.layout.facts) {
			continue
		}
		t, err := s.task(u, sub)
		if damage, ok := errors.AsType[*store.DamageError](err); ok {
			t, err = s.afterDamage(u, sub, damage)
		}
		if err != nil {
			return nil, fmt.Errorf("start task %d of sub-topology %d: %w", u.key.p, sub.ID, err)
		}
		tasks = append(tasks, t)
	}
	s.in.options.faults.reach(afterRestore)
	return tasks, nil
}

// afterDamage drops the entries of the one store that cannot be read, and
// starts the task again: its changelog has them.
func (s *starter) afterDamage(u *unit, sub *topology.Sub, damage *store.DamageError) (*task, error) {
	s.in.options.Logger.Error("state on disk is damaged: it is dropped and restored from the changelog", "job", s.in.options.Plan.App, "err", damage)
	part, err := s.in.db.Part(damage.Store, damage.Partition)
	if err == nil {
		err = part.Clear()
	}
	if err != nil {
		return nil, err
	}
	return s.task(u, sub)
}

// task does steps 5 to 7 for one task.
func (s *starter) task(u *unit, sub *topology.Sub) (*task, error) {
	l, p := s.in.layout, u.key.p
	t := &task{options: s.in.options, sub: sub, p: p, inputs: l.inputsOf(sub, p), origins: origins(&l.plan, sub, l.facts), flushed: s.in.options.Now()}
	committed := make(map[record.TopicPartition]record.Offset)
	ids := make(map[record.Topic][16]byte)
	for _, i := range t.inputs {
		at := s.committed[i.tp]
		i.committed, i.leaderEpoch, i.start = at.Offset, at.LeaderEpoch, s.spans[i.tp].Start
		i.topicID, i.next = l.facts[i.tp.Topic].ID, i.position()
		committed[i.tp], ids[i.tp.Topic] = at.Offset, i.topicID
	}
	for _, o := range t.origins {
		ids[o.topic] = o.topicID
	}
	progress := s.committed[t.inputs[0].tp].Note
	cfg := l.taskConfig(s.in.options, sub, p)
	t.out = newOutput(s.in.session, sub, p, l.facts)
	for _, spec := range sub.Stores {
		ts, c, err := s.store(u, t, spec)
		if err != nil {
			return nil, err
		}
		if err := checkState(spec, c, committed, p, ids); err != nil {
			return nil, err
		}
		if progress = nil; c != nil {
			progress, t.last = c.progress, c
		}
		backing, err := ts.part.NewReader()
		if err != nil {
			return nil, err
		}
		cfg.Backings = append(cfg.Backings, state.Backing(backing))
		t.stores = append(t.stores, ts)
	}
	if err := t.make(cfg, progress); err != nil {
		return nil, err
	}
	for _, i := range t.inputs {
		if i.next >= s.spans[i.tp].Stable {
			t.pending = append(t.pending, topology.Batch{Source: i.source, Partition: p, AtEnd: true})
		}
	}
	return t, nil
}

func (t *task) make(cfg topology.TaskConfig, progress []byte) error {
	step, err := t.sub.NewTask(cfg)
	if err != nil {
		return err
	}
	if len(progress) > 0 {
		if err := step.LoadProgress(progress); err != nil {
			return err
		}
	}
	for i, table := range step.Tables() {
		t.stores[i].table = table
	}
	t.step = step
	return nil
}
