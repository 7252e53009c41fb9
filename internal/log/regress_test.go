package log

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// The regressions of protocol.md section 11 that concern the log, by their
// number. A crash is a kill (the page cache stays) and, separately, a power cut
// (only what was synced stays).

// afterCrash runs check on what a kill leaves and on what a power cut leaves.
func afterCrash(t *testing.T, disk *crashfs.FS, o Options, check func(t *testing.T, s *Store)) {
	t.Helper()
	cut := crashfs.Policy{Blocks: crashfs.KeepNone, Sizes: crashfs.KeepNone, Names: crashfs.KeepNone}
	for name, left := range map[string]*crashfs.FS{"kill": disk.Clone(), "power cut": disk.Crash(cut, 1)} {
		t.Run(name, func(t *testing.T) { check(t, openFS(t, left, o)) })
	}
}

func theLog(t *testing.T, s *Store) *Log {
	t.Helper()
	l, ok := s.Log(tp0)
	if !ok {
		t.Fatalf("%s is gone", tp0)
	}
	if err := l.Failed(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestR3LogAppendTimeSurvivesARestart(t *testing.T) {
	clock := newClock()
	disk := crashfs.New()
	s := openFS(t, disk, Options{Now: clock.now})
	cfg := DefaultConfig()
	cfg.LogAppendTime = true
	l := create(t, s, cfg)
	for range 6 {
		clock.advance(time.Second)
		a := appendSync(t, l, makeBatch(noProducer, 77, values(int(l.NextOffset()), 1)...))
		if a.AppendTimeMs != clock.now().UnixMilli() {
			t.Fatalf("append time %d, the clock says %d", a.AppendTimeMs, clock.now().UnixMilli())
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l = theLog(t, openFS(t, disk, Options{Now: clock.now}))
	if got := readAll(t, l, 0); got != 6 || l.NextOffset() != 6 {
		t.Fatalf("read %d records up to %d, want 6", got, l.NextOffset())
	}
	if _, at, ok, err := l.MaxTimestamp(); err != nil || !ok || int64(at) != clock.now().UnixMilli() {
		t.Errorf("largest timestamp %d, %v, %v", at, ok, err)
	}
}

func TestR3ProducersMayNotClaimTheAppendTime(t *testing.T) {
	l := create(t, openFS(t, crashfs.New(), Options{}), Config{})
	b := makeBatch(noProducer, time.Now().UnixMilli(), "value-0")
	batch.SetLogAppendTime(b, time.Now().UnixMilli())
	if _, err := l.Append(b, AppendOptions{}); !errors.Is(err, ErrTimestamp) {
		t.Fatalf("got %v", err)
	}
}

func TestR4AnEmptiedPartitionKeepsItsNextOffset(t *testing.T) {
	for _, how := range []string{"DeleteRecords", "retention"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := newClock()
				disk := crashfs.New()
				o := Options{Now: clock.now, ConfigOf: func(record.TopicPartition) Config { return DefaultConfig() }}
				s := openFS(t, disk, o)
				l := create(t, s, DefaultConfig())
				fill(t, l, 10, 1)
				if how == "retention" {
					clock.advance(8 * 24 * time.Hour)
					time.Sleep(s.opts.RetentionInterval)
					synctest.Wait()
				} else if start, err := l.DeleteRecords(10); err != nil || start != 10 {
					t.Fatal(start, err)
				}
				if l.StartOffset() != 10 {
					t.Fatalf("log start %d, want 10", l.StartOffset())
				}
				left := disk.Clone()
				cut := disk.Crash(crashfs.Policies()[0], 1)
				for name, disk := range map[string]*crashfs.FS{"kill": left, "power cut": cut} {
					l := theLog(t, openFS(t, disk, o))
					if l.StartOffset() != 10 || l.NextOffset() != 10 || l.HighWatermark() != 10 {
						t.Errorf("%s: start %d, high watermark %d, next %d, want 10", name, l.StartOffset(), l.HighWatermark(), l.NextOffset())
					}
					if a := appendSync(t, l, makeBatch(noProducer, clock.now().UnixMilli(), "value-10")); a.Base != 10 {
						t.Errorf("%s: the next record got offset %d", name, a.Base)
					}
				}
			})
		})
	}
}

