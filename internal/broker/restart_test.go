package broker_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/broker"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
)

// R19: a topic that a client made, by CreateTopics or by asking about it, and
// its acknowledged records, are there after a power cut.
func TestTopicsSurviveAPowerCut(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("made", 1, "retention.ms", "3600000")
	c.metadata(true, "asked")
	c.mustProduce("made", 0, "one")
	c.mustProduce("asked", 0, "two")
	for _, policy := range crashfs.Policies() {
		again := serve(t, broker.Config{FS: fsys.Crash(policy, 1)})
		c := dial(t, again.addr)
		for topic, want := range map[string]string{"made": "one", "asked": "two"} {
			if got := values(t, c.fetch(fetchAsk(topic, 0, 0)).RecordBatches); len(got) != 1 || got[0] != want {
				t.Errorf("%v: topic %s holds %v", policy, topic, got)
			}
		}
		if got := c.topicConfig("made", "retention.ms"); *got.Value != "3600000" {
			t.Errorf("%v: retention.ms is %s", policy, *got.Value)
		}
		again.stop(t)
	}
}

// R22, the other half: after a crash no producer id is given out a second time.
func TestProducerIDsAreNeverReused(t *testing.T) {
	fsys := crashfs.New()
	seen := map[int64]bool{}
	for run := range 5 {
		n := serve(t, broker.Config{FS: fsys})
		c := dial(t, n.addr)
		for range 700 { // crosses a block's end in some runs
			id := c.initProducer()
			if seen[id] {
				t.Fatalf("run %d: id %d was given before", run, id)
			}
			seen[id] = true
		}
		next := fsys.Crash(crashfs.Policies()[run%len(crashfs.Policies())], uint64(run))
		n.stop(t)
		fsys = next
	}
}

// R7: the retry of an idempotent producer is recognised after a crash.
func TestRetryAfterACrashIsRecognised(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	id := c.initProducer()
	one := func(c *rawConn, sequence int32) kmsg.ProduceResponseTopicPartition {
		return c.produce(-1, "a", 0, build(t, batch.BuilderOptions{ProducerID: id, BaseSequence: sequence}, "x"))
	}
	one(c, 0)
	one(c, 1)
	again := serve(t, broker.Config{FS: fsys.Crash(crashfs.Policies()[0], 1)})
	c = dial(t, again.addr)
	if r := one(c, 1); r.ErrorCode != 0 || r.BaseOffset != 1 {
		t.Errorf("the retry: code %d, offset %d", r.ErrorCode, r.BaseOffset)
	}
	if end := c.listOffset("a", 0, -1).Offset; end != 2 {
		t.Errorf("the log ends at %d, want 2", end)
	}
}

// R6: after a restart retention works by the topic's own settings, with no
// admin call.
func TestRetentionWorksAfterARestart(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("short", 1, "retention.ms", "60000", "segment.bytes", "1024")
	c.createTopic("long", 1, "retention.ms", "-1", "segment.bytes", "1024")
	for range 20 {
		c.mustProduce("short", 0, string(make([]byte, 500)))
		c.mustProduce("long", 0, string(make([]byte, 500)))
	}
	n.stop(t)
	later := func() time.Time { return time.Now().Add(time.Hour) }
	n = serve(t, broker.Config{FS: fsys, Now: later, Log: log.Options{RetentionInterval: 5 * time.Millisecond}})
	c = dial(t, n.addr)
	waitUntil(t, "old segments are deleted", func() bool { return c.listOffset("short", 0, -2).Offset > 15 })
	if first := c.listOffset("long", 0, -2).Offset; first != 0 {
		t.Errorf("a topic without retention starts at %d", first)
	}
}

