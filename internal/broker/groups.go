package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
	"millrace/record"
)

// groups is the edge of the consumer groups. It owns their state machines
// (package group), the offsets topic that makes them durable, and the two
// goroutines that watch clocks: groupTimers for members, the keeper for old
// offsets. The rest of the broker knows it by what is
// in this file.
//
// A request locks one group, lets it decide, appends what must survive, and
// unlocks; it waits for nothing. The reply waits: for other members if the group
// parked the request, then for the sync of what the group had appended when it
// answered. So an answer never shows what a power cut can take back, one commit
// waits for one sync however many partitions it names (C3), and no lock is held
// during a sync.
//
// Locks are taken in this order, and none is held while waiting for a disk
// sync or a member: liveGroup.mu; then shard.mu, groupTimers.mu or the log's own.
//
// What is bounded, and what happens at the bound: members of a group by
// group.Config (GROUP_MAX_SIZE_REACHED); groups, members and offsets together by
// groupMemory (GROUP_MAX_SIZE_REACHED for a member, INVALID_COMMIT_OFFSET_SIZE
// for an offset); parked requests by the members, at most one join and one sync
// each; the offsets topic by compaction.
type groups struct {
	b      *Broker
	cfg    group.Config
	timers *groupTimers

	shards   atomic.Pointer[[]*shard] // nil until the offsets topic exists
	creating sync.Mutex               // held while it is made

	memory     atomic.Int64 // about what all groups hold, in bytes
	rebalances atomic.Int64 // generations that were begun

	stop    context.CancelFunc
	running sync.WaitGroup
}

// groupMemory bounds what all groups hold together, in bytes.
const groupMemory = 512 << 20

// openGroups reads the groups of the data directory. The catalog is open.
func openGroups(b *Broker) (*groups, error) {
	g := &groups{b: b, cfg: b.cfg.Group, timers: newGroupTimers()}
	if t := b.catalog.topics.named(offsetsTopic); t != nil {
		g.openShards(t)
		g.load()
	}
	if b.cfg.Registerer != nil {
		b.cfg.Registerer.MustRegister(newLagCollector(g))
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.running.Go(func() { g.timers.run(ctx, g) })
	g.running.Go(func() { g.keep(ctx) })
	return g, nil
}

// handlers are the request kinds that groups answer.
func (g *groups) handlers() map[kmsg.Key]handler {
	return map[kmsg.Key]handler{
		kmsg.FindCoordinator: on(g.findCoordinator),
		kmsg.JoinGroup:       g.joinGroup,
		kmsg.SyncGroup:       on(g.syncGroup),
		kmsg.Heartbeat:       on(g.heartbeat),
		kmsg.LeaveGroup:      on(g.leaveGroup),
		kmsg.DescribeGroups:  on(g.describeGroups),
		kmsg.ListGroups:      on(g.listGroups),
		kmsg.DeleteGroups:    on(g.deleteGroups),
		kmsg.OffsetCommit:    on(g.offsetCommit),
		kmsg.OffsetFetch:     on(g.offsetFetch),
		kmsg.OffsetDelete:    on(g.offsetDelete),
	}
}

// topicDeleted forgets the offsets of a topic that is gone: a topic made again
// under its name starts without them. It waits for the disk.
func (g *groups) topicDeleted(t record.Topic) {
	gone := func(tp record.TopicPartition) bool { return tp.Topic == t }
	g.forgetOffsets(gone, "topic deleted")
}

// close stops the timers of the groups. No handler and no reply runs any more.
func (g *groups) close() error {
	g.stop()
	g.running.Wait()
	return nil
}

// now is the wall clock, for what is stored. Sessions go by time.Now, whose
// monotonic reading no clock jump touches.
func (g *groups) now() time.Time { return g.b.cfg.Now() }

// each calls do for every group, locked, until ctx ends.
func (g *groups) each(ctx context.Context, do func(*liveGroup)) {
	for _, s := range g.allShards() {
		for _, lg := range s.all() {
			if ctx.Err() != nil {
				return
			}
			if lg.lock() {
				do(lg)
				lg.unlock()
			}
		}
	}
}
