package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
	"millrace/internal/vfs/crashfs"
)

// timedGroups is groups without a broker behind them: enough for their clocks.
func timedGroups(count int) (*groups, []*liveGroup) {
	g := &groups{timers: newGroupTimers()}
	s := &shard{g: g}
	all := make([]*liveGroup, count)
	for i := range all {
		all[i] = &liveGroup{shard: s}
		all[i].timer.init(all[i])
	}
	return g, all
}

// The heap gives groups in the order of their times, whatever is set and
// cancelled in between; a later time than before does not move an entry.
func TestTimersComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	g, all := timedGroups(50)
	start := time.Now()
	want := map[*liveGroup]time.Time{}
	for range 2000 {
		lg := all[rng.IntN(len(all))]
		if rng.IntN(5) == 0 {
			g.timers.cancel(lg)
			delete(want, lg)
			continue
		}
		at := start.Add(time.Duration(rng.IntN(1_000_000)))
		if before, planned := want[lg]; !planned || at.Before(before) {
			want[lg] = at
		}
		g.timers.set(lg, at)
	}
	var times []time.Time
	for {
		lg, _ := g.timers.take(start.Add(time.Hour))
		if lg == nil {
			break
		}
		times = append(times, want[lg])
		delete(want, lg)
	}
	if len(want) > 0 || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("%d entries are missing; sorted: %v", len(want), slices.IsSortedFunc(times, time.Time.Compare))
	}
}

// joinOne makes a stable group of one member, past the wire.
func joinOne(t *testing.T, b *Broker, id string, session time.Duration) *liveGroup {
	t.Helper()
	s, err := b.groups.ensureShard(id)
	if err != nil {
		t.Fatal(err)
	}
	lg := s.lockGroup(id, true)
	defer lg.unlock()
	token, _ := lg.park()
	lg.carryOut(lg.mu.group.Join(time.Now(), group.JoinRequest{
		Token: token, NewMemberID: "m", SessionTimeout: session, RebalanceTimeout: session,
		ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range"}},
	}))
	token, _ = lg.park()
	lg.carryOut(lg.mu.group.Sync(time.Now(), group.SyncRequest{Token: token, MemberID: "m", Generation: 1}))
	return lg
}

func members(lg *liveGroup) int {
	lg.mu.Lock()
	defer lg.mu.Unlock()
	return lg.mu.group.MemberCount()
}

// bubble is a broker on a fake clock and on a disk in memory.
type bubble struct {
	*Broker
	disk *crashfs.FS
	gate atomic.Pointer[chan struct{}] // whoever asks for the wall clock waits here
}

// inBubble runs the test. A stall in it must not be one of a mutex: then the
// bubble's clock would stand still.
func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{disk: crashfs.New()}
		now := func() time.Time {
			if gate := b.gate.Load(); gate != nil {
				<-*gate
			}
			return time.Now()
		}
		var err error
		if b.Broker, err = Open(Config{FS: b.disk, Now: now, Group: group.Config{InitialRebalanceDelay: -1}}); err != nil {
			t.Fatal(err)
		}
		test(t, b)
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// stall holds up whoever asks for the wall clock, for so long.
func (b *bubble) stall(d time.Duration) {
	gate := make(chan struct{})
	b.gate.Store(&gate)
	time.Sleep(d)
	b.gate.Store(nil)
	close(gate)
	synctest.Wait()
}

// pass lets time go by on the bubble's clock, and all goroutines come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A session ends on time, and not before.
func TestSessionsEndOnTime(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		short, long := joinOne(t, b.Broker, "short", 10*time.Second), joinOne(t, b.Broker, "long", 30*time.Second)
		for _, at := range []struct {
			after       time.Duration
			short, long int
		}{{9900 * time.Millisecond, 1, 1}, {200 * time.Millisecond, 0, 1}, {19 * time.Second, 0, 1}, {time.Second, 0, 0}} {
			pass(at.after)
			if s, l := members(short), members(long); s != at.short || l != at.long {
				t.Errorf("after %v more: %d and %d members, want %d and %d", at.after, s, l, at.short, at.long)
			}
		}
	})
}

