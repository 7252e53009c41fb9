package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

// cutBehind cuts the power when the file of the topic partition last is written
// to. Of what is not durable by then, the partitions kept are saved and all else
// is lost: the order in which a sync round that the power ends may get along.
func cutBehind(t *testing.T, fsys *crashfs.FS, last string, kept ...string) (image <-chan *crashfs.FS) {
	made, cut := make(chan *crashfs.FS, 1), make(chan struct{})
	var seen atomic.Bool
	before := func(op crashfs.Op) {
		if op.Kind == crashfs.SyncAll || op.Kind == crashfs.SyncData && strings.HasPrefix(op.Name, "__transaction_state") {
			<-cut
		}
	}
	after := func(op crashfs.Op) {
		if op.Kind != crashfs.Write || op.Name != firstSegment(last) || seen.Swap(true) {
			return
		}
		defer close(cut)
		for _, name := range kept {
			saveBytes(t, fsys, firstSegment(name))
		}
		made <- fsys.Crash(crashfs.Policy{}, 1)
	}
	fsys.OnOp(before, after)
	return made
}

func firstSegment(partition string) string { return partition + "/00000000000000000000.log" }

func saveBytes(t *testing.T, fsys *crashfs.FS, name string) {
	f, err := fsys.Open(name)
	if err == nil {
		err = f.SyncData()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Errorf("save %s: %v", name, err)
	}
}

// A crash that keeps data of a transaction of version 2 and loses the record
// that came before it, whichever of the partitions it keeps, whether or not it
// has also lost that the transaction before is complete, and whether or not that
// was the last one of its producer id: the client repeats what was not answered
// and goes on, or stays away, or comes back as a new one. In each case all of the
// transaction ends in one way, and no partition is left open.
func TestDataOutlivesTheRecordOfItsTransaction(t *testing.T) {
	for _, kept := range [][]string{{"t-0"}, {"t-1"}, {"t-0", "t-1"}} {
		for _, complete := range []bool{true, false} {
			for _, lastEpoch := range []bool{false, true} {
				for name, end := range afterLostRecord {
					t.Run(fmt.Sprintf("%s/complete=%v/last epoch=%v/%s", strings.Join(kept, ","), complete, lastEpoch, name), func(t *testing.T) {
						image, p := loseRecord(t, kept, complete, lastEpoch)
						var ahead atomic.Int64
						n := serve(t, broker.Config{FS: image, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
						n.WaitSettled(t, p.id)
						want := end(n, p, &ahead)
						n.WaitSettled(t, p.id)
						for partition := range int32(2) {
							if values, settled := committedIn(t, n, "t", partition); !slices.Equal(values, want) || !settled {
								t.Errorf("t-%d holds %v, settled: %v, want %v", partition, values, settled, want)
							}
						}
					})
				}
			}
		}
	}
}

// loseRecord commits a transaction, begins a second one, and cuts the power so
// that it keeps those partitions of it and not its record. The producer is as
// its client had it before the second one.
func loseRecord(t *testing.T, kept []string, complete, lastEpoch bool) (*crashfs.FS, txnProducer) {
	fsys := crashfs.New()
	n := serve(t, broker.Config{FS: fsys})
	dial(t, n.addr).createTopic("t", 2)
	p := newTxnProducer(t, n, "id", true)
	if lastEpoch {
		n.SetProducerEpoch(t, "id", 32766)
		p.goOn(p.producer, 32766)
	}
	p.transaction("t", "first", 1, true)
	n.EndTransactions(t)
	if complete {
		if err := fsys.SyncAll(); err != nil {
			t.Fatal(err)
		}
	}
	known := *p
	image := cutBehind(t, fsys, "t-1", kept...)
	p.must("Produce", p.write("t", "second", 0, 1))
	fsys.OnOp(nil, nil)
	n.stop(t)
	known.sequence = map[int32]int32{}
	return <-image, known
}

// afterLostRecord is what may follow. Each gives what must be committed then.
var afterLostRecord = map[string]func(n *node, p txnProducer, ahead *atomic.Int64) []string{
	"repeats": func(n *node, p txnProducer, _ *atomic.Int64) []string {
		p.rawConn = dial(p.t, n.addr)
		p.must("Produce again", p.write("t", "second", 0, 1))
		p.must("EndTxn", p.end(true))
		return []string{"first", "second"}
	},
	"stays away": func(n *node, p txnProducer, ahead *atomic.Int64) []string {
		ahead.Store(int64(61 * time.Second))
		n.AbortOverdue()
		return []string{"first"}
	},
	"is a new one": func(n *node, p txnProducer, _ *atomic.Int64) []string {
		next := newTxnProducer(p.t, n, "id", true)
		next.must("Produce", next.write("t", "third", 0, 1))
		next.must("EndTxn", next.end(true))
		return []string{"first", "third"}
	},
}

// Data of an older epoch that no record names was not brought back in time, for
// instance because the disk was full at that start: the next start aborts it.
func TestDataThatNoTransactionTookBack(t *testing.T) {
	image, p := loseRecord(t, []string{"t-1"}, true, false)
	full := serve(t, broker.Config{FS: image}.Plant(broker.PlantedTxnBugs["open data is left alone by a restart"]))
	newTxnProducer(t, full, p.id, true)
	if _, settled := committedIn(t, full, "t", 1); settled {
		t.Fatal("the data was not left open")
	}
	full.stop(t)
	n := serve(t, broker.Config{FS: image})
	next := newTxnProducer(t, n, p.id, true)
	next.transaction("t", "third", 3, true)
	n.WaitSettled(t, p.id)
	for partition := range int32(2) {
		if values, settled := committedIn(t, n, "t", partition); !slices.Equal(values, []string{"first", "third"}) || !settled {
			t.Errorf("t-%d holds %v, settled: %v", partition, values, settled)
		}
	}
}
