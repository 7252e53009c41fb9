//go:build synctests

package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/client"
	"millrace/internal/state"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
)

// The tests of this file and of hops_test.go are what others fell over, one by
// one. Where a rule is broken by chance rather than by one cause, the storms hold
// it, and a planted bug shows that they do. All twenty:
//
//	 1 local state never leads            storms, planted bug "open values reach the disk"
//	 2 a zombie cannot commit late        TestZombieCannotCommitLate, planted bug "no fence when the group moves on"
//	 3 nor a zombie's timer               TestZombieTimerCannotCommitLate
//	 4 the dead are fenced at takeover    TestTakeoverDoesNotWaitForTheTransactionTimeout
//	 5 an unknown end is learned          TestUnknownEndOfTransaction
//	 6 a late end hits no other           TestEndOfTransactionArrivesTwice
//	 7 hung transactions are seen         TestHungTransactionIsNamed
//	 8 offsets have gaps                  TestRestoreEndsBehindMarkersAndAbortedRecords
//	 9 the end is read after the offsets  TestEndOfChangelogIsReadAfterTheOffsets
//	10 tombstones vanish                  TestPlanRestore, "tombstones may be gone"
//	11 a truncated changelog              TestTruncatedChangelogStopsOneTask
//	12 slow user code                     TestSlowFunctionOutlivesTheTransaction
//	13 each hop costs one commit          TestTwoHopsTakeTwoIntervals
//	14 standbys                           there are none yet
//	15 an input goes backwards            TestRecreatedInputIsNotMixedIn, TestRecreatedInputBehindAHopIsNotMixedIn
//	16 aborted work runs again            TestRepeatedWorkHasTheSameKeys in topology
//	17 partitions as Java's               TestMurmur2IsKafkas in record, TestMisplacedIsCounted in topology
//	18 a grown input                      TestGrownInputIsRefused
//	19 ids are forgotten                  TestIdleJobCommitsAfterItsIDIsForgotten
//	20 no mark of a clean stop decides    storms and failpoints: a power cut at each sync of the state

// inWorld runs a test in a bubble of its own.
func inWorld(t *testing.T, plan topology.Plan, partitions int32, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 42, plan, partitions)
		defer w.close()
		test(w)
	})
}

// feed sends some events to each partition.
func (w *world) feed(n int) {
	for _, p := range w.cluster.PartitionInfos("in") {
		w.send(p.Partition, w.events(p.Partition, n)...)
	}
}

// once calls f the first time that the engine reaches p.
func once(p point, f func()) func(point) {
	var done atomic.Bool
	return func(at point) {
		if at == p && done.CompareAndSwap(false, true) {
			f()
		}
	}
}

// A zombie cannot commit late: it froze with everything sent, the group has
// moved on, and it wakes up.
func TestZombieCannotCommitLate(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a")
		a.at(once(afterSent, func() {
			a.network.cut()
			time.Sleep(40 * time.Second)
			a.network.mend()
		}))
		a.start()
		w.feed(20)
		time.Sleep(2 * time.Second)
		w.node("b").start()
		w.mustCatchUp()
		w.feed(20)
		time.Sleep(time.Minute) // awake
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// A transaction that no input has driven is fenced as well.
func TestZombieTimerCannotCommitLate(t *testing.T) {
	plan := keyedPlan("app")
	folds := plan.Subs[0].NewTask
	plan.Subs[0].NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		task, err := folds(cfg)
		task.(*foldTask).timer = fmt.Sprintf("timer%d", cfg.Partition)
		return task, err
	}
	inWorld(t, plan, 2, func(w *world) {
		a := w.node("a")
		commits := 0
		a.at(func(p point) {
			if p != afterSent {
				return
			}
			if commits++; commits == 3 {
				a.network.cut()
				time.Sleep(40 * time.Second)
				a.network.mend()
			}
		})
		a.start()
		time.Sleep(5 * time.Second)
		w.node("b").start()
		time.Sleep(2 * time.Minute)
		w.stopAll()
		for _, records := range w.all("out") {
			reached := make(map[string]uint64)
			for _, r := range records {
				if got := decodeFold(r.Value).n; got != reached[string(r.Key)]+1 {
					t.Errorf("%s fired the %dth time after the %dth", r.Key, got, reached[string(r.Key)])
				}
				reached[string(r.Key)] = decodeFold(r.Value).n
			}
			for key, n := range reached {
				if n < 20 {
					t.Errorf("%s fired %d times in two minutes", key, n)
				}
			}
		}
	})
}

