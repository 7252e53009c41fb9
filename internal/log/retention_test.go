package log

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// smallSegments is a configuration in which a segment holds four small batches.
func smallSegments() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes = 300
	return cfg
}

func files(t *testing.T, disk *crashfs.FS, kind fileKind) (names []string) {
	t.Helper()
	all, err := disk.List(tp0.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasSuffix(name, string(kind)) {
			names = append(names, name)
		}
	}
	return names
}

func TestRetentionByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		disk := crashfs.New()
		s := openFS(t, disk, Options{Now: clock.now})
		l := create(t, s, smallSegments())
		for range 7 { // a segment and a bit per day
			fill(t, l, int(l.NextOffset())+5, 1)
			clock.advance(24 * time.Hour)
		}
		time.Sleep(s.opts.RetentionInterval)
		synctest.Wait()
		if l.StartOffset() != 0 {
			t.Fatalf("log start %d after seven days", l.StartOffset())
		}
		clock.advance(24 * time.Hour)
		time.Sleep(s.opts.RetentionInterval)
		synctest.Wait()
		start := l.StartOffset()
		if start == 0 || start > 5 {
			t.Fatalf("log start %d after eight days: the first day has five records", start)
		}
		if got := readAll(t, l, start); got != 35-int(start) {
			t.Errorf("%d records", got)
		}
		if left := files(t, disk, dataFile); left[0] != fileName(start, dataFile) {
			t.Errorf("files %v", left)
		}
	})
}

func TestRetentionBySize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFS(t, crashfs.New(), Options{})
		cfg := smallSegments()
		cfg.RetentionBytes, cfg.RetentionMs = 1000, -1
		l := create(t, s, cfg)
		fill(t, l, 100, 1)
		time.Sleep(s.opts.RetentionInterval)
		synctest.Wait()
		if size := l.SizeBytes(); size < 1000 || size > 1300 {
			t.Errorf("%d bytes are kept, want 1000 and at most one segment more", size)
		}
		if l.NextOffset() != 100 {
			t.Errorf("next offset %d", l.NextOffset())
		}
	})
}

func TestRecordsWithoutTimestampDoNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		s := openFS(t, crashfs.New(), Options{Now: clock.now})
		l := create(t, s, smallSegments())
		for range 10 {
			appendSync(t, l, makeBatch(noProducer, -1, "value"))
		}
		clock.advance(100 * 24 * time.Hour)
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.StartOffset() != 0 {
			t.Errorf("log start %d", l.StartOffset())
		}
	})
}

// An index that lies about time deletes nothing (corruption never becomes deletion).
func TestALyingTimeIndexDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		disk := crashfs.New()
		cfg := smallSegments()
		cfg.IndexIntervalBytes = 1
		o := Options{Now: clock.now, ConfigOf: func(record.TopicPartition) Config { return cfg }}
		s := openFS(t, disk, o)
		fill(t, create(t, s, cfg), 20, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range files(t, disk, timesFile) {
			path := tp0.String() + "/" + name
			content, _ := disk.ReadFile(path)
			for i := 0; i < len(content); i += timeEntrySize {
				clear(content[i : i+8]) // 1970
			}
			if err := disk.Put(path, content); err != nil {
				t.Fatal(err)
			}
		}
		l := theLog(t, openFS(t, disk, o))
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.StartOffset() != 0 || readAll(t, l, 0) != 20 {
			t.Errorf("log start %d", l.StartOffset())
		}
	})
}

// The disk does not take the new log start: then nothing may go.
func TestNothingIsDeletedBeforeTheLogStartIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openFS(t, disk, Options{})
		l := create(t, s, smallSegments())
		fill(t, l, 20, 1)
		disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData}, Name: logStartFile + "*", Err: syscall.EIO, Times: -1})
		before := len(files(t, disk, dataFile))
		if _, err := l.DeleteRecords(15); err == nil {
			t.Fatal("DeleteRecords succeeded without a durable log start")
		}
		if l.StartOffset() != 0 || len(files(t, disk, dataFile)) != before || readAll(t, l, 0) != 20 {
			t.Errorf("log start %d, %d files of %d", l.StartOffset(), len(files(t, disk, dataFile)), before)
		}
		disk.Heal()
		if start, err := l.DeleteRecords(15); err != nil || start != 15 {
			t.Fatal(start, err)
		}
	})
}

func TestDeleteRecordsKnowsItsBounds(t *testing.T) {
	l := create(t, openFS(t, crashfs.New(), Options{}), smallSegments())
	fill(t, l, 20, 1)
	for _, before := range []record.Offset{-1, 21} {
		if _, err := l.DeleteRecords(before); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("before %d: %v", before, err)
		}
	}
	for _, step := range []struct{ before, want record.Offset }{{7, 7}, {3, 7}, {20, 20}} {
		if start, err := l.DeleteRecords(step.before); err != nil || start != step.want {
			t.Errorf("before %d: %d, %v, want %d", step.before, start, err, step.want)
		}
	}
	if len(l.Segments()) != 1 {
		t.Errorf("segments %v: those below the log start stay", l.Segments())
	}
}