// R21, F6: a start that had to cut the log raises the leader epoch, so that a
// client that saw the lost records notices instead of reading others.
func TestTruncationIsTold(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys, Log: log.Options{Durability: log.OS}})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	for range 10 {
		c.mustProduce("a", 0, "x")
	}
	read := c.listOffset("a", 0, -1)
	image := fsys.Clone()
	const segment = "a-0/00000000000000000000.log"
	size, err := image.Stat(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.Cut(segment, size.Size()-10); err != nil {
		t.Fatal(err)
	}
	again := serve(t, broker.Config{FS: image})
	c = dial(t, again.addr)
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = "a"
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.CurrentLeaderEpoch, rp.LeaderEpoch = -1, read.LeaderEpoch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	c.mustProduce("a", 0, "another") // in the place of a record that is lost
	for version := int16(2); version <= 4; version++ {
		r := call[*kmsg.OffsetForLeaderEpochResponse](c, version, req).Topics[0].Partitions[0]
		if r.ErrorCode != 0 || r.EndOffset != 9 || r.LeaderEpoch != read.LeaderEpoch {
			t.Errorf("version %d: epoch %d ends at %d (code %d), want epoch %d to end at 9: the client had read to %d",
				version, r.LeaderEpoch, r.EndOffset, r.ErrorCode, read.LeaderEpoch, read.Offset)
		}
	}
	fetch := fetchAsk("a", 0, read.Offset)
	fetch.Topics[0].Partitions[0].CurrentLeaderEpoch = read.LeaderEpoch
	if r := c.fetch(fetch); r.ErrorCode != 74 {
		t.Errorf("a fetch with the old epoch: code %d, want FENCED_LEADER_EPOCH (74)", r.ErrorCode)
	}
	fetch.Topics[0].TopicID = c.topicID("a")
	resp := call[*kmsg.FetchResponse](c, 16, fetch) // from which on the client is told more (KIP-951)
	if r := resp.Topics[0].Partitions[0]; r.ErrorCode != 74 || r.CurrentLeader.LeaderEpoch != read.LeaderEpoch+1 || r.CurrentLeader.LeaderID != 1 {
		t.Errorf("a fetch with the old epoch: code %d, current leader %+v", r.ErrorCode, r.CurrentLeader)
	}
	if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 1 || net.JoinHostPort(resp.Brokers[0].Host, fmt.Sprint(resp.Brokers[0].Port)) != again.addr {
		t.Errorf("the leader's address: %+v, want %s", resp.Brokers, again.addr)
	}
}

// A damaged batch is an error for its offset; what lies before and behind it is served.
func TestDamageIsToldAndServedAround(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	for _, v := range []string{"zero", "one", "two"} {
		c.mustProduce("a", 0, v)
	}
	n.stop(t)
	size := len(records(t, "zero"))
	if err := fsys.FlipBit("a-0/00000000000000000000.log", int64(8*(size+65))); err != nil {
		t.Fatal(err)
	}
	c = dial(t, serve(t, broker.Config{FS: fsys}).addr)
	if got := c.fetch(fetchAsk("a", 0, 0)); got.ErrorCode != 0 || len(values(t, got.RecordBatches)) != 1 {
		t.Errorf("offset 0: code %d, %d bytes", got.ErrorCode, len(got.RecordBatches))
	}
	if got := c.fetch(fetchAsk("a", 0, 1)); got.ErrorCode != 2 || len(got.RecordBatches) != 0 {
		t.Errorf("offset 1: code %d, want CORRUPT_MESSAGE (2)", got.ErrorCode)
	}
	if got := values(t, c.fetch(fetchAsk("a", 0, 2)).RecordBatches); len(got) != 1 || got[0] != "two" {
		t.Errorf("offset 2: %v", got)
	}
}

// R18: a full disk refuses writes with a code that clients retry; when space is
// freed the same broker goes on.
func TestFullDiskHeals(t *testing.T) {
	fsys := crashfs.New()
	fsys.SetCapacity(64 << 20)
	n := serve(t, broker.Config{FS: fsys, Log: log.Options{ReserveBytes: 1 << 20}})
	c := dial(t, n.addr)
	c.createTopic("a", 1)
	large := string(make([]byte, 1_000_000))
	stored := 0
	for ; stored < 100; stored++ {
		r := c.produce(-1, "a", 0, records(t, large))
		if r.ErrorCode == 56 {
			break
		}
		if r.ErrorCode != 0 {
			t.Fatalf("record %d: code %d", stored, r.ErrorCode)
		}
	}
	if stored == 100 {
		t.Fatal("a disk of 64 MiB took 100 MB")
	}
	if r := c.fetch(fetchAsk("a", 0, 0)); r.ErrorCode != 0 || len(r.RecordBatches) == 0 {
		t.Errorf("reading from a full disk: code %d", r.ErrorCode)
	}
	fsys.SetCapacity(0)
	waitUntil(t, "the broker writes again", func() bool { return c.produce(-1, "a", 0, records(t, "x")).ErrorCode == 0 })
	if end := c.listOffset("a", 0, -1).Offset; end != int64(stored)+1 {
		t.Errorf("the log ends at %d, want %d", end, stored+1)
	}
}
