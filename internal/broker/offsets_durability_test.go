package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/group"
	"millrace/internal/vfs/crashfs"
)

// C3, C4: what was acknowledged about a group is there after a power cut of any
// kind, after kill -9 and after a clean stop: offsets, members, generation.
func TestGroupsSurvive(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m := newMember(t, n, "g")
	m.instance = kmsg.StringPtr("i")
	m.createTopic("t", 3)
	m.start()
	m.mustCommit("t", 10, 20, 30)
	m.mustCommit("t", 11, 21)
	simple := outside(t, n, "simple")
	simple.mustCommit("t", 5)

	images := map[string]*crashfs.FS{"kill -9": fsys.Clone()}
	for i, policy := range crashfs.Policies() {
		images[policy.String()] = fsys.Crash(policy, uint64(i))
	}
	n.stop(t)
	images["clean stop"] = fsys
	for name, image := range images {
		t.Run(name, func(t *testing.T) {
			again := serveGroups(t, image)
			m, simple := m.reconnect(again), simple.reconnect(again)
			m.t = t
			if got, want := fetched(m.fetchAll()), "t-0=11 t-1=21 t-2=30 "; got != want {
				t.Errorf("offsets %s, want %s", got, want)
			}
			if got := simple.committed("t"); got != 5 {
				t.Errorf("the simple group is at %d", got)
			}
			if code := m.heartbeat(4); code != 0 {
				t.Errorf("the member's heartbeat: code %d", code)
			}
			if r := m.sync(5, nil); r.ErrorCode != 0 || string(r.MemberAssignment) != "all" {
				t.Errorf("the member's work: code %d, %q", r.ErrorCode, r.MemberAssignment)
			}
			m.mustCommit("t", 12)
			again.stop(t)
		})
	}
}

func (m *member) fetchAll() *kmsg.OffsetFetchResponse {
	m.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: m.group}}
	return call[*kmsg.OffsetFetchResponse](m.rawConn, 8, req)
}

// C3: one commit waits for one sync, however many partitions it names.
func TestCommitCostsOneSync(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m := outside(t, n, "g")
	m.createTopic("t", 200)
	m.mustCommit("t", 1)
	var syncs atomic.Int32
	fsys.OnOp(nil, func(op crashfs.Op) {
		if op.Kind == crashfs.SyncData && strings.Contains(op.Name, "__consumer_offsets") || op.Kind == crashfs.SyncAll {
			syncs.Add(1)
		}
	})
	m.mustCommit("t", make([]int64, 200)...)
	if got := syncs.Load(); got != 1 {
		t.Errorf("%d syncs for one commit", got)
	}
}

// Nothing about a group is told before it is on stable storage: not to the
// member that commits, and not to others that look.
func TestCommitIsToldAfterItsSync(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m, reader := outside(t, n, "g"), outside(t, n, "g")
	m.createTopic("t", 1)
	m.mustCommit("t", 1)
	held, release := holdSyncs(fsys)
	commit := m.send(8, m.commitRequest("t", 2))
	<-held
	// The new offset counts for who asks from now on, so its answer waits, too.
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g"}}
	asked := reader.send(8, fetch)
	m.expectSilence()
	reader.expectSilence()
	release()
	committed := kmsg.NewPtrOffsetCommitResponse()
	committed.SetVersion(8)
	m.receive(commit, committed)
	resp := fetch.ResponseKind()
	reader.receive(asked, resp)
	if got := fetched(resp.(*kmsg.OffsetFetchResponse)); committed.Topics[0].Partitions[0].ErrorCode != 0 || got != "t-0=2 " {
		t.Errorf("after the sync: %+v, then %s", committed, got)
	}
}

// The same for the work that a leader brings.
func TestAssignmentIsToldAfterItsSync(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m := newMember(t, n, "g")
	m.join(9)
	held, release := holdSyncs(fsys)
	synced := m.send(5, m.syncRequest(map[string]string{m.id: "work"}))
	<-held
	m.expectSilence()
	release()
	resp := kmsg.NewPtrSyncGroupResponse()
	resp.SetVersion(5)
	m.receive(synced, resp)
	if resp.ErrorCode != 0 || string(resp.MemberAssignment) != "work" {
		t.Errorf("after the sync: %+v", resp)
	}
}

// holdSyncs stops syncs of the offsets topic; held is closed when one is there.
func holdSyncs(fsys *crashfs.FS) (held <-chan struct{}, release func()) {
	return holdSyncsOf(fsys, "__consumer_offsets")
}

func holdSyncsOf(fsys *crashfs.FS, topic string) (held <-chan struct{}, release func()) {
	here, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fsys.OnOp(func(op crashfs.Op) {
		if op.Kind == crashfs.SyncData && strings.Contains(op.Name, topic) {
			once.Do(func() { close(here) })
			<-hold
		}
	}, nil)
	return here, func() {
		fsys.OnOp(nil, nil)
		close(hold)
	}
}

