//go:build synctests

package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/client"
)

// While the brokers are away, the job names those that do not answer.
func TestJobNamesBrokersThatAreAway(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		a.network.cut()
		named := 0
		for range 600 {
			time.Sleep(200 * time.Millisecond)
			s := a.engine.Status()
			if away, ok := errors.AsType[*client.AwayError](s.Err); ok && slices.Equal(away.Brokers, w.brokers) {
				named++
			}
		}
		if named == 0 {
			w.t.Errorf("in two minutes without brokers none was named: %+v", a.engine.Status())
		}
		a.network.mend()
		w.feed(10)
		w.mustCatchUp()
		time.Sleep(5 * time.Second)
		if s := a.engine.Status(); s.State != Active || s.Err != nil {
			w.t.Errorf("the brokers are back, and the job is %s: %v", s.State, s.Err)
		}
		w.mustBeRight()
	})
}

// While the brokers take no record, as with a full disk, nothing is committed: the
// job says so when that takes longer than a transaction may, keeps saying so over
// the sessions that it loses, and is well again by itself. Quiet is no stall.
func TestJobSaysThatNothingIsCommitted(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		time.Sleep(time.Hour)
		if s := a.engine.Status(); s.State != Active || s.Err != nil || a.engine.owed() != 0 {
			t.Errorf("there is nothing to commit, and the job is %s: %v, %v owed", s.State, s.Err, a.engine.owed())
		}
		a.network.arm(func(key int16) (strike, func()) {
			if key == int16(kmsg.Produce) {
				return cutBefore, nil
			}
			return pass, nil
		})
		w.feed(10)
		time.Sleep(a.engine.options.TransactionTimeout - time.Second)
		if s := a.engine.Status(); s.State != Active {
			t.Errorf("a slow commit is no stall, and the job is %s: %v", s.State, s.Err)
		}
		stalls := 0
		for range 600 {
			time.Sleep(200 * time.Millisecond)
			s := a.engine.Status()
			if _, stalled := errors.AsType[*StalledError](s.Err); stalled && s.State == Degraded {
				stalls++
			}
			if s.State == Active && a.engine.owed() > a.engine.options.TransactionTimeout {
				w.t.Fatalf("nothing was committed for %v, and the job is %s", a.engine.owed(), s.State)
			}
		}
		if stalls < 10 {
			t.Errorf("in two minutes without a commit the job said %d times of 600 that nothing is committed", stalls)
		}
		if owed := a.engine.owed(); owed < 2*time.Minute {
			t.Errorf("the first record waits for two minutes, and the metric says %v", owed)
		}
		a.network.arm(nil)
		w.mustCatchUp()
		time.Sleep(5 * time.Second)
		if s := a.engine.Status(); s.State != Active || s.Err != nil || a.engine.owed() != 0 {
			t.Errorf("the brokers take records again, and the job is %s: %v, %v owed", s.State, s.Err, a.engine.owed())
		}
		w.mustBeRight()
	})
}
