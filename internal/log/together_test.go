package log

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"millrace/record"
)

// appendLater appends without a sync.
func appendLater(t testing.TB, l *Log, value string) Appended {
	t.Helper()
	a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), value), AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// appendHere does the sync on its own goroutine, if it may.
func appendHere(t testing.TB, l *Log, value string) Appended {
	t.Helper()
	a := appendLater(t, l, value)
	l.store.SyncHere(l)
	return a
}

// A caller who is alone does the round itself, and the store's goroutine has no
// part in it.
func TestTheCallerDoesTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{}), Config{})
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "the first round shows that the disk is quick"))
		for i := range 5 {
			synctest.Wait()
			rounds, began := l.store.SyncRounds(), time.Now()
			a := appendHere(t, l, fmt.Sprint(i))
			if !a.Safe() || time.Since(began) != time.Millisecond || l.store.SyncRounds() != rounds+1 {
				t.Fatalf("safe: %v after %v and %d rounds, want one sync", a.Safe(), time.Since(began), l.store.SyncRounds()-rounds)
			}
			if i > 0 && len(l.store.syncer.kick) > 0 {
				t.Fatal("the store's goroutine is woken for a round that is done")
			}
		}
	})
}

// Callers who come during a round share the next one, as in TestSyncsAreShared.
func TestCallersShareTheirRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, syncs := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{}), Config{})
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "quick"))
		before, began := syncs(), time.Now()
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() {
				for j := range 10 {
					a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), fmt.Sprint(i, j)), AppendOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					l.store.SyncHere(l)
					if err := a.Wait(context.Background()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		if n := syncs() - before; n > 20 {
			t.Errorf("%d syncs for ten times 64 appends", n)
		}
		if took := time.Since(began); took > 25*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// On a slow disk a caller is not held up beyond its patience: the round is that of
// the store's goroutine.
func TestNoCallerDoesASlowRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(2 * slowRound)
		l := create(t, openFS(t, disk, Options{}), Config{})
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "slow"))
		began := time.Now()
		a := appendHere(t, l, "x")
		if took := time.Since(began); took > 0 || a.Safe() {
			t.Fatalf("the caller was held up for %v, safe: %v", took, a.Safe())
		}
		if err := a.Wait(context.Background()); err != nil || time.Since(began) != 2*slowRound {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What nobody waits for is synced in time while callers do all the rounds.
func TestBackgroundSyncBesideCallersRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		s := openFS(t, disk, Options{BackgroundSync: 50 * time.Millisecond})
		l := create(t, s, Config{})
		other := record.TopicPartition{Topic: "other"}
		if err := s.Create([]CreateSpec{{TP: other}}); err != nil {
			t.Fatal(err)
		}
		patient, _ := s.Log(other)
		for i := range 20 {
			began := time.Now()
			a := appendLater(t, patient, "in no hurry")
			for time.Since(began) < 55*time.Millisecond {
				if err := appendHere(t, l, fmt.Sprint(i)).Wait(context.Background()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			}
			if !a.Safe() {
				t.Fatalf("%d: not durable after %v", i, time.Since(began))
			}
		}
	})
}

// Close waits for the round that a caller is at, and syncs what came behind it.
func TestCloseBesideACallersRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		s := openFS(t, disk, Options{BackgroundSync: time.Hour, CheckpointInterval: time.Hour})
		l := create(t, s, Config{})
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "quick"))
		mine := appendLater(t, l, "the caller's")
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.SyncHere(l)
		}()
		time.Sleep(500 * time.Microsecond) // into its sync
		late := appendLater(t, l, "behind it")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		<-done
		if !mine.Safe() || !late.Safe() {
			t.Errorf("safe: %v and %v", mine.Safe(), late.Safe())
		}
	})
}

// Who comes during the round of a caller that does not come back gets the next one
// at once.
func TestTheRoundBehindACallersOne(t *testing.T) {
	for name, ask := range map[string]func(*Store, ...*Log){"here": (*Store).SyncHere, "together": (*Store).SyncTogether} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, _ := slowDisk(time.Millisecond)
				l := create(t, openFS(t, disk, Options{}), Config{})
				appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "quick"))
				began := time.Now()
				appendLater(t, l, "the caller's")
				go l.store.SyncHere(l)
				time.Sleep(500 * time.Microsecond) // into its sync
				a := appendLater(t, l, "behind it")
				ask(l.store, l)
				if err := a.Wait(context.Background()); err != nil || time.Since(began) > 3*time.Millisecond {
					t.Errorf("%v after %v, want two syncs, and the second one held for as long", err, time.Since(began))
				}
			})
		})
	}
}
