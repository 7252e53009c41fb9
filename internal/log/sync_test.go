package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// slowDisk makes each sync take a while, and counts them.
func slowDisk(d time.Duration) (disk *crashfs.FS, syncs func() int) {
	disk = crashfs.New()
	var mu sync.Mutex
	n := 0
	disk.OnOp(func(op crashfs.Op) {
		if op.Kind.Syncs() {
			mu.Lock()
			n++
			mu.Unlock()
			time.Sleep(d)
		}
	}, nil)
	return disk, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestNothingIsReadableBeforeItsSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{}), Config{})
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		if data, err := l.Read(0, 1000, nil); l.HighWatermark() != 0 || len(data) > 0 || err != nil {
			t.Fatalf("high watermark %d, read %d bytes, %v before the sync", l.HighWatermark(), len(data), err)
		}
		began := time.Now()
		if err := a.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < time.Millisecond {
			t.Errorf("acknowledged after %v, before the sync was done", took)
		}
		if got := readAll(t, l, 0); got != 1 {
			t.Errorf("read %d records", got)
		}
	})
}

// While one sync runs, all who come wait for the next one: 64 callers need two.
func TestSyncsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, syncs := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{}), Config{})
		before := syncs()
		began := time.Now()
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() { appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), fmt.Sprint(i))) })
		}
		group.Wait()
		if n := syncs() - before; n > 2 {
			t.Errorf("%d syncs", n)
		}
		// Two syncs, and at most as long as one of them between them, for those who
		// may come back: see gathering.
		if took := time.Since(began); took > 3*time.Millisecond {
			t.Errorf("64 appends took %v", took)
		}
	})
}

// From two files on, one sync of the file system costs less.
func TestManyPartitionsShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, syncs := slowDisk(time.Millisecond)
		s := openFS(t, disk, Options{})
		specs := make([]CreateSpec, 100)
		for i := range specs {
			specs[i] = CreateSpec{TP: record.TopicPartition{Topic: "many", Partition: record.Partition(i)}}
		}
		if err := s.Create(specs); err != nil {
			t.Fatal(err)
		}
		before := syncs()
		var all []Appended
		for _, l := range s.Logs() {
			a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{Sync: true})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		for _, a := range all {
			if err := a.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if n := syncs() - before; n > manyFiles+2 { // the first rounds may be small
			t.Errorf("%d syncs for 100 partitions", n)
		}
	})
}

func TestUnwaitedAppendsAreSyncedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openFS(t, disk, Options{BackgroundSync: 100 * time.Millisecond, BackgroundBytes: 10_000})
		l := create(t, s, Config{})
		if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		if l.HighWatermark() != 0 {
			t.Fatal("synced too early: nobody waits")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if l.HighWatermark() != 1 {
			t.Fatal("not synced after the background interval")
		}
		for range 10 { // bytes start it at once
			if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), string(make([]byte, 1000))), AppendOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if l.HighWatermark() != 11 {
			t.Errorf("high watermark %d after %d bytes", l.HighWatermark(), 10_000)
		}
	})
}

func TestDurabilityOS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, syncs := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{Durability: OS, CheckpointInterval: 5 * time.Second}), Config{})
		before, began := syncs(), time.Now()
		appendSync(t, l, makeBatch(noProducer, began.UnixMilli(), "value-0"))
		if got := readAll(t, l, 0); got != 1 || time.Since(began) > 0 || syncs() > before {
			t.Errorf("read %d records after %v and %d syncs, want 1 at once and none", got, time.Since(began), syncs()-before)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if l.durable.Load() != 1 {
			t.Error("the checkpoint has not synced it")
		}
	})
}

func TestTopicsChooseTheirDurability(t *testing.T) {
	for _, c := range []struct {
		server       Durability
		messages, ms int64
		want         Durability
	}{
		{Fsync, Unset, Unset, Fsync},
		{OS, Unset, Unset, OS},
		{OS, 1, Unset, Fsync},
		{OS, Unset, 0, Fsync},
		{Fsync, 1000, Unset, OS},
		{Fsync, Unset, 50, OS},
		{Fsync, 1, 50, Fsync},
	} {
		cfg := DefaultConfig()
		cfg.FlushMessages, cfg.FlushMs = c.messages, c.ms
		if got := cfg.durability(c.server); got != c.want {
			t.Errorf("server %v, flush.messages %d, flush.ms %d: %v, want %v", c.server, c.messages, c.ms, got, c.want)
		}
	}
}

