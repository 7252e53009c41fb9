package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/internal/client"
	"millrace/record"
)

// commit ends the open transaction and begins the next one:
//
//  1. Every task that has taken part sends its outputs, one changelog record per
//     changed key, and its commit record.
//  2. All records must be acknowledged. One that failed spoils the transaction.
//  3. The input offsets go into the transaction, with member id and generation,
//     and it ends.
//  4. Only when the brokers have said that it is committed do the tables move.
//     Anything else goes to resolve.
//
// Nothing is polled meanwhile: what was polled is committed.
func (in *instance) commit(ctx context.Context) error {
	began := in.options.Now()
	tasks := in.participants()
	if err := in.each(tasks, (*task).prepare); err != nil {
		if in.damaged(err) {
			return in.dropSpoiled(ctx)
		}
		return in.giveUp(err)
	}
	in.options.faults.reach(afterPrepare)
	if in.options.faults.flushOpen {
		in.leak(tasks)
	}
	ctx, cancel := in.patiently(ctx)
	defer cancel()
	if err := in.waiting(func() error { return in.session.Flush(ctx) }); err != nil {
		return err
	}
	if err := in.session.Failed(); err != nil {
		return in.abandon(ctx, err)
	}
	in.options.faults.reach(afterSent)
	positions := in.positions(tasks)
	if in.options.faults.applyEarly {
		in.apply(tasks)
		in.flushAll(tasks)
	}
	var committed bool
	err := in.waiting(func() (err error) {
		committed, err = in.session.Commit(ctx, positions)
		return err
	})
	in.options.faults.reach(afterEnd)
	if !committed && !in.options.faults.guessCommitted {
		return in.resolve(ctx, err)
	}
	if !in.options.faults.applyEarly {
		in.apply(tasks)
	}
	in.options.faults.reach(afterApply)
	if err := in.session.Begin(); err != nil {
		return err
	}
	now := in.options.Now()
	in.limits = in.limits.adapt(*in.options, in.open, now.Sub(began))
	in.engine.metrics.committed(in.open, now, now.Sub(began))
	in.open = opened{}
	in.engine.committed(now)
	in.engine.settled()
	return in.afterCommit(now)
}

// patiently is a context for ending a transaction. It outlives ctx by the
// StopTimeout, so that a stop does not spoil what is nearly done, and ends after
// twice the transaction timeout: by then the brokers have decided, and the
// session is given up.
func (in *instance) patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*in.options.TransactionTimeout)
	unhurry := context.AfterFunc(ctx, func() { time.AfterFunc(in.options.StopTimeout, cancel) })
	return patient, func() {
		unhurry()
		cancel()
	}
}

// hurry gives up what is still on its way to the brokers when a stop has taken
// its time: a step may wait for room to send.
func (in *instance) hurry(ctx context.Context, ended <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-ended:
		return
	}
	select {
	case <-time.After(in.options.StopTimeout):
		in.session.Abandon()
	case <-ended:
	}
}

// participants are the tasks that have something in the open transaction.
func (in *instance) participants() []*task {
	var all []*task
	for _, t := range in.running() {
		if t.changed {
			all = append(all, t)
		}
	}
	return all
}

func (in *instance) positions(tasks []*task) map[record.TopicPartition]client.Position {
	all := make(map[record.TopicPartition]client.Position)
	for _, t := range tasks {
		t.positions(all)
	}
	return all
}

func (in *instance) apply(tasks []*task) {
	for _, t := range tasks {
		t.commit()
	}
}

// abandon aborts the open transaction, for a reason that is known.
func (in *instance) abandon(ctx context.Context, why error) error {
	if err := in.waiting(func() error { return in.session.Abort(ctx) }); err != nil {
		why = fmt.Errorf("%w; %w", why, err)
	}
	return in.resolve(ctx, why)
}

// resolve goes on after a transaction that is not known to be committed. It
// does not guess: it makes the outcome certain, asks where the group stands,
// and holds that against the tables. A task that stands there drops what was
// open and reads its input again; one that does not is started anew, and the
// changelog brings what was committed.
func (in *instance) resolve(ctx context.Context, why error) error {
	in.engine.metrics.aborts.Inc()
	in.engine.refused(why)
	in.limits = in.limits.refused()
	in.options.Logger.Info("a transaction was not committed: its outcome is asked for", "job", in.options.Plan.App, "err", why)
	in.options.faults.reach(beforeSettle)
	if err := in.waiting(func() error { return in.session.Settle(ctx) }); err != nil {
		return err
	}
	in.options.faults.reach(afterSettle)
	committed, err := in.standing(ctx)
	if err != nil {
		return err
	}
	in.open = opened{}
	for _, u := range in.unitsOf(runningPhase) {
		if in.judge(u, committed) == moved {
			in.restart(u)
			continue
		}
		for _, t := range u.tasks {
			t.abort()
		}
	}
	in.rewind(committed)
	return in.session.Begin()
}

