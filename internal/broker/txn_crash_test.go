package broker_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// txnImage is a disk after a power cut, and what clients knew at that moment.
type txnImage struct {
	fsys     *crashfs.FS
	op       crashfs.Op
	policy   crashfs.Policy
	answered int64 // transactions whose end was answered
	sent     int64 // transactions whose end had been sent
}

// txnWorkload runs transactions, of which every third aborts, and takes images
// at each operation of the disk and in every way that it may lose what is not
// synced. A sync lets what is written meanwhile pass first, up to patience.
func txnWorkload(t *testing.T, cfg broker.Config, v2 bool, transactions int, patience time.Duration) []txnImage {
	fsys := crashfs.New()
	cfg.FS = fsys
	n := serve(t, cfg)
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", v2)
	p.transaction("t", "first", 0, true) // makes what is made once
	n.EndTransactions(t)

	var answered, sent atomic.Int64
	var mu sync.Mutex
	var images []txnImage
	seed := uint64(0)
	written := make(chan struct{}, 1)
	wait := func(op crashfs.Op) {
		if op.Kind != crashfs.SyncData && op.Kind != crashfs.SyncAll {
			return
		}
		select {
		case <-written: // before this sync
		default:
		}
		select {
		case <-written:
		case <-time.After(patience):
		}
	}
	take := func(op crashfs.Op) {
		if op.Kind == crashfs.Write {
			select {
			case written <- struct{}{}:
			default:
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, policy := range crashfs.Policies() {
			known := answered.Load()
			seed++
			image := fsys.Crash(policy, seed)
			images = append(images, txnImage{image, op, policy, known, sent.Load()})
		}
	}
	fsys.OnOp(wait, take)
	for i := range int64(transactions) {
		p.prepare("t", strconv.FormatInt(i+1, 10), i+1)
		sent.Store(i + 1)
		p.must("EndTxn", p.end(commits(i+1)))
		answered.Store(i + 1)
	}
	n.EndTransactions(t)
	fsys.OnOp(nil, nil)
	mu.Lock()
	defer mu.Unlock()
	return images
}

// commits says how the workload ends its i-th transaction.
func commits(i int64) bool { return i%3 != 0 }

// check starts on the image and says what is wrong with what it holds.
func (image txnImage) check(t *testing.T, cfg broker.Config) (fault string) {
	cfg.FS = image.fsys
	b, err := broker.Open(cfg)
	if err != nil {
		return err.Error()
	}
	n := &node{Broker: b}
	defer n.stop(t)
	n.EndTransactions(t) // the client is gone
	var values [2][]string
	for partition := range values {
		var settled bool
		if values[partition], settled = committedIn(t, n, "t", int32(partition)); !settled {
			return fmt.Sprintf("partition %d is not settled", partition)
		}
	}
	if !slices.Equal(values[0], values[1]) {
		return fmt.Sprintf("torn: %v and %v", values[0], values[1])
	}
	want := []string{"first"}
	for i := int64(1); i <= image.answered; i++ {
		if commits(i) {
			want = append(want, strconv.FormatInt(i, 10))
		}
	}
	allowed := want
	if next := image.answered + 1; next <= image.sent && commits(next) {
		allowed = append(slices.Clone(want), strconv.FormatInt(next, 10))
	}
	if !slices.Equal(values[0], want) && !slices.Equal(values[0], allowed) {
		return fmt.Sprintf("committed %v, want %v or %v", values[0], want, allowed)
	}
	last := values[0][len(values[0])-1]
	if last == "first" {
		last = "0"
	}
	if offset, staged := n.GroupOffset("g", "t", 0); strconv.FormatInt(offset, 10) != last || staged {
		return fmt.Sprintf("the group is at %d (staged: %v) with records up to %s", offset, staged, last)
	}
	return ""
}

const txnCrashFloor = 600 // images of each version of the protocol

// R14, T1: at whatever operation and in whatever way the power fails, each
// transaction is committed in all partitions and in its group, or in none;
// always as its client was told.
func TestTransactionsSurviveCrashes(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v2=%v", v2), func(t *testing.T) {
			images := txnWorkload(t, broker.Config{}, v2, 6, 0)
			for _, image := range images {
				if fault := image.check(t, broker.Config{}); fault != "" {
					t.Fatalf("%s, %s, %d answered, %d sent: %s", image.op, image.policy, image.answered, image.sent, fault)
				}
			}
			t.Logf("%d images", len(images))
			if len(images) < txnCrashFloor {
				t.Errorf("%d images, want at least %d", len(images), txnCrashFloor)
			}
		})
	}
}

// Bugs show when something is written before a sync that it should have waited
// for. So syncs are slow, and the workload is run again if a busy machine was
// slower still.
const (
	bugRuns     = 20
	bugPatience = 20 * time.Millisecond
)

// The same test finds each planted bug.
func TestTransactionCrashesFindBugs(t *testing.T) {
	for name, bug := range broker.PlantedTxnBugs {
		t.Run(name, func(t *testing.T) {
			for run := range bugRuns {
				if fault := huntTxnBug(t, broker.Config{}.Plant(bug)); fault != "" {
					t.Logf("workload %d: %s", run, fault)
					return
				}
			}
			t.Error("not found")
		})
	}
}

// huntTxnBug is what the images of one workload show; empty when that is nothing.
func huntTxnBug(t *testing.T, cfg broker.Config) string {
	for i, image := range txnWorkload(t, cfg, true, 6, bugPatience) {
		if fault := image.check(t, cfg); fault != "" {
			return fmt.Sprintf("image %d, %s, %s: %s", i, image.op, image.policy, fault)
		}
	}
	return ""
}