func TestFlushMessagesAndFlushMs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFS(t, crashfs.New(), Options{CheckpointInterval: time.Hour})
		cfg := DefaultConfig()
		cfg.FlushMessages, cfg.FlushMs = 3, 1000
		l := create(t, s, cfg)
		add := func() {
			if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), numbered(int(l.NextOffset()))), AppendOptions{Sync: true}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		add()
		add()
		if l.HighWatermark() != 2 || l.durable.Load() != 0 {
			t.Fatalf("high watermark %d, durable %d after two records", l.HighWatermark(), l.durable.Load())
		}
		add()
		if l.durable.Load() != 3 {
			t.Fatalf("durable %d after flush.messages", l.durable.Load())
		}
		add()
		time.Sleep(time.Second)
		synctest.Wait()
		if l.durable.Load() != 4 {
			t.Errorf("durable %d after flush.ms", l.durable.Load())
		}
	})
}

func TestAChangeToFsyncKeepsWhatIsVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := create(t, openFS(t, crashfs.New(), Options{Durability: OS, CheckpointInterval: time.Hour}), Config{})
		fill(t, l, 5, 1)
		cfg := DefaultConfig()
		cfg.FlushMessages = 1
		l.SetConfig(cfg)
		if l.HighWatermark() != 5 {
			t.Fatalf("high watermark %d", l.HighWatermark())
		}
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), "value-5"))
		if l.HighWatermark() != 6 || l.durable.Load() != 6 {
			t.Errorf("high watermark %d, durable %d", l.HighWatermark(), l.durable.Load())
		}
		l.SetConfig(DefaultConfig())
		fill(t, l, 7, 1)
		if l.HighWatermark() != 7 {
			t.Errorf("high watermark %d under OS again", l.HighWatermark())
		}
	})
}

// A failed sync of the whole file system fails every partition of the round.
func TestAFailedWholeSyncFailsAllInTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openFS(t, disk, Options{CheckpointInterval: time.Hour})
		specs := make([]CreateSpec, 20)
		for i := range specs {
			specs[i] = CreateSpec{TP: record.TopicPartition{Topic: "many", Partition: record.Partition(i)}}
		}
		if err := s.Create(specs); err != nil {
			t.Fatal(err)
		}
		disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncAll}, Err: syscall.EIO})
		var all []Appended
		for _, l := range s.Logs()[:19] {
			a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		for _, a := range all {
			if err := a.Wait(context.Background()); !errors.Is(err, ErrFailed) {
				t.Fatalf("%s: %v", a.log.TP(), err)
			}
		}
		appendSync(t, s.Logs()[19], makeBatch(noProducer, time.Now().UnixMilli(), "value-0")) // it was not in that round
		if err := s.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("closed with %v", err)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := create(t, openFS(t, crashfs.New(), Options{BackgroundSync: time.Hour}), Config{})
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// Close gives those who wait the sync that they wait for.
func TestCloseAnswersWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		s := openFS(t, disk, Options{BackgroundSync: time.Hour})
		l := create(t, s, Config{})
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { waited <- a.Wait(context.Background()) }()
		w := NewWaiter()
		if !l.Watch(w, 0) {
			t.Fatal("nothing to see yet, but Watch does not watch")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-waited; err != nil {
			t.Errorf("the wait ended with %v", err)
		}
		<-w.C
		if _, err := l.Append(makeBatch(noProducer, 0, "x"), AppendOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("append after Close: %v", err)
		}
		if _, err := l.Read(0, 100, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("read after Close: %v", err)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFS(t, crashfs.New(), Options{})
		l := create(t, s, Config{})
		w := NewWaiter()
		if !l.Watch(w, 0) {
			t.Fatal("an empty log has something to see")
		}
		woken := func() bool {
			synctest.Wait()
			select {
			case <-w.C:
				return true
			default:
				return false
			}
		}
		if woken() {
			t.Fatal("woken by nothing")
		}
		fill(t, l, 1, 1)
		if !woken() {
			t.Fatal("not woken by a record")
		}
		fill(t, l, 3, 1)
		if !woken() || woken() {
			t.Fatal("two moves are one wake-up")
		}
		l.Unwatch(w)
		fill(t, l, 4, 1)
		if woken() {
			t.Fatal("woken after Unwatch")
		}
		if l.Watch(w, 3) {
			t.Error("Watch waits although there is a record to see")
		}
		if !l.Watch(w, 4) {
			t.Error("Watch does not wait at the end")
		}
		if err := s.Delete([]record.TopicPartition{tp0}); err != nil {
			t.Fatal(err)
		}
		if !woken() {
			t.Error("not woken by the deletion")
		}
		if l.Watch(w, 4) {
			t.Error("Watch waits for a deleted log")
		}
	})
}

