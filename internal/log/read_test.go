package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

func TestReadEdges(t *testing.T) {
	l := create(t, openFS(t, crashfs.New(), Options{}), smallSegments())
	fill(t, l, 30, 3)
	if data, err := l.Read(30, 100, nil); err != nil || len(data) != 0 {
		t.Errorf("at the end: %d bytes, %v", len(data), err)
	}
	for _, off := range []record.Offset{-1, 31} {
		if _, err := l.Read(off, 100, nil); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("at %d: %v", off, err)
		}
	}
	data, err := l.Read(4, 1, nil) // one batch at least (F1), which starts before
	if err != nil {
		t.Fatal(err)
	}
	if h, err := batch.CheckCRC(data); err != nil || h.BaseOffset != 3 || h.Size() != len(data) {
		t.Errorf("read at 4 gave %+v, %v", h, err)
	}
	kept, err := l.Read(9, 1<<20, []byte("kept"))
	if err != nil || string(kept[:4]) != "kept" {
		t.Fatalf("the caller's bytes: %.8q, %v", kept, err)
	}
	if next := checkData(t, kept[4:], 9); next > 30 {
		t.Errorf("read up to %d", next)
	}
}

// Reads of any size at any offset give what was written, whatever was read before.
func TestRandomReads(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 5000, 300
	l := create(t, openFS(t, crashfs.New(), Options{MaxOpenFiles: 4}), cfg)
	for l.NextOffset() < 2000 {
		n := 1 + rng.IntN(9)
		appendSync(t, l, makeBatch(noProducer, time.Now().UnixMilli(), values(int(l.NextOffset()), n)...))
	}
	var buf []byte
	for range 3000 {
		off := record.Offset(rng.Int64N(int64(l.NextOffset())))
		maxBytes := 1 << rng.IntN(14)
		for range 1 + rng.IntN(4) { // some readers go on
			if off >= l.HighWatermark() {
				break
			}
			data, err := l.Read(off, maxBytes, buf[:0])
			if err != nil {
				t.Fatal(err)
			}
			h, err := batch.ParseHeader(data)
			if err != nil || h.BaseOffset > off || h.LastOffset() < off {
				t.Fatalf("read at %d starts at %d, %v", off, h.BaseOffset, err)
			}
			if len(data) > max(maxBytes, h.Size()) {
				t.Fatalf("%d bytes, %d were asked for", len(data), maxBytes)
			}
			off = checkData(t, data, off)
			buf = data
		}
	}
}

// A damaged length leaves no chain of headers to follow, and a record may hold
// bytes that look like a batch: they are never served as one.
func TestBytesThatLookLikeABatchAreNotServed(t *testing.T) {
	fake := makeBatch(noProducer, 1_700_000_000_000, "forged", "forged", "forged")
	batch.SetBaseOffset(fake, 3)
	batch.SetLeaderEpoch(fake, 0)
	if _, err := batch.CheckCRC(fake); err != nil {
		t.Fatal(err)
	}
	for _, stop := range []string{"clean", "kill"} {
		disk := crashfs.New()
		s := openFS(t, disk, Options{})
		l := create(t, s, Config{})
		var ends []int64
		for i := range 6 {
			value := numbered(i)
			if i == 2 {
				value = string(fake) + "and more"
			}
			appendSync(t, l, makeBatch(noProducer, 1_700_000_000_000, value))
			ends = append(ends, l.SizeBytes())
		}
		if stop == "clean" {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			disk = disk.Clone()
		}
		content, _ := disk.ReadFile(firstFile)
		copy(content[ends[1]+8:], []byte{0x7f, 0x12, 0x34, 0x56}) // the length of the batch that holds the fake
		if err := disk.Put(firstFile, content); err != nil {
			t.Fatal(err)
		}
		l = theLog(t, openFS(t, disk, Options{}))
		_, err := l.Read(2, 1000, nil)
		var damage *CorruptError
		if !errors.As(err, &damage) || damage.Offset != 2 || damage.Next != 3 {
			t.Fatalf("%s: read at 2: %v", stop, err)
		}
		for off := record.Offset(3); off < 6; off++ {
			data, err := l.Read(off, 1, nil)
			if err != nil || checkData(t, data, off) != off+1 {
				t.Errorf("%s: read at %d: %v", stop, off, err)
			}
		}
		if l.NextOffset() != 6 {
			t.Errorf("%s: next offset %d", stop, l.NextOffset())
		}
	}
}

