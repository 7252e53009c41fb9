package log

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// compactedConfig has small segments and compacts whatever is there.
func compactedConfig() Config {
	cfg := DefaultConfig()
	cfg.Cleanup = CleanupCompact
	cfg.SegmentBytes = 2000
	cfg.MinCleanableDirtyRatio = 0
	cfg.IndexIntervalBytes = 200
	return cfg
}

// quiet are options with which nothing happens by itself.
func quiet(clock *fakeClock) Options {
	const never = 1000 * time.Hour
	return Options{Now: clock.now, CompactionInterval: never, CheckpointInterval: never, RetentionInterval: never, ReserveBytes: 1}
}

// keyed is one record of a test; a nil value is a tombstone.
type keyed struct {
	key   string
	value []byte
}

func put(key, value string) keyed { return keyed{key, []byte(value)} }
func del(key string) keyed        { return keyed{key, nil} }

func keyedBatch(t testing.TB, o batch.BuilderOptions, ts int64, records ...keyed) []byte {
	t.Helper()
	b := batch.NewBuilder(o)
	for i, r := range records {
		var key []byte
		if r.key != "" {
			key = []byte(r.key)
		}
		b.Append(record.Timestamp(ts+int64(i)), key, r.value, nil)
	}
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), built...)
}

var plain = batch.BuilderOptions{ProducerID: batch.NoProducerID}

// compactAll seals what is there and compacts it.
func compactAll(t testing.TB, l *Log) {
	t.Helper()
	l.appender.Lock()
	err := l.roll(l.store.opts.Now().UnixMilli())
	l.appender.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	appendSync(t, l, keyedBatch(t, plain, l.store.opts.Now().UnixMilli(), put("end", "of the segment")))
	if err := l.store.checkpointer.checkpoint(); err != nil {
		t.Fatal(err)
	}
	l.store.cleaner.cleanAll()
	if v := l.view.Load(); l.compactedTo() != v.active().base {
		t.Fatalf("compacted up to %d of %d", l.compactedTo(), v.active().base)
	}
}

// logged is a record as a reader finds it.
type logged struct {
	record.Offset
	record.Timestamp
	key   string
	value []byte
}

// recordsOf reads everything and checks that the batches follow each other.
func recordsOf(t testing.TB, l *Log) (all []logged, headers []batch.Header) {
	t.Helper()
	next := l.StartOffset()
	for next < l.HighWatermark() {
		data, err := l.Read(next, 1<<16, nil)
		if err != nil {
			t.Fatalf("read %d: %v", next, err)
		}
		for b, err := range batch.Split(data) {
			if err != nil {
				t.Fatal(err)
			}
			var it batch.Iterator
			if err := it.Reset(b, nil); err != nil {
				t.Fatal(err)
			}
			for it.Next() {
				r := it.Record()
				all = append(all, logged{r.Offset, r.Timestamp, string(r.Key), append([]byte(nil), r.Value...)})
				if r.Value == nil {
					all[len(all)-1].value = nil
				}
			}
			if it.Err() != nil {
				t.Fatal(it.Err())
			}
			h := it.Header()
			if len(headers) > 0 && h.BaseOffset != next {
				t.Fatalf("batch at %d where %d must stand", h.BaseOffset, next)
			}
			headers = append(headers, h)
			next = h.LastOffset() + 1
		}
	}
	return all, headers
}

func compactedLog(t testing.TB, fsys vfs.FS, cfg Config) (*Log, *fakeClock) {
	t.Helper()
	clock := newClock()
	return create(t, openFS(t, fsys, quiet(clock)), cfg), clock
}

// newestOf is the slow model: the last record of each key.
func newestOf(all []logged) map[string]logged {
	newest := map[string]logged{}
	for _, r := range all {
		newest[r.key] = r
	}
	return newest
}