// A dead member's open transaction holds up readers until it is fenced: the
// takeover waits for the session to time out, not for the transaction.
func TestTakeoverDoesNotWaitForTheTransactionTimeout(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		w.options = func(o *Options) { o.TransactionTimeout = 5 * time.Minute }
		a := w.node("a").start()
		w.node("b").start()
		w.feed(5)
		w.mustCatchUp()
		time.Sleep(20 * time.Second) // both know each other
		a.at(once(afterSent, func() { a.kill(0, rand.New(rand.NewPCG(1, 1))) }))
		w.feed(20)
		began := time.Now()
		if err := w.caughtUp(time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the takeover took %v of a transaction timeout of 5m", took)
		}
		w.mustBeRight()
	})
}

// The outcome of an EndTxn without a usable answer is learned, never guessed.
func TestUnknownEndOfTransaction(t *testing.T) {
	for name, how := range map[string]strike{"never arrives": cutBefore, "answer lost": cutAfter, "done, answered with an error": lie} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, keyedPlan("app"), 2, func(w *world) {
				a := w.node("a")
				var ends atomic.Int64
				a.network.arm(func(key int16) (strike, func()) {
					if key == int16(kmsg.EndTxn) && ends.Add(1) == 2 {
						return how, nil
					}
					return pass, nil
				})
				a.start()
				for range 4 {
					w.feed(10)
					time.Sleep(150 * time.Millisecond)
				}
				w.mustCatchUp()
				w.mustBeRight()
				if ends.Load() < 3 {
					t.Errorf("only %d transactions were ended", ends.Load())
				}
			})
		})
	}
	t.Run("not done, answered with an error", func(t *testing.T) {
		inWorld(t, keyedPlan("app"), 2, func(w *world) {
			a := w.node("a").start()
			w.feed(10)
			w.mustCatchUp()
			fault := w.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true})
			w.feed(10)
			w.mustCatchUp()
			w.mustBeRight()
			if fault.Hits() == 0 || a.aborts() == 0 {
				t.Errorf("%d faults, %d aborts", fault.Hits(), a.aborts())
			}
		})
	})
}

// An EndTxn that arrives once more while the next transaction is open must not
// end that one (KAFKA-17754).
func TestEndOfTransactionArrivesTwice(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a")
		var echoes atomic.Int64
		a.network.arm(func(key int16) (strike, func()) {
			if key == int16(kmsg.EndTxn) {
				echoes.Add(1)
				return echo, nil
			}
			return pass, nil
		})
		a.start()
		for range 20 {
			w.feed(3)
			time.Sleep(100 * time.Millisecond)
		}
		w.mustCatchUp()
		w.mustBeRight()
		if echoes.Load() < 5 {
			t.Errorf("only %d requests came twice", echoes.Load())
		}
	})
}

// A restore that has stalled when its partition was given away writes on when the
// partition is back: its entries are old, and must not land on the new ones.
func TestStalledRestoreDoesNotWriteOverItsSuccessor(t *testing.T) {
	for _, planted := range []bool{false, true} {
		t.Run(fmt.Sprintf("planted=%v", planted), func(t *testing.T) {
			inWorld(t, keyedPlan("app"), 1, func(w *world) {
				w.planted = func(f *faults) { f.noTurns = planted }
				a := w.node("a").start()
				w.feed(30)
				w.mustCatchUp()
				if err := a.leave(); err != nil {
					t.Fatal(err)
				}
				<-a.ended
				a.disk = vfs.NewCrashableMem() // the disk is lost
				stalled, goOn := make(chan struct{}), make(chan struct{})
				a.at(once(duringRestore, func() {
					close(stalled)
					<-goOn
				}))
				a.start()
				<-stalled
				w.evictAll() // it joins again, and gets the partition once more
				// Old values must show whether they come before the last flush or behind it,
				// beside new values of all keys or with their old position beside a new key.
				w.send(0, append(slices.Clone(w.sent[0]), event{"new", "v1"})...)
				time.Sleep(20 * time.Second)
				if ran := w.behind() == nil; ran != planted {
					t.Errorf("the second start has not waited: %v", ran)
				}
				close(goOn)
				w.mustCatchUp()
				w.mustBeRight()
				w.stopAll()
				if wrong := w.checkDisks(); (len(wrong) > 0) != planted {
					t.Errorf("on the disk: %q", wrong)
				}
			})
		})
	}
}

