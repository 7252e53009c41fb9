package log

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs"
	"millrace/record"
)

var tp0 = record.TopicPartition{Topic: "clicks", Partition: 0}

// fakeClock is a wall clock that only a test moves.
type fakeClock struct{ ms atomic.Int64 }

func newClock() *fakeClock {
	c := new(fakeClock)
	c.ms.Store(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixMilli())
	return c
}

func (c *fakeClock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func openDir(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	fsys, err := vfs.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fsys.Close() })
	return openFS(t, fsys, o)
}

func openFS(t testing.TB, fsys vfs.FS, o Options) *Store {
	t.Helper()
	s, err := Open(fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// create makes the partition. Without a configuration nothing expires: many test
// batches are of 2023.
func create(t testing.TB, s *Store, cfg Config) *Log {
	t.Helper()
	if cfg == (Config{}) {
		cfg = DefaultConfig()
		cfg.RetentionMs = -1
	}
	if err := s.Create([]CreateSpec{{TP: tp0, TopicID: [16]byte{1, 2, 3}, Config: cfg}}); err != nil {
		t.Fatal(err)
	}
	l, ok := s.Log(tp0)
	if !ok {
		t.Fatal("created partition is not there")
	}
	return l
}

// producerSpec is an idempotent producer's part of a batch.
type producerSpec struct {
	id       int64
	epoch    int16
	sequence int32
}

var noProducer = producerSpec{id: batch.NoProducerID}

// makeBatch is one batch with the given values, stamped ts, ts+1, …
func makeBatch(p producerSpec, ts int64, values ...string) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: p.id, ProducerEpoch: p.epoch, BaseSequence: p.sequence})
	for i, v := range values {
		b.Append(record.Timestamp(ts+int64(i)), nil, []byte(v), nil)
	}
	built, err := b.Build()
	if err != nil {
		panic(err)
	}
	if _, err := batch.Validate(built); err != nil {
		panic(err)
	}
	return append([]byte(nil), built...)
}

// values are n values that tell where they belong.
func values(from, n int) []string {
	v := make([]string, n)
	for i := range v {
		v[i] = fmt.Sprintf("value-%d", from+i)
	}
	return v
}

func appendSync(t testing.TB, l *Log, b []byte) Appended {
	t.Helper()
	a, err := l.Append(b, AppendOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	return a
}

// fill appends batches of per records until the log has n, all in now's millisecond order.
func fill(t testing.TB, l *Log, n, per int) {
	t.Helper()
	for next := int(l.NextOffset()); next < n; next += per {
		appendSync(t, l, makeBatch(noProducer, l.store.opts.Now().UnixMilli(), values(next, per)...))
	}
}

// readAll reads from off to the high watermark and checks that offsets follow
// each other and that each value is the one of its offset.
func readAll(t testing.TB, l *Log, off record.Offset) int {
	t.Helper()
	read := 0
	for off < l.HighWatermark() {
		data, err := l.Read(off, 1<<16, nil)
		if err != nil {
			t.Fatalf("read %d: %v", off, err)
		}
		if len(data) == 0 {
			t.Fatalf("read %d gave nothing below the high watermark %d", off, l.HighWatermark())
		}
		next := checkData(t, data, off)
		read += int(next - off)
		off = next
	}
	return read
}

// checkData checks that data holds the value of each offset from off on, and
// gives the offset behind it.
func checkData(t testing.TB, data []byte, off record.Offset) record.Offset {
	t.Helper()
	var it batch.Iterator
	for one, err := range batch.Split(data) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := batch.CheckCRC(one); err != nil {
			t.Fatal(err)
		}
		if err := it.Reset(one, nil); err != nil {
			t.Fatal(err)
		}
		for it.Next() {
			r := it.Record()
			if r.Offset < off {
				continue
			}
			if want := fmt.Sprintf("value-%d", off); r.Offset != off || string(r.Value) != want {
				t.Fatalf("offset %d holds %q, want offset %d with %q", r.Offset, r.Value, off, want)
			}
			off++
		}
	}
	return off
}

// tryOpen opens and closes the directory.
func tryOpen(t testing.TB, dir string) error {
	t.Helper()
	fsys, err := vfs.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	s, err := Open(fsys, Options{})
	if err != nil {
		return err
	}
	return s.Close()
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b[checksummed:], castagnoli) }