func TestR5TheLogStartSurvives(t *testing.T) {
	disk := crashfs.New()
	l := create(t, openFS(t, disk, Options{}), Config{})
	fill(t, l, 10, 1)
	if _, err := l.DeleteRecords(5); err != nil {
		t.Fatal(err)
	}
	afterCrash(t, disk, Options{}, func(t *testing.T, s *Store) {
		l := theLog(t, s)
		if l.StartOffset() != 5 || l.NextOffset() != 10 {
			t.Errorf("start %d, next %d, want 5 and 10", l.StartOffset(), l.NextOffset())
		}
		if _, err := l.Read(4, 100, nil); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("read below the log start: %v", err)
		}
		if got := readAll(t, l, 5); got != 5 {
			t.Errorf("read %d records, want 5", got)
		}
	})
}

func TestR6RetentionWorksFromTheFirstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		disk := crashfs.New()
		cfg := DefaultConfig()
		cfg.SegmentBytes = 200
		o := Options{Now: clock.now, ConfigOf: func(record.TopicPartition) Config { return cfg }}
		s := openFS(t, disk, o)
		fill(t, create(t, s, cfg), 20, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clock.advance(8 * 24 * time.Hour)
		l := theLog(t, openFS(t, disk, o))
		synctest.Wait() // no time passes
		if l.StartOffset() != 20 {
			t.Errorf("log start %d, want 20: all records are older than the default retention", l.StartOffset())
		}
	})
}

// Without a configuration nobody knows what a topic keeps.
func TestNothingExpiresBeforeTheConfigurationIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		disk := crashfs.New()
		s := openFS(t, disk, Options{Now: clock.now})
		fill(t, create(t, s, Config{}), 20, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		clock.advance(8 * 24 * time.Hour)
		l := theLog(t, openFS(t, disk, Options{Now: clock.now}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.StartOffset() != 0 {
			t.Fatalf("log start %d: records were deleted by a retention that nobody had set", l.StartOffset())
		}
		l.SetConfig(DefaultConfig())
		synctest.Wait()
		if l.StartOffset() != 20 {
			t.Errorf("log start %d after the configuration was set, want 20", l.StartOffset())
		}
	})
}

func TestR7ARetryAfterACrashIsRecognised(t *testing.T) {
	disk := crashfs.New()
	l := create(t, openFS(t, disk, Options{}), Config{})
	now := time.Now().UnixMilli()
	appendSync(t, l, makeBatch(producerSpec{id: 9}, now, "value-0"))
	appendSync(t, l, makeBatch(producerSpec{id: 9, sequence: 1}, now, "value-1"))
	afterCrash(t, disk, Options{}, func(t *testing.T, s *Store) {
		l := theLog(t, s)
		a := appendSync(t, l, makeBatch(producerSpec{id: 9, sequence: 1}, now, "value-1"))
		if !a.Duplicate || a.Base != 1 || l.NextOffset() != 2 {
			t.Errorf("duplicate %v at %d, next offset %d, want true, 1 and 2", a.Duplicate, a.Base, l.NextOffset())
		}
		if a := appendSync(t, l, makeBatch(producerSpec{id: 9, sequence: 2}, now, "value-2")); a.Duplicate || a.Base != 2 {
			t.Errorf("the next batch: duplicate %v at %d", a.Duplicate, a.Base)
		}
	})
}

// R8 is about memory: what Open reads of a log does not grow with the log.
func TestR8AnUncleanStartScansOnlyPastTheRecoveryPoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openFS(t, disk, Options{})
		l := create(t, s, Config{})
		fill(t, l, 5000, 10)
		time.Sleep(s.opts.CheckpointInterval)
		synctest.Wait()
		fill(t, l, 5010, 10)
		s = openFS(t, disk.Clone(), Options{})
		report := s.Report()
		if report.Clean || len(report.Partitions) != 1 {
			t.Fatalf("report %+v", report)
		}
		if got := report.Partitions[0].ScannedBytes; got == 0 || got > 1000 {
			t.Errorf("%d bytes were scanned, the last batch has less than 1000", got)
		}
		if got := readAll(t, theLog(t, s), 0); got != 5010 {
			t.Errorf("read %d records", got)
		}
	})
}

func TestR10AFailedSyncIsNeverAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		s := openFS(t, disk, Options{})
		l := create(t, s, Config{})
		fill(t, l, 10, 1)
		eio := syscall.EIO
		hits := disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData}, Name: "*.log", Err: eio})
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-10"), AppendOptions{Sync: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Wait(context.Background()); !errors.Is(err, ErrFailed) || !errors.Is(err, eio) {
			t.Fatalf("the wait ended with %v", err)
		}
		if hits() != 1 {
			t.Fatalf("the fault fired %d times", hits())
		}
		time.Sleep(time.Minute) // later rounds and checkpoints, which would succeed
		synctest.Wait()
		if err := a.Wait(context.Background()); !errors.Is(err, ErrFailed) {
			t.Errorf("acknowledged later: %v", err)
		}
		if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-10"), AppendOptions{}); !errors.Is(err, ErrFailed) {
			t.Errorf("an append after the failure: %v", err)
		}
		if l.HighWatermark() != 10 || readAll(t, l, 0) != 10 {
			t.Errorf("high watermark %d, want 10: what was durable stays readable", l.HighWatermark())
		}
		if err := s.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("a store with a failed partition closed cleanly: %v", err)
		}

		// The failed sync has marked the pages clean. The restart reads them, and
		// must write them again before it may show them.
		s = openFS(t, disk, Options{})
		if got := theLog(t, s).HighWatermark(); got != 11 {
			t.Fatalf("high watermark %d after the restart", got)
		}
		s = openFS(t, disk.Crash(crashfs.Policies()[0], 1), Options{})
		if got := readAll(t, theLog(t, s), 0); got != 11 {
			t.Errorf("a power cut took records that a reader had seen: %d are left of 11", got)
		}
	})
}