// A changelog that ends in markers and aborted records is restored to its end,
// from nothing.
func TestRestoreEndsBehindMarkersAndAbortedRecords(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a")
		a.start()
		w.feed(30)
		w.mustCatchUp()
		a.at(once(afterSent, func() { a.kill(0, rand.New(rand.NewPCG(1, 1))) }))
		w.feed(30)
		<-a.dead
		<-a.ended
		a.network.mend()
		a.disk = vfs.NewCrashableMem() // and the disk is lost
		a.at(nil)
		a.start()
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// The end of a changelog is asked for after the group's offsets: an older
// instance may commit in between. With the order turned round the start is refused.
func TestEndOfChangelogIsReadAfterTheOffsets(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		t.Run(fmt.Sprintf("swapped=%v", swapped), func(t *testing.T) {
			inWorld(t, keyedPlan("app"), 1, func(w *world) {
				w.planted = func(f *faults) { f.readEndFirst = swapped }
				a, b := w.node("a"), w.node("b")
				var held atomic.Bool
				a.network.arm(func(key int16) (strike, func()) {
					if key == int16(kmsg.EndTxn) && held.CompareAndSwap(false, true) {
						go w.evictAll() // b gets the partition while a's commit is on its way
						return hold, nil
					}
					return pass, nil
				})
				b.start() // first in the group, so that it keeps what it gets
				time.Sleep(time.Second)
				if err := b.leave(); err != nil {
					t.Fatal(err)
				}
				<-b.ended
				a.start()
				time.Sleep(time.Second)
				w.send(0, w.events(0, 20)...)
				time.Sleep(120 * time.Millisecond)
				b.start()
				time.Sleep(10 * time.Second)
				if s := b.engine.Status(); swapped {
					if _, refused := errors.AsType[*MismatchError](s.Err); !refused {
						t.Errorf("b is %s: %v, %+v", s.State, s.Err, s.Tasks)
					}
					return
				}
				w.mustCatchUp()
				w.mustBeRight()
			})
		})
	}
}

// A commit that the group knows of may reach the changelog later: Kafka answers
// it when it is decided and writes the markers behind that, one partition after
// the other. A task that starts in between waits for them. Here the offsets and
// the changelog are of two transactions, of which one is late.
func TestStartWaitsForTheMarkersOfTheChangelog(t *testing.T) {
	inWorld(t, keyedPlan("app"), 1, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		w.feed(5)
		late := w.commitOutOfBand("in", 0, 35)
		a.start()
		time.Sleep(3 * time.Second)
		if s := a.engine.Status(); s.Err != nil || s.State != Restoring {
			t.Errorf("with an open transaction in the changelog the job is %s: %v", s.State, s.Err)
		}
		late()
		w.feed(10)
		w.mustCatchUp()
		if s := a.engine.Status(); s.Err != nil || s.State != Active {
			t.Errorf("the job is %s: %v", s.State, s.Err)
		}
	})
}

