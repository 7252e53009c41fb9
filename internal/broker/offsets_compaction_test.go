package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// commitOffset is an OffsetCommit from outside of the group, without its answer's
// wait for the disk.
func commitOffset(t *testing.T, b *Broker, groupID string, partition int32, offset int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, groupID, -1
	p := kmsg.OffsetCommitRequestTopicPartition{Partition: partition, Offset: offset, LeaderEpoch: -1}
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	resp := offsetCommitResponse(req)
	if _, err := b.groups.commit(req, resp); err != nil || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("group %s: %v, %+v", groupID, err, resp)
	}
}

// A million commits of a hundred groups leave little, and after a restart each
// group is where it was.
func TestOffsetsTopicStaysSmall(t *testing.T) {
	const groups = 100
	commits := int64(1_000_000)
	if testing.Short() {
		commits = 100_000
	}
	inBubble(t, func(t *testing.T, b *bubble) {
		if err := b.catalog.create([]topicSpec{{name: "t", partitions: 1}})[0]; err != nil {
			t.Fatal(err)
		}
		for i := range commits {
			commitOffset(t, b.Broker, fmt.Sprint("group-", i%groups), 0, i)
			if i%100_000 == 0 {
				pass(time.Second)
			}
		}
		pass(time.Minute)
		var left int64
		for _, s := range b.groups.allShards() {
			left += s.log.SizeBytes()
		}
		t.Logf("%d commits of %d groups: %d bytes are left", commits, groups, left)
		if left > 10<<20 {
			t.Errorf("%d bytes are left of %d commits", left, commits)
		}
		requireOffsets(t, b.disk.Clone(), groups, commits)
	})
}

func requireOffsets(t *testing.T, image *crashfs.FS, groups, commits int64) {
	t.Helper()
	again, err := Open(Config{FS: image, Group: group.Config{InitialRebalanceDelay: -1}})
	if err != nil {
		t.Fatal(err)
	}
	for i := commits - groups; i < commits; i++ {
		requireOffset(t, again, fmt.Sprint("group-", i%groups), 0, i)
	}
	if err := again.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func requireOffset(t *testing.T, b *Broker, groupID string, partition record.Partition, want int64) {
	t.Helper()
	lg := b.groups.lockGroup(groupID)
	if lg == nil {
		t.Fatalf("group %s is gone", groupID)
	}
	defer lg.unlock()
	if o, ok := lg.mu.group.Offset(record.TopicPartition{Topic: "t", Partition: partition}); !ok || int64(o.Offset) != want {
		t.Errorf("group %s, partition %d: %d (%v), want %d", groupID, partition, o.Offset, ok, want)
	}
}

// The compaction of the offsets topic loses nothing, at whatever operation and in
// whatever way the power fails.
func TestCompactionOfOffsetsLosesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		if err := b.catalog.create([]topicSpec{{name: "t", partitions: 3}})[0]; err != nil {
			t.Fatal(err)
		}
		member := joinOne(t, b.Broker, "g", 30*time.Minute)
		smallSegments(b.Broker)
		for i := range int64(60) {
			for p := range int32(3) {
				commitOffset(t, b.Broker, "g2", p, i+int64(p))
			}
		}
		commitOffset(t, b.Broker, "gone", 0, 1)
		if _, err := b.groups.delete("gone"); err != nil {
			t.Fatal(err)
		}
		for i := range int64(20) {
			commitOffset(t, b.Broker, "g2", 2, 100+i)
		}
		synctest.Wait()
		type image struct {
			disk *crashfs.FS
			op   string
		}
		var images []image
		b.disk.OnOp(func(op crashfs.Op) {
			if strings.HasPrefix(op.Name, offsetsTopic) {
				policies := crashfs.Policies() // in turn: the crash world of the log tries all of them
				images = append(images, image{b.disk.Crash(policies[op.N%len(policies)], uint64(op.N)), op.String()})
			}
		}, nil)
		before := member.shard.g.shardOf("g2").log.SizeBytes()
		pass(10 * time.Second)
		b.disk.OnOp(nil, nil)
		if after := member.shard.g.shardOf("g2").log.SizeBytes(); after > before/2 || len(images) < 40 {
			t.Fatalf("%d bytes became %d, in %d images: nothing was compacted", before, after, len(images))
		}
		for _, image := range images {
			again, err := Open(Config{FS: image.disk, Group: group.Config{InitialRebalanceDelay: -1}})
			if err != nil {
				t.Fatal(image.op, err)
			}
			requireOffset(t, again, "g2", 0, 59)
			requireOffset(t, again, "g2", 1, 60)
			requireOffset(t, again, "g2", 2, 119)
			requireMember(t, again)
			if err := again.Close(context.Background()); err != nil || t.Failed() {
				t.Fatal(image.op, err)
			}
		}
	})
}

// requireMember: group g has its member, and the deleted group is gone.
func requireMember(t *testing.T, b *Broker) {
	t.Helper()
	lg := b.groups.lockGroup("g")
	if lg == nil {
		t.Fatal("the group with a member is gone")
	}
	defer lg.unlock()
	if got := lg.mu.group.State(); got != group.Stable {
		t.Errorf("the group with a member is %v", got)
	}
	if gone := b.groups.shardOf("gone").find("gone"); gone != nil && gone.mu.group.OffsetCount() > 0 {
		t.Error("the deleted group has offsets")
	}
}

func smallSegments(b *Broker) {
	for _, s := range b.groups.allShards() {
		cfg := s.log.Config()
		cfg.SegmentBytes = 1024
		s.log.SetConfig(cfg)
	}
}
