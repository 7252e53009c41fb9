package broker

import (
	"sync"
	"time"

	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/record"
)

// liveGroup is one group with its lock, its parked requests and its place in
// the log. All fields of mu belong to who holds the lock.
type liveGroup struct {
	id    string
	shard *shard
	timer groupTimer

	loaded bool // found in the log at the start

	mu struct {
		sync.Mutex
		group     *group.Group
		parked    map[group.Token]chan<- groupAnswer
		lastToken group.Token
		written   written
		writtenAt time.Time
		stored    record.Offset // where the group's own record lies; -1: nowhere
		heldUp    bool          // an append took so long that heartbeats were not heard
		counted   int           // bytes, in groups.memory
	}
}

// groupAnswer is what a parked request gets: one of the two answers, and what
// must be durable before the client may see it.
type groupAnswer struct {
	join    group.JoinAnswer
	sync    group.SyncAnswer
	written written
}

// written is the last record that a group appended; the zero value is none.
type written struct {
	log.Appended
	any bool
}

// wait returns when the record, and so all before it, is durable.
func (w written) wait(b *Broker) error {
	if !w.any {
		return nil
	}
	return w.Wait(b.syncing)
}

func newLiveGroup(s *shard, id string) *liveGroup {
	lg := &liveGroup{id: id, shard: s}
	lg.timer.init(lg)
	lg.mu.group = group.New(id, s.g.cfg, time.Now())
	lg.mu.parked = map[group.Token]chan<- groupAnswer{}
	lg.mu.stored = -1
	return lg
}

// lock returns false, without the lock, when the group has been removed.
func (lg *liveGroup) lock() bool {
	lg.mu.Lock()
	if lg.mu.group.State() == group.Dead {
		lg.mu.Unlock()
		return false
	}
	lg.mu.group.SetWall(record.TimestampOf(lg.shard.g.now()))
	return true
}

// unlock brings the rest of the broker up to date with the group and lets go of it.
func (lg *liveGroup) unlock() {
	g := lg.shard.g
	if lg.mu.group.Idle() && len(lg.mu.parked) == 0 {
		lg.drop()
	}
	if lg.mu.group.State() == group.Dead {
		g.memory.Add(-int64(lg.mu.counted))
		g.timers.cancel(lg)
	} else {
		size := lg.mu.group.SizeBytes()
		g.memory.Add(int64(size - lg.mu.counted))
		lg.mu.counted = size
		g.timers.set(lg, lg.mu.group.Next())
	}
	lg.mu.Unlock()
}

// drop removes the group from memory. What a restart must not find again has
// its tombstones.
func (lg *liveGroup) drop() {
	lg.mu.group.Kill(time.Now())
	lg.shard.remove(lg)
}

// park makes the token under which the group will answer, and the channel on
// which the reply waits.
func (lg *liveGroup) park() (group.Token, <-chan groupAnswer) {
	lg.mu.lastToken++
	answer := make(chan groupAnswer, 1) // a reply that has gone must not hold the group up
	lg.mu.parked[lg.mu.lastToken] = answer
	return lg.mu.lastToken, answer
}

// carryOut does what the group asks for: it stores, then answers.
func (lg *liveGroup) carryOut(e group.Effects) {
	for {
		lg.report(e)
		if e.Store == nil {
			lg.answer(e)
			return
		}
		before := e
		e = lg.mu.group.Stored(time.Now(), lg.store(*e.Store))
		lg.answer(before)
	}
}

func (lg *liveGroup) report(e group.Effects) {
	if e.Changed == "" {
		return
	}
	g := lg.shard.g
	if lg.mu.group.State() == group.CompletingRebalance {
		g.rebalances.Add(1)
	}
	g.b.logger.Debug("consumer group changes", "group", lg.id, "state", lg.mu.group.State().String(),
		"generation", lg.mu.group.Generation(), "members", lg.mu.group.MemberCount(), "reason", e.Changed)
}

func (lg *liveGroup) answer(e group.Effects) {
	for _, a := range e.Joins {
		lg.unpark(a.Token, groupAnswer{join: a, written: lg.mu.written})
	}
	for _, a := range e.Syncs {
		lg.unpark(a.Token, groupAnswer{sync: a, written: lg.mu.written})
	}
}

func (lg *liveGroup) unpark(t group.Token, a groupAnswer) {
	lg.mu.parked[t] <- a
	delete(lg.mu.parked, t)
}

// store appends the group's own record.
func (lg *liveGroup) store(s group.Snapshot) error {
	a, err := lg.append([]offsetsRecord{groupRecord(lg.id, s)})
	if err == nil {
		lg.mu.stored = a.Base
	}
	return err
}

// append writes records of this group. Every later answer waits for them.
func (lg *liveGroup) append(records []offsetsRecord) (log.Appended, error) {
	start := time.Now()
	a, err := lg.shard.append(records)
	end := time.Now()
	lg.mu.heldUp = lg.mu.heldUp || end.Sub(start) > heldUpAfter
	if err == nil {
		lg.mu.written, lg.mu.writtenAt = written{Appended: a, any: true}, end
	}
	return a, err
}

// heldUpAfter is how late the broker must be for sessions not to end: what it
// did not hear it cannot hold against the members (fault 11: no fencing storm).
const heldUpAfter = 2 * time.Second

// expire ends what has lasted too long, unless the disk has: then clients wait
// for answers and cannot send heartbeats, and their sessions start anew.
func (lg *liveGroup) expire(now time.Time) {
	if lg.mu.heldUp || lg.diskStalls(now) {
		lg.mu.heldUp = false
		lg.mu.group.Resume(now)
	}
	lg.carryOut(lg.mu.group.Expire(now))
}

// diskStalls reports whether an answer waits for a sync that does not come. A
// sync that failed for good does not count: nothing will get better.
func (lg *liveGroup) diskStalls(now time.Time) bool {
	w := lg.mu.written
	return w.any && now.Sub(lg.mu.writtenAt) > heldUpAfter &&
		lg.shard.log.HighWatermark() <= w.Last && lg.shard.log.Failed() == nil
}

// topicPartitionExists is asked with the lock held, so that a topic that is being
// deleted is either refused here or finds the offset when it forgets them.
func (lg *liveGroup) topicPartitionExists(topic string, partition int32) bool {
	t := lg.shard.g.b.catalog.topics.named(topic)
	return t != nil && t.log(partition) != nil
}

// hasRoom is asked before a group grows by about that many bytes.
func (g *groups) hasRoom(bytes int) bool { return g.memory.Load()+int64(bytes) <= groupMemory }