// Fault 11: while the disk does not sync, a client waits for its commit and
// cannot send heartbeats. Its session does not end for that, and starts anew
// afterwards.
func TestStalledSyncEndsNoSession(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		lg := joinOne(t, b.Broker, "g", 10*time.Second)
		pass(time.Second)
		stalled := make(chan struct{})
		b.disk.OnOp(func(op crashfs.Op) {
			if op.Kind == crashfs.SyncData && strings.Contains(op.Name, "__consumer_offsets") {
				<-stalled
			}
		}, nil)
		appendSomething(lg)
		pass(time.Minute)
		close(stalled)
		synctest.Wait()
		expectSession(t, lg, 10*time.Second)
	})
}

// The same for an append that takes long.
func TestStalledAppendEndsNoSession(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		lg := joinOne(t, b.Broker, "g", 10*time.Second)
		pass(time.Second)
		lg.lock()
		go func() {
			defer lg.unlock()
			_, _ = lg.append([]offsetsRecord{{key: groupKey("other")}})
		}()
		b.stall(8 * time.Second)
		pass(2 * time.Second) // 11 s after the join
		expectSession(t, lg, 9*time.Second)
	})
}

func appendSomething(lg *liveGroup) {
	lg.lock()
	defer lg.unlock()
	_, _ = lg.append([]offsetsRecord{{key: groupKey("other")}})
}

// expectSession fails unless the member's session ends within d, and not more
// than two seconds earlier.
func expectSession(t *testing.T, lg *liveGroup, d time.Duration) {
	t.Helper()
	pass(d - 2*time.Second)
	if members(lg) != 1 {
		t.Error("the session ended while the member could not be heard")
	}
	pass(3 * time.Second)
	if members(lg) != 0 {
		t.Error("the session never ends")
	}
}

// Fault 14, the broker itself: when it was stopped, no member could be heard.
func TestHeldUpBrokerEndsNoSession(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		lg, first := joinOne(t, b.Broker, "g", 10*time.Second), joinOne(t, b.Broker, "first", 6*time.Second)
		pass(5 * time.Second)
		b.stall(time.Minute) // the goroutine that watches the clocks is in it from the first's end on
		if members(first) != 0 {
			t.Error("the first member's session did not end")
		}
		expectSession(t, lg, 10*time.Second)
	})
}

// Fault 16: a wall clock that jumps ends no session and, at first, no offset.
func TestWallClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var jump time.Duration
		c := wallClock{now: func() time.Time { return time.Now().Add(jump) }}
		for _, step := range []struct{ jump, want time.Duration }{
			{0, 0}, {0, 0}, {time.Hour, time.Hour}, {time.Hour, 0}, {-87600 * time.Hour, -87601 * time.Hour}, {30*time.Second - 87600*time.Hour, 30 * time.Second},
		} {
			time.Sleep(expiryInterval)
			jump = step.jump
			if by, jumped := c.jumped(); by != step.want || jumped != (step.want.Abs() > toleratedJump) {
				t.Errorf("at %v: jumped by %v: %v", step.jump, by, jumped)
			}
		}
	})
}

// At the bound of memory nothing new comes in, and what is there goes on.
func TestGroupMemoryIsBounded(t *testing.T) {
	b := openTest(t, Config{Group: group.Config{InitialRebalanceDelay: -1}})
	if err := b.catalog.create([]topicSpec{{name: "t", partitions: 2}})[0]; err != nil {
		t.Fatal(err)
	}
	commit := func(partition int32) int16 {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, "g", -1
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: partition}}}}
		resp := offsetCommitResponse(req)
		_, err := b.groups.commit(req, resp)
		return max(groupCodeOf(err), resp.Topics[0].Partitions[0].ErrorCode)
	}
	if code := commit(0); code != 0 {
		t.Fatalf("code %d", code)
	}
	b.groups.memory.Add(groupMemory)
	if code := commit(1); code != kerr.InvalidCommitOffsetSize.Code {
		t.Errorf("a new offset: code %d", code)
	}
	if code := commit(0); code != 0 {
		t.Errorf("an offset that moves: code %d", code)
	}
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.SessionTimeoutMillis, join.ProtocolType = "g", 10_000, "consumer"
	if _, err := b.groups.join(&conn{}, join, "c"); !errors.Is(err, group.ErrGroupFull) {
		t.Errorf("a new member: %v", err)
	}
	join.MemberID = "m"
	joinOne(t, b, "members", 10*time.Second)
	join.Group = "members"
	if _, err := b.groups.join(&conn{}, join, ""); err != nil {
		t.Errorf("a member that joins again: %v", err)
	}
	b.groups.memory.Add(-groupMemory)
	if code := commit(1); code != 0 {
		t.Errorf("when there is room again: code %d", code)
	}
}
