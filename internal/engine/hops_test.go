//go:build synctests

package engine

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A transaction whose owner is gone holds up its readers. The broker's metric
// says so within half a minute, its list of transactions names the owner, and
// at the timeout it is over.
func TestHungTransactionIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOn(t, 42, keyedPlan("app"), 1, onOurs)
		defer w.close()
		w.options = func(o *Options) { o.TransactionTimeout = time.Minute }
		a := w.node("a")
		a.start()
		w.send(0, w.events(0, 10)...)
		w.mustCatchUp()
		if stuck := w.ours.gauge("millrace_broker_open_transaction_partitions"); stuck != 0 {
			t.Errorf("%v partitions are held up while all is well", stuck)
		}
		id := a.engine.Status().Peers[0].TransactionalID
		a.at(once(afterSent, func() { a.kill(0, rand.New(rand.NewPCG(1, 1))) }))
		w.send(0, w.events(0, 10)...)
		<-a.dead
		time.Sleep(30 * time.Second)
		if _, err := w.settled(); err == nil {
			t.Fatal("nothing is open: the test proves nothing")
		}
		if age := w.ours.gauge("millrace_broker_open_transaction_seconds"); age < 29 || age > 32 {
			t.Errorf("after half a minute the metric says %v s", age)
		}
		all, err := w.admin.Transactions(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		named := false
		for _, txn := range all {
			if txn.Open() {
				named = txn.ID == id && time.Since(txn.Started) > 29*time.Second && len(txn.Partitions) > 0
			}
		}
		if !named {
			t.Errorf("%s, which is dead, is not named: %+v", id, all)
		}
		time.Sleep(40 * time.Second)
		if _, err := w.settled(); err != nil {
			t.Errorf("behind the timeout: %v", err)
		}
		if stuck := w.ours.gauge("millrace_broker_open_transaction_partitions"); stuck != 0 {
			t.Errorf("behind the timeout the metric says %v", stuck)
		}
		a.at(nil)
		a.revive()
		w.mustCatchUp()
		w.mustBeRight()
	})
}

// gauge is the highest of a metric's series; 0 when there is none.
func (o *ourBroker) gauge(name string) (highest float64) {
	o.world.t.Helper()
	families, err := o.metrics.Gather()
	if err != nil {
		o.world.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				highest = max(highest, m.GetGauge().GetValue())
			}
		}
	}
	return highest
}

// Each hop through a topic costs one commit, not more: what two sub-topologies
// do is visible within two waits for a commit, and the time that commits take,
// which on this clock is nothing but the brokers' bookkeeping. Few records wait
// for a tenth of the interval, when there is nothing more to read.
func TestTwoHopsTakeTwoIntervals(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second} {
		t.Run(interval.String(), func(t *testing.T) {
			inWorld(t, rekeyPlan("app"), 1, func(w *world) {
				w.options = func(o *Options) { o.CommitInterval = interval }
				w.node("a").start()
				w.send(0, event{"k", "warm"})
				w.mustCatchUp()
				const records = 400
				sent := make([]time.Time, 0, records)
				seen := w.whenSeen("v", records)
				for range records {
					w.send(0, event{"k", "v"})
					sent = append(sent, time.Now())
					time.Sleep(7 * time.Millisecond)
				}
				arrived := <-seen
				if arrived == nil {
					t.Fatal("not all results came")
				}
				var took []time.Duration
				for i, at := range arrived {
					took = append(took, at.Sub(sent[i]))
				}
				slices.Sort(took)
				p50, p99 := took[records/2], took[records*99/100]
				t.Logf("p50 %v, p99 %v", p50, p99)
				if bound := 2*(interval/10) + 20*time.Millisecond; p99 > bound {
					t.Errorf("p99 is %v, two waits of a tenth of %v and the commits are %v", p99, interval, bound)
				}
			})
		})
	}
}

// whenSeen watches the outputs as a read_committed consumer, and tells when the
// count of a value reached 1, 2, 3…; nil when it did not within a minute.
func (w *world) whenSeen(value string, n int) <-chan []time.Time {
	c := w.kafka(kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(10*time.Millisecond))
	done := make(chan []time.Time, 1)
	go func() {
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var at []time.Time
		for len(at) < n && ctx.Err() == nil {
			c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if string(r.Key) == value {
					for count := binary.BigEndian.Uint64(r.Value); uint64(len(at)) < count; {
						at = append(at, time.Now())
					}
				}
			})
		}
		if len(at) < n {
			at = nil
		}
		done <- at
	}()
	return done
}