// commitOutOfBand does what a peer's commit does at the brokers: a commit record
// in the changelog, and the group's offset. The transaction of the former is open
// until the returned function ends it.
func (w *world) commitOutOfBand(topic record.Topic, p record.Partition, offset record.Offset) (end func()) {
	w.t.Helper()
	ctx := context.Background()
	var newest *commitRecord
	changelog := record.TopicPartition{Topic: "app-folds-changelog", Partition: p}
	w.read(changelog, 0, w.spans("app-folds-changelog")[changelog].Stable, func(c *client.Columns) {
		for i, key := range c.Keys {
			if !isCommitKey(key) {
				continue
			}
			var err error
			if newest, err = decodeCommit(c.Values[i]); err != nil {
				w.t.Fatal(err)
			}
		}
	})
	newest.inputs[0].offset = offset
	peer := w.kafka(kgo.TransactionalID("peer"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err := peer.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	r := &kgo.Record{Topic: string(changelog.Topic), Partition: int32(p), Key: commitKey, Value: newest.append(nil)}
	if err := peer.ProduceSync(ctx, r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	var offsets kadm.Offsets
	offsets.AddOffset(string(topic), int32(p), int64(offset), -1)
	if err := kadm.NewClient(peer).CommitAllOffsets(ctx, w.plan.App, offsets); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := peer.EndTransaction(ctx, kgo.TryCommit); err != nil {
			w.t.Error(err)
		}
		peer.Close()
	}
}

// Records that were deleted from a changelog stop the one store that needs
// them, with what to do; the others go on.
func TestTruncatedChangelogStopsOneTask(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		if err := w.cluster.DeleteRecords("app-folds-changelog", 0, 3); err != nil {
			t.Fatal(err)
		}
		a.disk = vfs.NewCrashableMem()
		a.start()
		w.feed(10)
		time.Sleep(5 * time.Second)
		s := a.engine.Status()
		if _, ok := errors.AsType[*ChangelogError](s.Err); !ok || s.State != Degraded {
			t.Errorf("the job is %s: %v", s.State, s.Err)
		}
		committed, err := w.admin.GroupOffsets(context.Background(), "app")
		if err != nil {
			t.Fatal(err)
		}
		for tp, offset := range committed {
			if want := map[int32]int64{0: 30, 1: 40}[int32(tp.Partition)]; int64(offset) != want {
				t.Errorf("%s is committed up to %d, want %d", tp, offset, want)
			}
		}
	})
}

// User code that outlives its transaction costs a repetition, not a double count.
func TestSlowFunctionOutlivesTheTransaction(t *testing.T) {
	plan := keyedPlan("app")
	folds := plan.Subs[0].NewTask
	var calls atomic.Int64
	plan.Subs[0].NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		task, err := folds(cfg)
		task.(*foldTask).slow = func() {
			if calls.Add(1)%5 == 2 {
				time.Sleep(25 * time.Second)
			}
		}
		return task, err
	}
	inWorld(t, plan, 2, func(w *world) {
		w.node("a").start()
		for range 10 {
			w.feed(5)
			time.Sleep(100 * time.Millisecond)
		}
		if err := w.caughtUp(5*time.Minute, nil); err != nil {
			t.Fatal(err)
		}
		w.mustBeRight()
		if calls.Load() < 4 {
			t.Errorf("the function was called %d times", calls.Load())
		}
	})
}

// An input that was deleted and created anew has other records under the same
// offsets: its task stops and says so, also after a restart.
func TestRecreatedInputIsNotMixedIn(t *testing.T) {
	inWorld(t, keyedPlan("app"), 1, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		if err := w.cluster.DeleteTopic("in"); err != nil {
			t.Fatal(err)
		}
		if err := w.cluster.CreateTopic("in", 1, nil); err != nil {
			t.Fatal(err)
		}
		before := len(w.all("out"))
		w.producer.Close()
		w.producer = w.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		for _, e := range w.events(0, 60) {
			w.send(0, e)
		}
		time.Sleep(time.Minute)
		if s := a.engine.Status(); s.Err == nil {
			t.Errorf("the job is %s and says nothing", s.State)
		}
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		a.start()
		time.Sleep(10 * time.Second)
		if s := a.engine.Status(); s.Err == nil {
			t.Errorf("after a restart the job is %s and says nothing", s.State)
		}
		if after := len(w.all("out")); after != before {
			t.Errorf("%d outputs of the new topic's records were mixed in", after-before)
		}
	})
}

