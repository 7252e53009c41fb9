package log

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// rollAndCheckpoint seals the active segment and moves the recovery point.
func rollAndCheckpoint(t *testing.T, l *Log) {
	t.Helper()
	l.appender.Lock()
	err := l.roll(l.store.opts.Now().UnixMilli())
	l.appender.Unlock()
	if err == nil {
		appendSync(t, l, keyedBatch(t, plain, l.store.opts.Now().UnixMilli(), put("next", "segment")))
		err = l.store.checkpointer.checkpoint()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A log is compacted once its share of uncompacted bytes is above the ratio.
func TestDirtyRatio(t *testing.T) {
	cfg := compactedConfig()
	cfg.MinCleanableDirtyRatio = 0.5
	l, clock := compactedLog(t, crashfs.New(), cfg)
	for i := range 20 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put(fmt.Sprint(i), strings.Repeat("x", 100))))
	}
	rollAndCheckpoint(t, l)
	l.store.cleaner.cleanAll()
	first := l.compactedTo()
	if first != 20 {
		t.Fatalf("compacted up to %d, want 20", first)
	}
	for i := range 3 { // more keys, less than half of the bytes
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put(fmt.Sprint("more", i), "x")))
	}
	rollAndCheckpoint(t, l)
	l.store.cleaner.cleanAll()
	if l.compactedTo() != first {
		t.Errorf("compacted up to %d although little was dirty", l.compactedTo())
	}
	cfg.MinCleanableDirtyRatio = 0.01
	l.SetConfig(cfg)
	l.store.cleaner.cleanAll()
	if l.compactedTo() <= first {
		t.Error("a lower ratio has no effect")
	}
}

// Records younger than min.compaction.lag.ms stay, those older than
// max.compaction.lag.ms go whatever the ratio, also where nobody appends.
func TestCompactionLags(t *testing.T) {
	cfg := compactedConfig()
	cfg.MinCleanableDirtyRatio = 1
	cfg.MinCompactionLagMs, cfg.MaxCompactionLagMs = time.Minute.Milliseconds(), time.Hour.Milliseconds()
	l, clock := compactedLog(t, crashfs.New(), cfg)
	for range 10 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", strings.Repeat("x", 300))))
	}
	look := func(after time.Duration, ratio float64, wantRecords int) {
		t.Helper()
		clock.advance(after)
		cfg.MinCleanableDirtyRatio = ratio
		l.SetConfig(cfg)
		if err := l.store.checkpointer.checkpoint(); err != nil {
			t.Fatal(err)
		}
		l.store.cleaner.cleanAll()
		l.store.cleaner.cleanAll() // what the first has sealed
		if all, _ := recordsOf(t, l); len(all) != wantRecords {
			t.Errorf("after %v with ratio %v: %d records, want %d", after, ratio, len(all), wantRecords)
		}
	}
	look(0, 0, 10)
	look(30*time.Second, 0, 10)
	look(29*time.Minute, 1, 10)
	look(31*time.Minute, 1, 1) // the active segment too: it was sealed
}

// Compact alone keeps the newest record for ever; compact,delete does not.
func TestCompactedAndDeleted(t *testing.T) {
	for _, policy := range []CleanupPolicy{CleanupCompact, CleanupCompactDelete} {
		cfg := compactedConfig()
		cfg.Cleanup, cfg.RetentionMs = policy, time.Hour.Milliseconds()
		l, clock := compactedLog(t, crashfs.New(), cfg)
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "v")))
		compactAll(t, l)
		cfg.RetentionBytes = 1 // from now on, or the store's own first pass may come before the compaction
		l.SetConfig(cfg)
		clock.advance(2 * time.Hour)
		start, err := l.retained(clock.ms.Load()) // what a pass decides: the store's own may come first
		if start = max(start, l.StartOffset()); err != nil || start > 0 != cfg.Deletes() {
			t.Errorf("policy %d: the log is to start at %d: %v", policy, start, err)
		}
	}
}

// Where a record cannot be read nothing is compacted, and what can be read stays.
func TestDamagedLogIsNotCompacted(t *testing.T) {
	disk := crashfs.New()
	l, clock := compactedLog(t, disk, compactedConfig())
	for range 10 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "v")))
	}
	size := l.SizeBytes()
	if err := disk.FlipBit(tp0.String()+"/"+fileName(0, dataFile), 8*300); err != nil {
		t.Fatal(err)
	}
	rollAndCheckpoint(t, l)
	l.store.cleaner.cleanAll()
	if got := l.view.Load().segments[0].size.Load(); got != size || l.store.cleaner.uncleanable() != 1 || l.compactedTo() != 0 {
		t.Errorf("%d bytes became %d, %d logs are given up, compacted up to %d", size, got, l.store.cleaner.uncleanable(), l.compactedTo())
	}
}