func TestRetentionNeverOverflows(t *testing.T) {
	for _, c := range []struct {
		ts, now, age int64
		want         bool
	}{
		{0, 1000, 999, true}, {1, 1000, 999, false}, {1000, 1000, 0, false}, {999, 1000, 0, true},
		{math.MinInt64, math.MaxInt64, math.MaxInt64, true},
		{math.MaxInt64, 0, 0, false}, {math.MaxInt64, math.MinInt64, 0, false}, {-1, math.MaxInt64, math.MaxInt64, true},
	} {
		if got := olderThan(c.ts, c.now, c.age); got != c.want {
			t.Errorf("%d is older than %d by %d: %v, want %v", c.ts, c.now, c.age, got, c.want)
		}
	}
}

// A wait that begins while the round that covers it is in progress ends with that
// round, also when the record joined an earlier one that left it out.
func TestWaitDuringTheRoundThatCoversIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const syncTime = time.Millisecond
		disk, _ := slowDisk(syncTime)
		s := openFS(t, disk, Options{BackgroundSync: 100 * time.Millisecond, CheckpointInterval: time.Hour})
		patient := create(t, s, Config{})
		other := record.TopicPartition{Topic: "other"}
		if err := s.Create([]CreateSpec{{TP: other}}); err != nil {
			t.Fatal(err)
		}
		urgent, _ := s.Log(other)

		began := time.Now()
		late, err := patient.Append(makeBatch(noProducer, time.Now().UnixMilli(), "in no hurry"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		appendSync(t, urgent, makeBatch(noProducer, time.Now().UnixMilli(), "ends the round that late has joined"))
		time.Sleep(time.Until(began.Add(100*time.Millisecond + syncTime/2)))

		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := late.Wait(ctx); err != nil {
			t.Errorf("the background sync did not end the wait: %v", err)
		}
	})
}

// The same for a batch that is repeated while its first copy is being synced: it
// joins no round of its own.
func TestWaitOfARepeatedBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, _ := slowDisk(time.Millisecond)
		l := create(t, openFS(t, disk, Options{BackgroundSync: 10 * time.Millisecond, CheckpointInterval: time.Hour}), Config{})
		b := makeBatch(producerSpec{id: 1}, time.Now().UnixMilli(), "value-0")
		if _, err := l.Append(slices.Clone(b), AppendOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Millisecond + 500*time.Microsecond) // into its sync
		repeated, err := l.Append(slices.Clone(b), AppendOptions{})
		if err != nil || !repeated.Duplicate || l.HighWatermark() != 0 {
			t.Fatal(repeated, err, l.HighWatermark())
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := repeated.Wait(ctx); err != nil {
			t.Error(err)
		}
	})
}

// A sync of the file system that others have slowed down is not used for a few
// files for a while.
func TestASlowWholeSyncIsAvoided(t *testing.T) {
	s := &syncer{}
	if s.prefersWhole(1) || !s.prefersWhole(2) {
		t.Error("one file is synced by itself, two as a whole")
	}
	s.avoidWhole = wholeAvoids
	if s.prefersWhole(manyFiles) || !s.prefersWhole(manyFiles+1) {
		t.Error("few files are synced one by one, many as a whole")
	}
	for range wholeAvoids {
		_ = s.prefersWhole(2)
	}
	if !s.prefersWhole(2) {
		t.Error("it is not tried again")
	}
}