// standing asks where the group stands in the inputs of the running tasks. Those
// whose input does not exist any more stop, the others are asked for again.
func (in *instance) standing(ctx context.Context) (committed map[record.TopicPartition]client.Position, err error) {
	for {
		tasks := in.running()
		inputs := in.partitionsOfTasks(tasks)
		err := in.waiting(func() (err error) {
			committed, err = in.session.Committed(ctx, inputs)
			return err
		})
		unknown, gone := errors.AsType[client.UnknownTopicError](err)
		if !gone {
			return committed, err
		}
		if err := in.faulty(unknown); err != nil || len(in.running()) == len(tasks) {
			return nil, errors.Join(unknown, err)
		}
	}
}

func (in *instance) judge(u *unit, committed map[record.TopicPartition]client.Position) verdict {
	if in.options.faults.guessAborted {
		return dropped
	}
	reflects := make(map[record.TopicPartition]record.Offset)
	now := make(map[record.TopicPartition]record.Offset)
	for _, t := range u.tasks {
		for _, i := range t.inputs {
			reflects[i.tp], now[i.tp] = i.committed, committed[i.tp].Offset
		}
	}
	return judge(reflects, now)
}

// rewind makes the running tasks' partitions go on where the tables stand.
func (in *instance) rewind(committed map[record.TopicPartition]client.Position) {
	back := make(map[record.TopicPartition]client.Position)
	for _, t := range in.running() {
		for _, i := range t.inputs {
			back[i.tp] = client.Position{Offset: i.next, LeaderEpoch: committed[i.tp].LeaderEpoch}
		}
	}
	in.session.Rewind(back)
}

func (in *instance) partitionsOfTasks(tasks []*task) []record.TopicPartition {
	var all []record.TopicPartition
	for _, t := range tasks {
		for _, i := range t.inputs {
			all = append(all, i.tp)
		}
	}
	return all
}

func (in *instance) unitsOf(p phase) []*unit {
	var all []*unit
	for _, u := range in.units {
		if u.phase == p {
			all = append(all, u)
		}
	}
	return all
}

// lastCommit ends a session cleanly: it commits what is open, if anything is,
// and brings the disk up to date. Both may fail: the next start finds out.
func (in *instance) lastCommit() error {
	ending, cancel := context.WithCancel(context.Background())
	cancel() // what is left is the StopTimeout
	if len(in.participants()) > 0 {
		if err := in.commit(ending); err != nil {
			return err
		}
	}
	now := in.options.Now()
	for _, t := range in.running() {
		if err := t.flush(in.db, now); err != nil {
			return err
		}
	}
	return nil
}

// afterCommit keeps memory and the age of the disk within their bounds.
func (in *instance) afterCommit(now time.Time) error {
	var dirty, cache int64
	tasks := in.running()
	for _, t := range tasks {
		m := t.step.Memory()
		dirty, cache = dirty+m.DirtyBytes, cache+m.CacheBytes
	}
	if dirty > in.options.dirtyBytes() || cache > in.options.tableBytes() {
		in.flushAll(tasks)
	}
	if over := cache - in.options.tableBytes(); over > 0 {
		for _, t := range tasks {
			// Each gives in proportion, and a tenth more: not again right after this.
			t.evict(float64(in.options.tableBytes()) * 0.9 / float64(cache))
		}
	}
	in.engine.metrics.memory.Set(float64(cache))
	return nil
}

func (in *instance) flushAll(tasks []*task) {
	now := in.options.Now()
	for _, t := range tasks {
		in.flush(t, now)
	}
}

// evict makes the tables give up clean entries down to a share of their size.
func (t *task) evict(share float64) {
	for _, s := range t.stores {
		s.table.Evict(int64(float64(s.table.CacheBytes()) * share))
	}
}

// flushDue flushes tasks whose position on disk has come of age, quiet ones too:
// a position that falls behind compaction would cost a rebuild.
func (in *instance) flushDue(now time.Time) {
	some := false
	for _, t := range in.running() {
		age := now.Sub(t.flushed)
		if t.behind && age >= in.options.FlushInterval || age >= quietFlush {
			in.flush(t, now)
			some = true
		}
	}
	if some {
		if err := in.db.Persist(); err != nil {
			in.engine.trouble(err)
		}
	}
}

// quietFlush is when also the position of a store without changes is stored.
const quietFlush = 5 * time.Minute

// flush brings the disk up to date for one task. A disk that refuses costs
// memory and a longer restore, no result: the changelog has everything.
func (in *instance) flush(t *task, now time.Time) {
	in.options.faults.reach(beforeFlush)
	if err := t.flush(in.db, now); err != nil {
		in.engine.trouble(err)
		return
	}
	in.engine.trouble(nil)
	in.options.faults.reach(afterFlush)
}