// expectSilence fails when the broker says anything within a while.
func (c *rawConn) expectSilence() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		c.t.Fatal("an answer left before the sync")
	}
}

// S4: after a failed sync nothing is acknowledged, then or later, and nothing
// that may be lost is shown; a restart finds what was acknowledged.
func TestFailedSyncOfOffsets(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	n.broken = true
	m := outside(t, n, "g")
	m.createTopic("t", 1)
	m.mustCommit("t", 1)
	fsys.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData, crashfs.SyncAll}, Err: syscall.EIO})
	const coordinatorNotAvailable = 15
	for range 2 {
		if codes := m.commit(8, "t", 2); codes[0] != coordinatorNotAvailable {
			t.Errorf("commit: code %d", codes[0])
		}
		if got := m.committed("t"); got != -coordinatorNotAvailable {
			t.Errorf("fetch: %d", got)
		}
		if got := fetchedAt(m, 1); got != "t-0=-1 code 15 " {
			t.Errorf("fetch at version 1: %s", got)
		}
	}
	again := serveGroups(t, fsys.Crash(crashfs.Policies()[0], 1))
	if got := m.reconnect(again).committed("t"); got != 1 {
		t.Errorf("after the restart the group is at %d", got)
	}
}

func fetchedAt(m *member, version int16) string {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = m.group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	return fetched(call[*kmsg.OffsetFetchResponse](m.rawConn, version, req))
}

// R18 for offsets: a full disk refuses commits with an error that clients retry,
// keeps what was there, and heals.
func TestFullDiskRefusesCommits(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m := newMember(t, n, "g")
	m.createTopic("t", 1)
	m.start()
	m.mustCommit("t", 1)
	fsys.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Name: "*.log", Times: -1, Err: syscall.ENOSPC})
	if codes := m.commit(8, "t", 2); codes[0] != 15 {
		t.Errorf("commit: code %d, want COORDINATOR_NOT_AVAILABLE", codes[0])
	}
	if got := m.committed("t"); got != 1 {
		t.Errorf("the group is at %d", got)
	}
	// An assignment that cannot be stored is not given out either.
	if r := m.join(9); r.ErrorCode != 0 {
		t.Fatalf("join: code %d", r.ErrorCode)
	}
	if r := m.sync(5, map[string]string{m.id: "new"}); r.ErrorCode != 15 || len(r.MemberAssignment) != 0 {
		t.Errorf("sync: code %d, %q", r.ErrorCode, r.MemberAssignment)
	}
	fsys.Heal()
	m.start()
	m.mustCommit("t", 3)
}

// A damaged record in the offsets topic: the offsets that it may have held are
// not given out, because the one before it is no longer known to be the last;
// everything that was committed later is sound. A new commit ends the doubt.
func TestDamageInTheOffsetsTopic(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	ids := groupsOfOnePartition(t, n, 3)
	outside(t, n, "any").createTopic("t", 2)
	file := offsetsFile(n, ids[0])
	outside(t, n, ids[0]).mustCommit("t", 1)
	outside(t, n, ids[1]).mustCommit("t", 1)
	position := fileSize(t, fsys, file)
	outside(t, n, ids[0]).mustCommit("t", 2) // the one that is hit
	outside(t, n, ids[1]).mustCommit("t", 3)
	n.stop(t)
	if err := fsys.FlipBit(file, (position+70)*8); err != nil {
		t.Fatal(err)
	}
	again := serveGroups(t, fsys)
	expect := func(id, want, why string) {
		t.Helper()
		m := outside(t, again, id)
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: id, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 1}}}}}
		if got := fetched(call[*kmsg.OffsetFetchResponse](m.rawConn, 8, req)); got != want {
			t.Errorf("%s: %s, want %s", why, got, want)
		}
	}
	const corruptMessage = "code 2 "
	expect(ids[0], "t-0=-1 "+corruptMessage+"t-1=-1 "+corruptMessage, "its last commit is damaged")
	expect(ids[1], "t-0=3 t-1=-1 "+corruptMessage, "it committed one partition later")
	expect(ids[2], "t-0=-1 t-1=-1 ", "a group that was not there")
	outside(t, again, ids[0]).mustCommit("t", 4, 5)
	expect(ids[0], "t-0=4 t-1=5 ", "it committed anew")
}