// A topic that becomes a compacted one has records without a key, which go, and
// records that nobody can read, which stay.
func TestTopicBecomesCompacted(t *testing.T) {
	cfg := compactedConfig()
	cfg.Cleanup, cfg.RetentionMs = CleanupDelete, -1
	l, clock := compactedLog(t, crashfs.New(), cfg)
	appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("", "no key"), put("k", "1"), put("", "no key")))
	garbage := keyedBatch(t, plain, clock.ms.Load(), put("k", "a value that is no gzip"))
	garbage[22] |= byte(batch.Gzip)
	batch.SetLogAppendTime(garbage, clock.ms.Load()) // a new checksum
	a, err := l.Append(garbage, AppendOptions{Sync: true, Internal: true})
	if err != nil {
		t.Fatal(err)
	}
	appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "2")))
	cfg.Cleanup = CleanupCompact
	l.SetConfig(cfg)
	if _, err := l.Append(keyedBatch(t, plain, clock.ms.Load(), put("", "no key")), AppendOptions{}); err == nil {
		t.Error("a record without a key was taken")
	}
	compactAll(t, l)
	data, err := l.Read(a.Base, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := batch.CheckCRC(data); err != nil || h.BaseOffset != a.Base || h.Count != 1 || h.Codec() != batch.Gzip {
		t.Errorf("the batch that cannot be decompressed: %+v, %v", h, err)
	}
	data, err = l.Read(0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := batch.CheckCRC(data); err != nil || h.LastOffset() != a.Base-1 || h.Count != 0 {
		t.Errorf("in front of it: %+v, %v", h, err)
	}
}

// Segments that have become small become one.
func TestSmallSegmentsBecomeOne(t *testing.T) {
	l, clock := compactedLog(t, crashfs.New(), compactedConfig())
	for range 100 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", strings.Repeat("x", 300))))
	}
	for range 3 {
		compactAll(t, l)
	}
	if n := len(l.Segments()); n > 2 {
		t.Errorf("%d segments for one key", n)
	}
	all, headers := recordsOf(t, l)
	if headers[0].BaseOffset != 0 || all[0].Offset != 99 {
		t.Errorf("the first batch %+v, the first record %+v", headers[0], all[0])
	}
}

// The cleaner's checkpoint spares a restart the work, and the loss of it costs
// nothing but work. A partition made anew does not inherit it.
func TestCleanerCheckpoint(t *testing.T) {
	disk := crashfs.New()
	l, clock := compactedLog(t, disk, compactedConfig())
	for range 10 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "v")))
	}
	compactAll(t, l)
	to := l.compactedTo()
	reopen := func() *Log {
		t.Helper()
		if err := l.store.Close(); err != nil {
			t.Fatal(err)
		}
		o := quiet(clock)
		o.ConfigOf = func(record.TopicPartition) Config { return compactedConfig() }
		again, _ := openFS(t, disk, o).Log(tp0)
		return again
	}
	if l = reopen(); l.compactedTo() != to {
		t.Errorf("after a restart compacted up to %d, before %d", l.compactedTo(), to)
	}
	if err := disk.FlipBit(cleanerFile, 30); err != nil {
		t.Fatal(err)
	}
	l = reopen()
	before, _ := recordsOf(t, l)
	compactAll(t, l)
	after, _ := recordsOf(t, l)
	requireSameNewest(t, before, after[:len(after)-1])
	if err := l.store.Delete([]record.TopicPartition{tp0}); err != nil {
		t.Fatal(err)
	}
	l = create(t, l.store, compactedConfig())
	if l = reopen(); l.compactedTo() != 0 {
		t.Errorf("a new partition is compacted up to %d", l.compactedTo())
	}
}

// A producer's last batch may lie below the log start, in a transaction: then its
// marker stays too, or a start without snapshots would take it for open.
func TestMarkerBelowTheLogStart(t *testing.T) {
	disk := crashfs.New()
	cfg := compactedConfig()
	cfg.Cleanup, cfg.RetentionMs = CleanupCompactDelete, -1
	l, clock := compactedLog(t, disk, cfg)
	first := abortedTxnOf(t, l, clock)
	for range 3 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "v")))
	}
	if _, err := l.DeleteRecords(first + 3); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		compactAll(t, l)
		clock.advance(100 * time.Hour)
	}
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	forgetSnapshots(t, disk)
	l, _ = openFS(t, disk, quiet(clock)).Log(tp0)
	if l.LastStableOffset() != l.HighWatermark() {
		t.Errorf("the last stable offset is %d of %d", l.LastStableOffset(), l.HighWatermark())
	}
}