func TestCompactionKeepsTheNewestOfEachKey(t *testing.T) {
	l, clock := compactedLog(t, crashfs.New(), compactedConfig())
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 300 {
		codec := batch.Codec(rng.IntN(5))
		appendSync(t, l, keyedBatch(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: codec}, clock.ms.Load(),
			put(fmt.Sprint("a", rng.IntN(20)), fmt.Sprint("value ", i)), put(fmt.Sprint("b", rng.IntN(3)), fmt.Sprint("value ", i))))
	}
	before, _ := recordsOf(t, l)
	size := l.SizeBytes()
	compactAll(t, l)
	after, _ := recordsOf(t, l)
	if l.SizeBytes() > size/4 {
		t.Errorf("%d bytes became %d", size, l.SizeBytes())
	}
	requireSameNewest(t, before, after)
	if len(after) != len(newestOf(before))+1 {
		t.Errorf("%d records are left for %d keys", len(after), len(newestOf(before)))
	}
}

func requireSameNewest(t testing.TB, before, after []logged) {
	t.Helper()
	want, got := newestOf(before), newestOf(after)
	for key, r := range want {
		if fmt.Sprint(got[key]) != fmt.Sprint(r) {
			t.Errorf("key %s: newest is %+v, want %+v", key, got[key], r)
		}
	}
}

// A tombstone stays until delete.retention.ms after the pass that first saw it,
// however many passes come before.
func TestTombstonesStayForTheirTime(t *testing.T) {
	cfg := compactedConfig()
	cfg.DeleteRetentionMs = time.Hour.Milliseconds()
	l, clock := compactedLog(t, crashfs.New(), cfg)
	began := clock.ms.Load()
	appendSync(t, l, keyedBatch(t, plain, began, put("a", "1"), put("b", "1"), del("a")))
	for minute := 0; minute <= 70; minute += 10 {
		compactAll(t, l)
		all, headers := recordsOf(t, l)
		r, there := newestOf(all)["a"]
		if want := minute < 60; there != want {
			t.Fatalf("minute %d: the tombstone is there: %v", minute, there)
		}
		if there && (r.value != nil || r.Offset != 2 || int64(r.Timestamp) != began+2) {
			t.Errorf("minute %d: the tombstone is %+v", minute, r)
		}
		if b := newestOf(all)["b"]; b.Offset != 1 || int64(b.Timestamp) != began+1 {
			t.Errorf("minute %d: b is %+v", minute, b)
		}
		if horizon, set := headers[0].DeleteHorizon(); !set || horizon != began+cfg.DeleteRetentionMs {
			t.Errorf("minute %d: delete horizon %d (%v)", minute, horizon, set)
		}
		clock.advance(10 * time.Minute)
	}
}

// A producer's newest batch outlives its records, so that its sequence is found
// again where no snapshot of the producers is left.
func TestCompactionKeepsProducers(t *testing.T) {
	disk := crashfs.New()
	l, clock := compactedLog(t, disk, compactedConfig())
	var last []byte
	for sequence := range int32(30) {
		o := batch.BuilderOptions{ProducerID: 7, ProducerEpoch: 3, BaseSequence: sequence}
		last = keyedBatch(t, o, clock.ms.Load(), put("k", "a value that nobody will miss"))
		appendSync(t, l, append([]byte(nil), last...))
	}
	appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("k", "newest")))
	compactAll(t, l)
	all, headers := recordsOf(t, l)
	if kept := headers[len(headers)-3]; len(all) != 2 || kept.ProducerID != 7 || kept.ProducerEpoch != 3 || kept.BaseSequence != 29 || kept.Count != 0 {
		t.Errorf("left are %+v in %+v", all, headers)
	}
	if err := l.store.Close(); err != nil {
		t.Fatal(err)
	}
	forgetSnapshots(t, disk)
	l, _ = openFS(t, disk, quiet(clock)).Log(tp0)
	a, err := l.Append(last, AppendOptions{Sync: true})
	if err != nil || !a.Duplicate || a.Base != 29 {
		t.Errorf("the last batch again: %+v, %v", a, err)
	}
}