func TestR12CorruptionInASealedSegmentIsReported(t *testing.T) {
	disk := crashfs.New()
	cfg := DefaultConfig()
	cfg.SegmentBytes = 400
	s := openFS(t, disk, Options{})
	l := create(t, s, cfg)
	fill(t, l, 30, 1)
	if len(l.Segments()) < 4 {
		t.Fatalf("only %d segments", len(l.Segments()))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	second := theSegment(t, disk, 1)
	if err := disk.FlipBit(second.name, 8*(second.firstSize+batch.HeaderSize+3)); err != nil { // its second batch
		t.Fatal(err)
	}
	s = openFS(t, disk, Options{})
	l = theLog(t, s)
	bad := second.base + 1
	_, err := l.Read(bad, 1000, nil)
	var damage *CorruptError
	if !errors.As(err, &damage) || damage.Offset != bad || damage.Next != bad+1 || damage.Segment != second.base {
		t.Fatalf("read of the damaged record: %v", err)
	}
	served := 0
	for off := record.Offset(0); off < l.HighWatermark(); {
		data, err := l.Read(off, 1000, nil)
		if errors.As(err, &damage) {
			off = damage.Next
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		next := checkData(t, data, off)
		served += int(next - off)
		off = next
	}
	if served != 29 || l.NextOffset() != 30 {
		t.Errorf("%d records served, next offset %d, want 29 and 30", served, l.NextOffset())
	}
}

type segmentFile struct {
	name      string
	base      record.Offset
	firstSize int64 // of its first batch
}

// theSegment is the i-th segment file of the partition.
func theSegment(t *testing.T, disk *crashfs.FS, i int) segmentFile {
	t.Helper()
	names, err := disk.List(tp0.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		base, ok := parseFileName(name, dataFile)
		if !ok {
			continue
		}
		if i--; i < 0 {
			path := tp0.String() + "/" + name
			content, err := disk.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			h, err := batch.ParseHeader(content)
			if err != nil {
				t.Fatal(err)
			}
			return segmentFile{name: path, base: base, firstSize: int64(h.Size())}
		}
	}
	t.Fatal("there are fewer segments")
	return segmentFile{}
}

func TestR16TenThousandPartitions(t *testing.T) {
	const n = 10_000
	disk := crashfs.New() // BenchmarkOpenEmptyPartitions does it on a real disk
	s := openFS(t, disk, Options{MaxOpenFiles: 100})
	specs := make([]CreateSpec, n)
	for i := range specs {
		specs[i] = CreateSpec{TP: record.TopicPartition{Topic: "many", Partition: record.Partition(i)}}
	}
	if err := s.Create(specs); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openFS(t, disk, Options{MaxOpenFiles: 100})
	if got := len(s.Logs()); got != n {
		t.Fatalf("%d partitions", got)
	}
	var appended []Appended
	for _, l := range s.Logs() {
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-0"), AppendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		appended = append(appended, a)
	}
	for _, a := range appended {
		if err := a.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range s.Logs() {
		if data, err := l.Read(0, 1000, nil); err != nil || checkData(t, data, 0) != 1 {
			t.Fatalf("%s: %v", l.TP(), err)
		}
	}
	if got := s.handles.openFiles(); got > 100 {
		t.Errorf("%d open files once all is synced, the bound is 100", got)
	}
}

func TestR17TheClockGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock()
		cfg := DefaultConfig()
		cfg.LogAppendTime = true
		cfg.SegmentMs = time.Hour.Milliseconds()
		disk := crashfs.New()
		s := openFS(t, disk, Options{Now: clock.now})
		l := create(t, s, cfg)
		fill(t, l, 5, 1)
		clock.advance(-10 * 365 * 24 * time.Hour)
		fill(t, l, 10, 1)
		if len(l.Segments()) != 1 {
			t.Errorf("%d segments: the clock's step back started one", len(l.Segments()))
		}
		clock.advance(2 * time.Hour)
		fill(t, l, 15, 1)
		if len(l.Segments()) != 2 {
			t.Errorf("%d segments: segment.ms does not count from the step back on", len(l.Segments()))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if l.StartOffset() != 0 || readAll(t, l, 0) != 15 {
			t.Errorf("log start %d: records are gone", l.StartOffset())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, theLog(t, openFS(t, disk, Options{Now: clock.now})), 0); got != 15 {
			t.Errorf("%d records after the restart", got)
		}
	})
}

func TestR18ADiskFillsUpAndIsFreed(t *testing.T) {
	disk := crashfs.New()
	disk.SetCapacity(64 << 10)
	s := openFS(t, disk, Options{ReserveBytes: 16 << 10})
	cfg := DefaultConfig()
	cfg.SegmentBytes = 8 << 10
	l := create(t, s, cfg)
	payload := string(make([]byte, 1000))
	for cycle := range 100 {
		var full error
		for full == nil {
			a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), payload), AppendOptions{Sync: true})
			if full = err; err == nil {
				if err := a.Wait(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !errors.Is(full, ErrNoSpace) {
			t.Fatalf("cycle %d: %v", cycle, full)
		}
		if free, _ := disk.FreeBytes(); free < 14<<10 {
			t.Fatalf("cycle %d: only %d bytes of the reserve are left", cycle, free)
		}
		if _, err := l.Read(l.StartOffset(), 1<<20, nil); err != nil {
			t.Fatalf("cycle %d: read on a full disk: %v", cycle, err)
		}
		if _, err := l.DeleteRecords(l.HighWatermark()); err != nil {
			t.Fatalf("cycle %d: delete on a full disk: %v", cycle, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A write may fail although there seemed to be room.
func TestR18AShortWriteIsUndone(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	l := create(t, s, Config{})
	fill(t, l, 3, 1)
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Name: "*.log", Err: syscall.ENOSPC, Written: 40})
	_, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "value-3"), AppendOptions{})
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	fill(t, l, 6, 1)
	if got := readAll(t, l, 0); got != 6 {
		t.Errorf("read %d records", got)
	}
	afterCrash(t, disk, Options{}, func(t *testing.T, s *Store) {
		if got := readAll(t, theLog(t, s), 0); got != 6 || len(s.Report().Partitions[0].CorruptRanges) > 0 {
			t.Errorf("read %d records, report %+v", got, s.Report())
		}
	})
}