// Somebody else cut a file: what is missing is said, and no offset is given twice.
func TestAFileThatGotShorter(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	l := create(t, s, smallSegments())
	fill(t, l, 10, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last := theSegment(t, disk, len(l.Segments())-1)
	if err := disk.Cut(last.name, 0); err != nil {
		t.Fatal(err)
	}
	l = theLog(t, openFS(t, disk, Options{}))
	if l.NextOffset() != 10 {
		t.Errorf("next offset %d", l.NextOffset())
	}
	var damage *CorruptError
	if _, err := l.Read(last.base, 1000, nil); !errors.As(err, &damage) || damage.Next != 10 {
		t.Errorf("read of what is missing: %v", err)
	}
	fill(t, l, 12, 1)
	if got := readAll(t, l, 10); got != 2 {
		t.Errorf("read %d records", got)
	}
}

func TestAReadErrorIsNoCorruption(t *testing.T) {
	disk := crashfs.New()
	l := create(t, openFS(t, disk, Options{}), Config{})
	fill(t, l, 10, 1)
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Read}, Name: "*.log", Err: syscall.EIO, Times: -1})
	_, err := l.Read(5, 1000, nil)
	var damage *CorruptError
	if !errors.Is(err, syscall.EIO) || errors.As(err, &damage) {
		t.Errorf("got %v", err)
	}
	disk.Heal()
	if got := readAll(t, l, 0); got != 10 {
		t.Errorf("read %d records after the disk works again", got)
	}
}

// A partition that the disk does not give back fails; the others serve.
func TestAPartitionThatCannotBeOpened(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	create(t, s, Config{})
	other := record.TopicPartition{Topic: "other"}
	if err := s.Create([]CreateSpec{{TP: other}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.List}, Name: tp0.String(), Err: syscall.EIO})
	s = openFS(t, disk, Options{})
	l, _ := s.Log(tp0)
	if l == nil || !errors.Is(l.Failed(), ErrFailed) || !errors.Is(s.Report().Partitions[0].Err, syscall.EIO) {
		t.Fatalf("report %+v", s.Report())
	}
	if _, err := l.Read(0, 100, nil); !errors.Is(err, ErrFailed) {
		t.Errorf("read: %v", err)
	}
	if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), "x"), AppendOptions{}); !errors.Is(err, ErrFailed) {
		t.Errorf("append: %v", err)
	}
	if _, _, _, err := l.OffsetForTime(0); !errors.Is(err, ErrFailed) {
		t.Errorf("lookup by time: %v", err)
	}
	if l.StartOffset() != 0 || l.SizeBytes() != 0 || len(l.Segments()) != 0 {
		t.Error("it claims to have something")
	}
	good, _ := s.Log(other)
	fill(t, good, 3, 1)
	if got := readAll(t, good, 0); got != 3 {
		t.Errorf("the other has %d records", got)
	}
}