// Behind a hop there is no offset that could tell: with the topic, the cluster
// forgets the group's offsets, and the counts would just go on.
func TestRecreatedInputBehindAHopIsNotMixedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOn(t, 42, rekeyPlan("app"), 2, onOurs)
		defer w.close()
		a := w.node("a").start()
		w.send(0, w.events(0, 30)...)
		w.mustCatchUp()
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		ctx := context.Background()
		if err := errors.Join(w.admin.DeleteTopic(ctx, "in"), w.admin.CreateTopic(ctx, client.TopicSpec{Name: "in", Partitions: 2})); err != nil {
			t.Fatal(err)
		}
		before := len(w.all("out"))
		w.producer.Close()
		w.producer = w.kafka(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		w.send(0, w.events(0, 60)...)
		a.start()
		time.Sleep(20 * time.Second)
		s := a.engine.Status()
		if _, told := errors.AsType[*RecreatedError](s.Err); !told {
			t.Errorf("the job is %s: %v", s.State, s.Err)
		}
		if after := len(w.all("out")); after != before {
			t.Errorf("%d outputs of the new topic's records were mixed in", after-before)
		}
	})
}

// A changed number of input partitions moves keys away from their state: the
// job stops, and says how to go on.
func TestGrownInputIsRefused(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a").start()
		w.feed(10)
		w.mustCatchUp()
		if err := w.admin.AddPartitions(context.Background(), "in", 3); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s := a.engine.Status()
		if s.State != Failed || s.Err == nil || !strings.Contains(s.Err.Error(), "has 3 partitions, its changelog") {
			t.Errorf("the job is %s: %v", s.State, s.Err)
		}
		if err := <-a.ended; err == nil {
			t.Error("Run has not returned an error")
		}
		a.ended <- nil
	})
}

// Brokers forget a transactional id that was not used for long, and sequence
// numbers with it: the next commit goes through all the same.
func TestIdleJobCommitsAfterItsIDIsForgotten(t *testing.T) {
	inWorld(t, keyedPlan("app"), 1, func(w *world) {
		w.node("a").start()
		w.feed(10)
		w.mustCatchUp()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		id := w.instances[0].engine.Status().Peers[0].TransactionalID
		fenced := w.fence(ctx, id) // the nearest that a broker without expiry comes to it
		if fenced != nil {
			t.Fatal(fenced)
		}
		w.feed(10)
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// fence bumps the epoch of a transactional id.
func (w *world) fence(ctx context.Context, id string) error {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.TransactionalID, r.TransactionTimeoutMillis = &id, 10_000
	answer, err := r.RequestWith(ctx, w.producer)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.ErrorCode)
}

// A stop does not wait for brokers that are away, with work open or without; a
// job that is not stopped waits, and goes on when they are back.
func TestBrokersAreAway(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a").start()
		w.feed(20)
		w.mustCatchUp()
		a.at(nil)
		for _, away := range []time.Duration{5 * time.Second, 10 * time.Minute} {
			a.at(once(afterPrepare, a.network.cut))
			w.feed(20)
			time.Sleep(away)
			a.network.mend()
			w.mustCatchUp()
		}
		a.at(once(afterPrepare, a.network.cut))
		w.feed(20)
		time.Sleep(time.Second)
		began := time.Now()
		if err := a.leave(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the stop took %v", took)
		}
		<-a.ended
		a.network.mend()
		a.start()
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// State that the disk does not give back while the job runs is dropped and
// restored; nothing else stops.
func TestDamageWhileRunningIsMended(t *testing.T) {
	plan := keyedPlan("app")
	folds := plan.Subs[0].NewTask
	var broken atomic.Bool
	plan.Subs[0].NewTask = func(cfg topology.TaskConfig) (topology.Task, error) {
		cfg.Backings[0] = rotten{cfg.Backings[0], &broken, cfg.Partition}
		return folds(cfg)
	}
	inWorld(t, plan, 2, func(w *world) {
		a := w.node("a").start()
		w.feed(40)
		w.mustCatchUp()
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		<-a.ended
		a.start() // with cold tables
		broken.Store(true)
		w.feed(40)
		w.mustCatchUp()
		w.mustBeRight()
		if broken.Load() {
			t.Error("the damaged part was never read")
		}
	})
}

// rotten is a disk of which one read fails.
type rotten struct {
	state.Backing
	broken *atomic.Bool
	p      record.Partition
}

func (r rotten) Get(key []byte) ([]byte, bool, error) {
	if r.p == 1 && r.broken.CompareAndSwap(true, false) {
		return nil, false, &store.DamageError{Store: "folds", Partition: r.p, Err: errors.New("a checksum is wrong")}
	}
	return r.Backing.Get(key)
}