func TestSegmentMs(t *testing.T) {
	clock := newClock()
	l := create(t, openFS(t, crashfs.New(), Options{Now: clock.now}), DefaultConfig())
	cfg := DefaultConfig()
	cfg.SegmentMs = 1000
	l.SetConfig(cfg)
	for range 4 {
		fill(t, l, int(l.NextOffset())+2, 1)
		clock.advance(time.Second)
	}
	if got := len(l.Segments()); got != 4 {
		t.Errorf("%d segments, want 4", got)
	}
	// History with old timestamps is no reason for a segment per batch.
	for i := range 10 {
		appendSync(t, l, makeBatch(noProducer, int64(i), numbered(8+i)))
	}
	if got := len(l.Segments()); got != 5 {
		t.Errorf("%d segments, want 5", got)
	}
}

func TestADeletedTopicStaysDeleted(t *testing.T) {
	for _, policy := range crashfs.Policies() {
		disk := crashfs.New()
		s := openFS(t, disk, Options{})
		fill(t, create(t, s, smallSegments()), 20, 1)
		old := theLog(t, s)
		if err := s.Delete([]record.TopicPartition{tp0, {Topic: "unknown"}}); err != nil {
			t.Fatal(err)
		}
		if _, there := s.Log(tp0); there {
			t.Fatal("still there")
		}
		if _, err := old.Read(0, 100, nil); !errors.Is(err, ErrDeleted) {
			t.Errorf("read: %v", err)
		}
		if _, err := old.Append(makeBatch(noProducer, 0, "x"), AppendOptions{}); !errors.Is(err, ErrDeleted) {
			t.Errorf("append: %v", err)
		}
		if again := openFS(t, disk.Crash(policy, 1), Options{}); len(again.Logs()) > 0 {
			t.Errorf("%v: it is back after a crash", policy)
		}
		l := create(t, s, smallSegments()) // the same name again
		if l.NextOffset() != 0 {
			t.Errorf("the new topic starts at %d", l.NextOffset())
		}
		fill(t, l, 5, 1)
		if got := readAll(t, l, 0); got != 5 {
			t.Errorf("the new topic has %d records", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again := openFS(t, disk, Options{})
		if got := readAll(t, theLog(t, again), 0); got != 5 {
			t.Errorf("the new topic has %d records after a restart", got)
		}
		again.removals.Wait()
		names, _ := disk.List(".")
		if slices.ContainsFunc(names, isCondemned) {
			t.Errorf("leftovers: %v", names)
		}
	}
}

func TestCondemnedNames(t *testing.T) {
	long := strings.Repeat("x", 249) + "-12345"
	for _, dir := range []string{"clicks-0", "a.b-c-1", long} {
		name := condemnedName(dir)
		if !isCondemned(name) || len(name) > 255 {
			t.Errorf("%s becomes %s", dir, name)
		}
		if _, ok := parseDirName(name); ok {
			t.Errorf("%s passes for a partition", name)
		}
	}
	for _, name := range []string{"clicks-0", "a-delete", "a.deadbeef-delete", "x.zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-delete"} {
		if isCondemned(name) {
			t.Errorf("%s would be removed", name)
		}
	}
}

func TestParseDirName(t *testing.T) {
	for name, want := range map[string]record.TopicPartition{
		"clicks-0":    {Topic: "clicks", Partition: 0},
		"a-b-17":      {Topic: "a-b", Partition: 17},
		"a--1":        {Topic: "a-", Partition: 1},
		"a.b_c-99999": {Topic: "a.b_c", Partition: 99999},
	} {
		if got, ok := parseDirName(name); !ok || got != want {
			t.Errorf("%s: %v %v", name, got, ok)
		}
	}
	for _, name := range []string{"clicks", "clicks-", "-1", "clicks-01", "clicks-+1", "clicks-4294967296", "cl icks-1", "__cluster_metadata"} {
		if got, ok := parseDirName(name); ok {
			t.Errorf("%s passes for %v", name, got)
		}
	}
}

func TestCreateIsAllOrNothing(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	specs := func(n int) (all []CreateSpec) {
		for i := range n {
			all = append(all, CreateSpec{TP: record.TopicPartition{Topic: "many", Partition: record.Partition(i)}})
		}
		return all
	}
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Create}, Nth: 5, Err: syscall.ENOSPC})
	if err := s.Create(specs(3)); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	if len(s.Logs()) != 0 {
		t.Errorf("%d partitions are there", len(s.Logs()))
	}
	if err := s.Create(specs(3)); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(specs(4)); !errors.Is(err, ErrExists) || len(s.Logs()) != 3 {
		t.Errorf("%v, %d partitions", err, len(s.Logs()))
	}
	if err := s.Create([]CreateSpec{{TP: record.TopicPartition{Topic: "../etc"}}}); err == nil {
		t.Error("a path passes for a topic")
	}
	for _, policy := range crashfs.Policies() {
		if again := openFS(t, disk.Crash(policy, 1), Options{}); len(again.Logs()) != 3 {
			t.Errorf("%v: %d partitions after a crash", policy, len(again.Logs()))
		}
	}
}