func TestOffsetForTime(t *testing.T) {
	cfg := smallSegments()
	cfg.IndexIntervalBytes, cfg.RetentionMs = 100, -1
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	l := create(t, s, cfg)
	if _, _, ok, err := l.OffsetForTime(0); ok || err != nil {
		t.Errorf("an empty log has a record: %v", err)
	}
	if _, _, ok, err := l.MaxTimestamp(); ok || err != nil {
		t.Errorf("an empty log has a newest record: %v", err)
	}
	stamps := []int64{100, 110, 105, 300, 200, 310, 310, 150, 400, 390, 120, 401, 90}
	for i, ts := range stamps {
		appendSync(t, l, makeBatch(noProducer, ts, numbered(2*i), numbered(2*i+1)))
	}
	check := func(t *testing.T, l *Log) {
		for ts := int64(80); ts < 405; ts++ {
			want := record.Offset(-1) // the slow way: the first record that is late enough
			for i := range 2 * len(stamps) {
				if stamps[i/2]+int64(i%2) >= ts {
					want = record.Offset(i)
					break
				}
			}
			off, at, ok, err := l.OffsetForTime(record.Timestamp(ts))
			if err != nil || ok != (want >= 0) || ok && (off != want || int64(at) < ts) {
				t.Errorf("time %d: offset %d at %d, %v, %v, want %d", ts, off, at, ok, err, want)
			}
		}
		if off, at, ok, err := l.MaxTimestamp(); off != 23 || at != 402 || !ok || err != nil {
			t.Errorf("newest: offset %d at %d, %v, %v", off, at, ok, err)
		}
	}
	check(t, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, theLog(t, openFS(t, disk.Clone(), Options{})))
	for _, name := range append(files(t, disk, timesFile), files(t, disk, indexFile)...) {
		if err := disk.Remove(tp0.String() + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	l = theLog(t, openFS(t, disk, Options{}))
	check(t, l)
	if _, err := l.DeleteRecords(9); err != nil {
		t.Fatal(err)
	}
	if off, _, ok, err := l.OffsetForTime(100); off != 9 || !ok || err != nil {
		t.Errorf("below the log start: offset %d, %v, %v", off, ok, err)
	}
}

func TestTimestampBounds(t *testing.T) {
	clock := newClock()
	now := clock.now().UnixMilli()
	cfg := DefaultConfig()
	cfg.TimestampBeforeMaxMs, cfg.TimestampAfterMaxMs = 1000, 500
	cfg.MaxMessageBytes = 200
	l := create(t, openFS(t, crashfs.New(), Options{Now: clock.now}), cfg)
	for _, c := range []struct {
		ts   int64
		want error
	}{{now, nil}, {now - 1000, nil}, {now - 1001, ErrTimestamp}, {now + 500, nil}, {now + 501, ErrTimestamp}, {-1, nil}, {1<<63 - 1, ErrTimestamp}, {0, ErrTimestamp}} {
		if _, err := l.Append(makeBatch(noProducer, c.ts, "x"), AppendOptions{}); !errors.Is(err, c.want) {
			t.Errorf("timestamp %d: %v, want %v", c.ts, err, c.want)
		}
	}
	large := makeBatch(noProducer, now, strings.Repeat("x", 200))
	if _, err := l.Append(large, AppendOptions{}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large batch: %v", err)
	}
	if _, err := l.Append(large, AppendOptions{Internal: true}); err != nil {
		t.Errorf("a large batch of the broker's own: %v", err)
	}
}

func TestAppendRefusesWhatIsNoBatch(t *testing.T) {
	l := create(t, openFS(t, crashfs.New(), Options{}), Config{})
	good := makeBatch(noProducer, time.Now().UnixMilli(), "x")
	idempotent := makeBatch(producerSpec{id: 1}, time.Now().UnixMilli(), "x")
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"half a batch":            good[:len(good)/2],
		"a batch and a half":      append(append([]byte(nil), good...), good[:70]...),
		"old magic":               append(append([]byte(nil), good[:16]...), 1),
		"two idempotent ones":     append(append([]byte(nil), idempotent...), idempotent...),
		"an idempotent and other": append(append([]byte(nil), good...), idempotent...),
	} {
		if _, err := l.Append(b, AppendOptions{}); err == nil {
			t.Errorf("%s was appended", name)
		}
	}
	if l.NextOffset() != 0 || l.SizeBytes() != 0 {
		t.Errorf("next offset %d, %d bytes", l.NextOffset(), l.SizeBytes())
	}
	a := appendSync(t, l, append(append([]byte(nil), good...), good...))
	if a.Base != 0 || a.Last != 1 {
		t.Errorf("two batches got %d to %d", a.Base, a.Last)
	}
}

// The history of epochs can be told from the batches.
func TestEpochsAreTakenFromTheBatches(t *testing.T) {
	disk := smallFiles(t)
	s := openFS(t, disk, Options{})
	l := theLog(t, s)
	for i := range 20 {
		appendSync(t, l, makeBatch(noProducer, 1_700_000_000_030+int64(i), numbered(30+i)))
	}
	want := fmt.Sprint(*l.epochs.Load())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := tp0.String() + "/" + epochFile
	for name, damage := range map[string]func(*crashfs.FS) error{
		"missing": func(d *crashfs.FS) error { return d.Remove(path) },
		"damaged": func(d *crashfs.FS) error { return d.FlipBit(path, 40) },
	} {
		left := disk.Clone()
		if err := damage(left); err != nil {
			t.Fatal(err)
		}
		l := theLog(t, openFS(t, left, Options{}))
		if got := fmt.Sprint(*l.epochs.Load()); got != want {
			t.Errorf("%s: history %s, was %s", name, got, want)
		}
		readAll(t, l, 3)
	}
}

// A damaged length that leads to the end of the file, or to a later batch, by
// chance: the batches in between are served all the same.
func TestADamagedLengthPassesNoSoundBatch(t *testing.T) {
	for _, target := range []int{3, 5, 6} { // the batch that the length leads to; 6 is the end
		for _, stop := range []string{"clean", "kill"} {
			disk := crashfs.New()
			s := openFS(t, disk, Options{})
			l := create(t, s, Config{})
			starts := []int64{0}
			for i := range 6 {
				appendSync(t, l, makeBatch(noProducer, 1_700_000_000_000, numbered(i)))
				starts = append(starts, l.SizeBytes())
			}
			if stop == "clean" {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				disk = disk.Clone()
			}
			content, _ := disk.ReadFile(firstFile)
			binary.BigEndian.PutUint32(content[starts[1]+8:], uint32(starts[target]-starts[1]-12))
			if err := disk.Put(firstFile, content); err != nil {
				t.Fatal(err)
			}
			l = theLog(t, openFS(t, disk, Options{}))
			var damage *CorruptError
			if _, err := l.Read(1, 1000, nil); !errors.As(err, &damage) || damage.Offset != 1 || damage.Next != 2 {
				t.Errorf("to %d, %s: read at 1: %v", target, stop, err)
			}
			for off := record.Offset(2); off < 6; off++ {
				data, err := l.Read(off, 1, nil)
				if err != nil || checkData(t, data, off) != off+1 {
					t.Errorf("to %d, %s: read at %d: %v", target, stop, off, err)
				}
			}
		}
	}
}
