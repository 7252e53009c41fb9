package broker_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

const coordinatorNotAvailable = 15

// The answer to a commit leaves when the decision is durable, and not before.
func TestCommitOfTransactionIsToldAfterItsSync(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 1)
	held, release := holdSyncsOf(fsys, "__transaction_state")
	asked := p.send(5, p.endRequest(true))
	<-held
	p.expectSilence()
	if _, staged := n.GroupOffset("g", "t", 0); !staged {
		t.Error("the offsets count before the decision is durable")
	}
	release()
	resp := p.endRequest(true).ResponseKind().(*kmsg.EndTxnResponse)
	resp.SetVersion(5)
	p.receive(asked, resp)
	if resp.ErrorCode != 0 || resp.ProducerEpoch != 1 {
		t.Errorf("the answer: %+v", resp)
	}
}

// R18: a full disk refuses what it cannot store, with a code that clients try
// again, and changes nothing; markers are written when there is room again.
func TestFullDiskAndTransactions(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 1)
	full := crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Name: "*.log", Times: -1, Err: syscall.ENOSPC}
	fsys.Inject(full)
	again := *p
	if got := again.end(true); got != coordinatorNotAvailable {
		t.Errorf("a decision that cannot be stored: code %d", got)
	}
	if got := again.stage("t", 9); got != coordinatorNotAvailable {
		t.Errorf("offsets that cannot be stored: code %d", got)
	}
	fsys.Heal()
	full.Nth, full.Times = 2, 3 // the decision fits, and none of its markers at first
	refused := fsys.Inject(full)
	p.must("EndTxn", p.end(true))
	p.mustInit() // waits for the markers
	if got := refused(); got != 3 {
		t.Errorf("%d writes found the disk full, want those of three markers", got)
	}
	fsys.Heal()
	p.transaction("t", "y", 2, true)
	n.EndTransactions(t)
	for partition := range int32(2) {
		if values, settled := committedIn(t, n, "t", partition); fmt.Sprint(values) != "[x y]" || !settled {
			t.Errorf("t-%d holds %v, settled: %v", partition, values, settled)
		}
	}
}

// S4: after a failed sync of the transaction topic nobody is told of a decision,
// no marker is written, and the restart decides by what is on the disk.
func TestFailedSyncOfADecision(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	n.broken = true
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 1)
	fsys.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData, crashfs.SyncAll}, Err: syscall.EIO})
	again := *p
	if got := again.end(true); got != coordinatorNotAvailable {
		t.Errorf("commit: code %d", got)
	}
	if values, settled := committedIn(t, n, "t", 0); len(values) != 0 || settled {
		t.Errorf("t-0 holds %v, settled: %v", values, settled)
	}
	for i, policy := range crashfs.Policies() {
		restarted := serve(t, broker.Config{FS: fsys.Crash(policy, uint64(i))})
		restarted.EndTransactions(t)
		first, settled := committedIn(t, restarted, "t", 0)
		second, settledToo := committedIn(t, restarted, "t", 1)
		offset, _ := restarted.GroupOffset("g", "t", 0)
		if fmt.Sprint(first) != fmt.Sprint(second) || !settled || !settledToo || (offset == 1) != (len(first) == 1) {
			t.Errorf("%v: %v and %v, settled: %v, %v, the group is at %d", policy, first, second, settled, settledToo, offset)
		}
		restarted.stop(t)
	}
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// Damage in the transaction topic is reported. What it may have decided is not
// decided otherwise: a transaction without an owner stays open then.
func TestDamageInTheTransactionTopic(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 1)
	n.stop(t)
	damaged := 0
	for partition := range 4 {
		name := fmt.Sprintf("__transaction_state-%d/%020d.log", partition, 0)
		info, err := fsys.Stat(name)
		if err != nil || info.Size() == 0 {
			continue
		}
		for at := int64(70); at < info.Size(); at += 100 { // every record of it
			if err := fsys.FlipBit(name, at*8); err != nil {
				t.Fatal(err)
			}
			damaged++
		}
	}
	var log lines
	again := serve(t, broker.Config{FS: fsys, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if damaged == 0 || !strings.Contains(log.String(), "a part of the transaction topic cannot be read") ||
		!strings.Contains(log.String(), "abort it by hand") {
		t.Errorf("%d bits were flipped; the log says: %s", damaged, log.String())
	}
	if values, settled := committedIn(t, again, "t", 0); len(values) != 0 || settled {
		t.Errorf("t-0 holds %v, settled: %v", values, settled)
	}
	p.rawConn = dial(t, again.addr)
	if got := p.end(true); got != invalidProducerIDMapping {
		t.Errorf("a commit of what is lost: code %d", got)
	}
	p.mustInit() // the application goes on
	p.transaction("t", "y", 2, true)
}

// A transaction that is open in a partition although no id knows of it, as in a
// directory whose transaction topic was removed, is aborted by the start.
func TestTransactionWithoutAnOwner(t *testing.T) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	c.createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	p.prepare("t", "x", 1)
	n.ForgetTransactionalID(t, "id")
	n.stop(t)
	again := serve(t, broker.Config{FS: fsys})
	dial(t, again.addr).createTopic("served", 1)
	deadline := time.Now().Add(givesUp)
	for partition := range int32(2) {
		values, settled := committedIn(t, again, "t", partition)
		for ; !settled && time.Now().Before(deadline); values, settled = committedIn(t, again, "t", partition) {
			time.Sleep(time.Millisecond) // the marker's sync
		}
		if len(values) != 0 || !settled {
			t.Errorf("t-%d holds %v, settled: %v", partition, values, settled)
		}
	}
	if offset, staged := again.GroupOffset("g", "t", 0); offset != -1 || staged {
		t.Errorf("the group is at %d, staged: %v", offset, staged)
	}
}
