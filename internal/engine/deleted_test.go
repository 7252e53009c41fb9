//go:build synctests

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// An input that is deleted stops its task and is named, also when a transaction
// with its offsets is open, which the brokers then refuse. The session goes on,
// so that what was counted can be read, and nobody makes a topic of that name.
func TestDeletedInputIsNamed(t *testing.T) {
	for _, at := range []point{beforeProduce, afterPrepare, afterSent, afterApply} {
		onRekeyed(t, string(at), []clusterKind{onFake, onOurs}, func(w *world, a *node) {
			deleted := make(chan error, 1)
			a.at(once(at, func() { deleted <- w.admin.DeleteTopic(context.Background(), "in") }))
			w.send(0, w.events(0, 1)...)
			if err := <-deleted; err != nil {
				w.t.Fatal(err)
			}
			w.awaitError(a, isDeleted)
			w.mustNotExist("in")
			readers := 0
			err := a.engine.ReadEach("counts", func(topology.Reading) error { readers++; return nil })
			if err != nil || readers == 0 {
				w.t.Errorf("%d tasks can be read: %v", readers, err)
			}
		})
	}
}

// A session that follows one whose input was deleted does not make it anew, and
// takes no other one of that name for it.
func TestNextSessionKnowsItsInputs(t *testing.T) {
	onRekeyed(t, "fenced", []clusterKind{onOurs}, func(w *world, a *node) {
		gone := make(chan error, 1)
		a.at(once(afterSent, func() {
			err := w.admin.DeleteTopic(context.Background(), "in")
			gone <- errors.Join(err, w.fence(context.Background(), "app-"+a.name)) // which ends the session
		}))
		w.send(0, w.events(0, 1)...)
		if err := <-gone; err != nil {
			w.t.Fatal(err)
		}
		w.awaitError(a, isDeleted)
		w.mustNotExist("in")
		if err := w.admin.CreateTopic(context.Background(), client.TopicSpec{Name: "in", Partitions: 1}); err != nil {
			w.t.Fatal(err)
		}
		w.awaitError(a, func(err error) bool {
			_, recreated := errors.AsType[*RecreatedError](err)
			return recreated
		})
	})
}

// onRekeyed runs a test on clusters with an instance that has counted
// something, by a job that keeps no state beside its input.
func onRekeyed(t *testing.T, name string, clusters []clusterKind, test func(*world, *node)) {
	for _, on := range clusters {
		t.Run(fmt.Sprintf("%s ours=%v", name, on == onOurs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldOn(t, 42, rekeyPlan("app"), 1, on)
				defer w.close()
				w.options = func(o *Options) { o.InstanceID = "a" }
				a := w.node("a").start()
				w.send(0, w.events(0, 30)...)
				w.mustCatchUp()
				test(w, a)
			})
		})
	}
}

func isDeleted(err error) bool {
	unknown, is := errors.AsType[client.UnknownTopicError](err)
	return is && unknown.Topic == "in"
}

// awaitError waits until the job says what is wrong.
func (w *world) awaitError(n *node, is func(error) bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s := n.engine.Status()
		if s.State == Degraded && is(s.Err) {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("the job is %s and says %v", s.State, s.Err)
		}
	}
}

func (w *world) mustNotExist(topic string) {
	w.t.Helper()
	if topics, err := w.admin.Facts(context.Background()); err != nil {
		w.t.Error(err)
	} else if f, there := topics[record.Topic(topic)]; there {
		w.t.Errorf("the deleted topic %q is there: %v", topic, f)
	}
}
