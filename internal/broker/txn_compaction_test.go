package broker_test

import (
	"testing"
	"time"

	"millrace/internal/broker"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
)

// The broker's own topics are compacted while transactions run, which loses no
// committed offset, brings no aborted one back, and forgets no decision.
func TestTransactionsUnderCompaction(t *testing.T) {
	const transactions = 400
	fsys := crashfs.New()
	cfg := broker.Config{FS: fsys, Log: log.Options{CheckpointInterval: 5 * time.Millisecond, CompactionInterval: 5 * time.Millisecond}}
	n := serve(t, cfg)
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.transaction("t", "x", 0, true)
	n.SmallSegments()
	plain := outside(t, n, p.group)
	want := int64(0)
	for i := int64(1); i <= transactions; i++ {
		switch {
		case i%7 == 0: // an offset outside of any transaction
			plain.mustCommit("t", i)
			want = i
		default:
			p.transaction("t", "x", i, i%3 != 0)
			if i%3 != 0 {
				want = i
			}
		}
		if i%40 != 0 {
			continue
		}
		p.must("stage", p.stage("t", 1_000_000)) // is open when the power fails
		policies := crashfs.Policies()
		image := fsys.Crash(policies[int(i/40)%len(policies)], uint64(i))
		p.must("abort", p.end(false))
		again := serve(t, broker.Config{FS: image})
		again.EndTransactions(t)
		if offset, staged := again.GroupOffset(p.group, "t", 0); offset != want || staged {
			t.Fatalf("after %d transactions the group is at %d, want %d; staged: %v", i, offset, want, staged)
		}
		q := *p
		q.rawConn = dial(t, again.addr)
		q.mustInit()
		if q.producer != p.producer || q.epoch < p.epoch {
			t.Fatalf("after %d transactions the producer is %d/%d, was %d/%d", i, q.producer, q.epoch, p.producer, p.epoch)
		}
		again.stop(t)
	}
	deadline := time.Now().Add(givesUp)
	for n.OwnTopicBytes() > 60_000 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond) // the compaction's own clock is the real one here
	}
	if size := n.OwnTopicBytes(); size > 60_000 {
		t.Errorf("the broker's own topics hold %d bytes: they were not compacted", size)
	}
}
