package log

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// 16 KiB of records as a producer batches them.
func batch16K() []byte {
	v := make([]string, 236)
	for i := range v {
		v[i] = strings.Repeat("x", 62)
	}
	return makeBatch(noProducer, time.Now().UnixMilli(), v...)
}

func benchLog(b *testing.B, o Options) *Log {
	cfg := DefaultConfig()
	cfg.RetentionBytes = 1 << 30 // bounds the disk that a long run takes
	return create(b, openDir(b, b.TempDir(), o), cfg)
}

// BenchmarkAppend is the cost up to the page cache; nobody waits for a sync.
func BenchmarkAppend(b *testing.B) {
	l := benchLog(b, Options{BackgroundBytes: 1 << 40, BackgroundSync: time.Hour, CheckpointBytes: 1 << 40, CheckpointInterval: time.Hour})
	data := batch16K()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(data, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendInMemory is the same without the system call's share of a real disk.
func BenchmarkAppendInMemory(b *testing.B) {
	l := create(b, openFS(b, nowhere{crashfs.New()}, Options{BackgroundBytes: 1 << 40, BackgroundSync: time.Hour, CheckpointBytes: 1 << 40, CheckpointInterval: time.Hour}), Config{})
	data := batch16K()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(data, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// nowhere keeps no bytes of .log files.
type nowhere struct{ vfs.FS }

func (n nowhere) Create(name string) (vfs.File, error) {
	f, err := n.FS.Create(name)
	if strings.HasSuffix(name, string(dataFile)) {
		f = voidFile{f}
	}
	return f, err
}

type voidFile struct{ vfs.File }

func (voidFile) Writev(bufs [][]byte, _ int64) (n int64, err error) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n, nil
}

func (voidFile) SyncData() error { return nil }

// BenchmarkDurableAppend is an append of one record of 62 bytes and the wait for
// its sync, by so many callers at once, spread over so many partitions; p50-ns is
// what one caller waits. BenchmarkSync is what the disk takes for one write and
// one sync.
func BenchmarkDurableAppend(b *testing.B) {
	for _, load := range []struct{ callers, partitions int }{{1, 1}, {64, 1}, {64, 6}, {64, 16}, {64, 64}} {
		b.Run(fmt.Sprintf("callers=%d/partitions=%d", load.callers, load.partitions), func(b *testing.B) {
			logs := benchLogs(b, load.partitions)
			b.ReportAllocs()
			share := make(chan struct{}, load.callers)
			var group sync.WaitGroup
			took := make([][]time.Duration, load.callers)
			for c := range load.callers {
				group.Go(func() {
					took[c] = appendShare(b, logs[c%len(logs)], share)
				})
			}
			for b.Loop() {
				share <- struct{}{}
			}
			close(share)
			group.Wait()
			reportMedian(b, slices.Concat(took...))
			b.ReportMetric(float64(b.N)/float64(logs[0].store.SyncRounds()), "appends/round")
		})
	}
}

func benchLogs(b *testing.B, n int) []*Log {
	s := openDir(b, b.TempDir(), Options{})
	specs := make([]CreateSpec, n)
	for i := range specs {
		specs[i].TP = record.TopicPartition{Topic: "bench", Partition: record.Partition(i)}
	}
	if err := s.Create(specs); err != nil {
		b.Fatal(err)
	}
	return s.Logs()
}

// appendShare appends and waits once for each token, and gives how long each took.
func appendShare(b *testing.B, l *Log, share <-chan struct{}) (took []time.Duration) {
	data := makeBatch(noProducer, time.Now().UnixMilli(), strings.Repeat("x", 62))
	for range share {
		began := time.Now()
		a, err := l.Append(data, AppendOptions{Sync: true})
		if err == nil {
			err = a.Wait(context.Background())
		}
		if err != nil {
			b.Error(err)
			return took
		}
		took = append(took, time.Since(began))
	}
	return took
}

func reportMedian(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}

func BenchmarkSync(b *testing.B) {
	fsys, err := vfs.OpenOS(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer fsys.Close()
	f, err := fsys.Create("file")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := [][]byte{makeBatch(noProducer, 0, strings.Repeat("x", 62))}
	var took []time.Duration
	off := int64(0)
	for b.Loop() {
		began := time.Now()
		n, err := f.Writev(data, off)
		if err == nil {
			err = f.SyncData()
		}
		if err != nil {
			b.Fatal(err)
		}
		off += n
		took = append(took, time.Since(began))
	}
	reportMedian(b, took)
}

// BenchmarkRead reads 1 MiB after the other from a log of 64 MiB in the page cache.
func BenchmarkRead(b *testing.B) {
	l := benchLog(b, Options{Durability: OS})
	data := batch16K()
	for l.SizeBytes() < 64<<20 {
		if _, err := l.Append(data, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 0, 1<<20)
	off := record.Offset(0)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		got, err := l.Read(off, 1<<20, buf[:0])
		if err != nil {
			b.Fatal(err)
		}
		off += record.Offset(len(got) / len(data) * 236)
		if off >= l.HighWatermark() {
			off = 0
		}
	}
}

// BenchmarkReadAtRandom looks an offset up and reads one batch.
func BenchmarkReadAtRandom(b *testing.B) {
	l := benchLog(b, Options{Durability: OS})
	data := batch16K()
	for l.SizeBytes() < 64<<20 {
		if _, err := l.Append(data, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	buf := make([]byte, 0, 1<<20)
	off := record.Offset(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Read(off, 1, buf[:0]); err != nil {
			b.Fatal(err)
		}
		off = (off*1103515245 + 12345) % l.HighWatermark()
	}
}

// BenchmarkOpen opens 100 partitions with 1 GiB in all, or with as many as
// LOG_BENCH_GB says. After a kill the last checkpoint is 64 MiB back.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	points := fillPartitions(b, dir, 100, benchBytes(b))
	for _, stop := range []string{"clean", "kill"} {
		b.Run(stop, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				if stop == "kill" {
					afterKill(b, dir, points)
				}
				b.StartTimer()
				s := openDir(b, dir, Options{})
				b.StopTimer()
				if got := len(s.Logs()); got != 100 || s.Report().Clean != (stop == "clean") {
					b.Fatalf("%d partitions, clean %v", got, s.Report().Clean)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkOpenEmptyPartitions opens 10,000 empty partitions (R16).
func BenchmarkOpenEmptyPartitions(b *testing.B) {
	dir := b.TempDir()
	fillPartitions(b, dir, 10_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		s := openDir(b, dir, Options{})
		b.StopTimer()
		if got := len(s.Logs()); got != 10_000 {
			b.Fatalf("%d partitions", got)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func benchBytes(b *testing.B) int64 {
	gb, err := strconv.ParseInt(cmp.Or(os.Getenv("LOG_BENCH_GB"), "1"), 10, 32)
	if err != nil {
		b.Fatal(err)
	}
	return gb << 30
}

const afterLastCheckpoint = 64 << 20

// fillPartitions makes partitions with so many bytes in all, and gives the
// recovery points that a checkpoint has written 64 MiB before the end.
func fillPartitions(b *testing.B, dir string, partitions int, total int64) (points []byte) {
	s := openDir(b, dir, Options{Durability: OS, CheckpointInterval: time.Hour, CheckpointBytes: 1 << 40})
	specs := make([]CreateSpec, partitions)
	for i := range specs {
		specs[i].TP = record.TopicPartition{Topic: "bench", Partition: record.Partition(i)}
	}
	if err := s.Create(specs); err != nil {
		b.Fatal(err)
	}
	data := batch16K()
	logs := s.Logs()
	for written, i := int64(0), 0; written < total; i++ {
		if written >= total-afterLastCheckpoint && points == nil {
			if err := s.checkpointer.checkpoint(); err != nil {
				b.Fatal(err)
			}
			points, _ = s.FS().ReadFile(recoveryPointFile)
		}
		if _, err := logs[i%partitions].Append(data, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
		written += int64(len(data))
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return points
}

// afterKill makes a cleanly closed directory what a kill would have left.
func afterKill(b *testing.B, dir string, points []byte) {
	if err := os.Remove(filepath.Join(dir, cleanFile)); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recoveryPointFile), points, 0o600); err != nil {
		b.Fatal(err)
	}
}