// forgetSnapshots leaves a directory as after a crash without producer snapshots.
func forgetSnapshots(t *testing.T, disk *crashfs.FS) {
	t.Helper()
	names, err := disk.List(tp0.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, ok := parseFileName(name, snapshotFile); ok {
			if err := disk.Remove(tp0.String() + "/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{cleanFile, recoveryPointFile} {
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// A map that is too small means more passes, not fewer keys.
func TestCompactionInSeveralPasses(t *testing.T) {
	clock := newClock()
	o := quiet(clock)
	o.CompactionMapBytes = 1 // eight slots
	l := create(t, openFS(t, crashfs.New(), o), compactedConfig())
	for i := range 200 {
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put(fmt.Sprint("a", i%50), fmt.Sprint(i)), put(fmt.Sprint("b", i%50), fmt.Sprint(i))))
	}
	before, _ := recordsOf(t, l)
	compactAll(t, l)
	after, _ := recordsOf(t, l)
	requireSameNewest(t, before, after)
	if len(after) != 101 {
		t.Errorf("%d records are left, want 101", len(after))
	}
}

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(1 << 20)
	rng := rand.New(rand.NewPCG(3, 4))
	want := map[string]record.Offset{}
	for off := record.Offset(0); ; off++ {
		key := fmt.Sprint(rng.IntN(60_000))
		if !m.put([]byte(key), off) {
			if _, known := want[key]; known {
				t.Fatal("a known key found no room")
			}
			break
		}
		want[key] = off
	}
	if limit := int(1 << 20 / offsetSlotBytes); len(m.slots) > limit || m.used < limit/2*7/8 || m.used != len(want) {
		t.Fatalf("full with %d keys in %d slots", m.used, len(m.slots))
	}
	for key, off := range want {
		if got := m.newest([]byte(key)); got != off {
			t.Fatalf("key %s: %d, want %d", key, got, off)
		}
	}
	if m.newest([]byte("never")) != -1 {
		t.Error("an unknown key is known")
	}
	m.clear()
	if m.newest([]byte("1")) != -1 || !m.put([]byte("1"), 0) || m.newest([]byte("1")) != 0 {
		t.Error("a cleared map is not empty, or takes nothing")
	}
}

// A pass that the map's size has cut short leaves aborted data behind its end; so
// the index of aborted transactions must survive it.
func TestPartialPassKeepsTheAborted(t *testing.T) {
	for _, lose := range []bool{false, true} {
		clock := newClock()
		o := quiet(clock)
		o.faults.compaction.loseAborted = lose
		l := create(t, openFS(t, crashfs.New(), o), compactedConfig())
		for i := range 20 {
			appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put(fmt.Sprint(i/2), "a value")))
		}
		first := abortedTxnOf(t, l, clock)
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("0", strings.Repeat("x", 3000))))
		appendSync(t, l, keyedBatch(t, plain, clock.ms.Load(), put("end", "of the segment")))
		if err := l.store.checkpointer.checkpoint(); err != nil {
			t.Fatal(err)
		}
		limit := l.view.Load().segments[1].base
		pass := compaction{log: l, cfg: l.Config(), nowMs: clock.ms.Load(), keys: newOffsetMap(1), pace: func(int) error { return nil }}
		end, err := pass.run(limit)
		if err != nil || end >= first || end == 0 || pass.leftBytes >= pass.readBytes {
			t.Fatalf("compacted up to %d of %d, %d bytes of %d, %v", end, limit, pass.leftBytes, pass.readBytes, err)
		}
		aborted, err := l.Aborted(nil, 0, l.LastStableOffset())
		if err != nil {
			t.Fatal(err)
		}
		if kept := len(aborted) == 1 && aborted[0].First == first; kept == lose {
			t.Errorf("planted bug %v: aborted are %+v", lose, aborted)
		}
	}
}

func abortedTxnOf(t *testing.T, l *Log, clock *fakeClock) (first record.Offset) {
	t.Helper()
	b := keyedBatch(t, batch.BuilderOptions{ProducerID: 5, Transactional: true}, clock.ms.Load(), put("0", "aborted"))
	a, err := l.Append(b, AppendOptions{Sync: true, Txn: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.AppendMarker(Marker{ProducerID: 5, TransactionVersion: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a.Base
}