// groupsOfOnePartition is ids of groups that share a partition of the offsets topic.
func groupsOfOnePartition(t *testing.T, n *node, count int) (ids []string) {
	t.Helper()
	newMember(t, n, "any").findCoordinator(0)
	first, _, _ := n.OffsetsLog("g0")
	for i := 0; len(ids) < count; i++ {
		id := fmt.Sprintf("g%d", i)
		if p, _, _ := n.OffsetsLog(id); p == first {
			ids = append(ids, id)
		}
	}
	return ids
}

func offsetsFile(n *node, groupID string) string {
	partition, _, _ := n.OffsetsLog(groupID)
	return fmt.Sprintf("__consumer_offsets-%d/%020d.log", partition, 0)
}

func fileSize(t *testing.T, fsys *crashfs.FS, name string) int64 {
	t.Helper()
	info, err := fsys.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A deleted topic takes its offsets along: a topic made again under its name
// starts without them, whenever the power fails on the way.
func TestDeletedTopicForgetsItsOffsets(t *testing.T) {
	fsys := crashfs.New()
	n := serveGroups(t, fsys)
	m := outside(t, n, "g")
	m.createTopic("t", 1)
	m.createTopic("stays", 1)
	m.mustCommit("t", 7)
	m.mustCommit("stays", 8)
	var mu sync.Mutex // the files are removed in the background
	var images []*crashfs.FS
	fsys.OnOp(nil, func(op crashfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		for i, policy := range crashfs.Policies() {
			images = append(images, fsys.Crash(policy, uint64(i)))
		}
	})
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{"t"}
	if code := call[*kmsg.DeleteTopicsResponse](m.rawConn, 5, req).Topics[0].ErrorCode; code != 0 {
		t.Fatalf("delete topic: code %d", code)
	}
	fsys.OnOp(nil, nil)
	check := func(n *node) {
		t.Helper()
		m := m.reconnect(n)
		if _, gone := m.topicIsGone("t"); !gone {
			return // the deletion is not on the disk yet
		}
		m.createTopic("t", 1)
		if got := m.committed("t"); got != -1 {
			t.Errorf("the new topic starts at %d", got)
		}
		if got := m.committed("stays"); got != 8 {
			t.Errorf("the other topic is at %d", got)
		}
	}
	check(n)
	mu.Lock()
	defer mu.Unlock()
	for _, image := range images {
		again := serveGroups(t, image)
		check(again)
		again.stop(t)
		once := serveGroups(t, image) // and not after another start either
		if m := m.reconnect(once); m.committed("stays") != 8 {
			t.Errorf("after two starts the other topic is at %d", m.committed("stays"))
		}
		once.stop(t)
	}
	if len(images) < 20 {
		t.Errorf("only %d images: the test did not look", len(images))
	}
}

func (c *rawConn) topicIsGone(name string) (code int16, gone bool) {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	code = call[*kmsg.MetadataResponse](c, 9, req).Topics[0].ErrorCode
	return code, code == 3
}

// Offsets outlive the last member by the retention, and explicit retentions
// (OffsetCommit 2 to 4) are kept; what is gone is gone after a crash, too.
func TestOffsetsExpire(t *testing.T) {
	fsys := crashfs.New()
	var ahead atomic.Int64
	config := broker.Config{
		FS: fsys, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Group: group.Config{InitialRebalanceDelay: -1, OffsetsRetention: 24 * time.Hour},
	}
	n := serve(t, config)
	m := newMember(t, n, "g")
	m.createTopic("t", 1)
	m.createTopic("u", 1)
	m.start()
	m.mustCommit("t", 1)
	brief := outside(t, n, "brief")
	req := brief.commitRequest("t", 2)
	req.RetentionTimeMillis = time.Hour.Milliseconds()
	call[*kmsg.OffsetCommitResponse](brief.rawConn, 4, req)
	look := func(n *node, hours int, wantG, wantBrief int64) {
		t.Helper()
		ahead.Store(int64(time.Duration(hours) * time.Hour))
		n.ExpireOffsets()
		if g, b := m.reconnect(n).committed("t"), brief.reconnect(n).committed("t"); g != wantG || b != wantBrief {
			t.Errorf("after %d hours: %d and %d, want %d and %d", hours, g, b, wantG, wantBrief)
		}
	}
	look(n, 0, 1, 2)
	look(n, 2, 1, -1)
	look(n, 100, 1, -1) // a member reads it
	m.leave(5)
	config.FS = fsys.Clone()
	look(n, 101, 1, -1)
	again := serve(t, config) // the time counts on over a restart
	look(again, 123, 1, -1)
	look(again, 126, -1, -1)
	if d := m.reconnect(again).describeGroup("g"); d.State != "Dead" {
		t.Errorf("the group without members and offsets is %s", d.State)
	}
	config.FS = config.FS.(*crashfs.FS).Clone()
	ahead.Store(0) // the clock was wrong: what was forgotten stays so
	look(serve(t, config), 0, -1, -1)
}
