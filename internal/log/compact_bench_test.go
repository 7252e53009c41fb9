package log

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/record"
)

// BenchmarkCompact is the cleaner without its rests: input bytes per second of
// one processor, for records of usual sizes, of which one in eight is the newest
// of its key.
func BenchmarkCompact(b *testing.B) {
	for _, codec := range []batch.Codec{batch.None, batch.LZ4} {
		for _, valueBytes := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%s/%dB", codec, valueBytes), func(b *testing.B) { benchmarkCompact(b, codec, valueBytes) })
		}
	}
}

func benchmarkCompact(b *testing.B, codec batch.Codec, valueBytes int) {
	clock := newClock()
	cfg := compactedConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 16<<20, 4096
	const inputBytes = 64 << 20
	var total int64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		l := create(b, openDir(b, b.TempDir(), quiet(clock)), cfg)
		fillKeyed(b, l, codec, valueBytes, inputBytes)
		limit := l.view.Load().active().base
		for _, seg := range l.view.Load().segments {
			total += seg.size.Load()
		}
		pass := compaction{log: l, cfg: cfg, nowMs: clock.ms.Load(), keys: newOffsetMap(32 << 20), pace: func(int) error { return nil }}
		b.StartTimer()
		if end, err := pass.run(limit); err != nil || end != limit {
			b.Fatal(end, err)
		}
		b.StopTimer()
		if pass.leftBytes > pass.readBytes/2 {
			b.Fatalf("%d bytes became %d", pass.readBytes, pass.leftBytes)
		}
		if err := l.store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.SetBytes(total / int64(b.N))
}

// fillKeyed appends batches of 16 KiB with random keys.
func fillKeyed(b *testing.B, l *Log, codec batch.Codec, valueBytes, inputBytes int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	keys := inputBytes / (valueBytes + 20) / 8
	value := make([]byte, valueBytes)
	builder := batch.NewBuilder(batch.BuilderOptions{})
	for written := 0; written < inputBytes; {
		builder.Reset(batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: codec})
		for builder.SizeBytes() < 16<<10 {
			var key [16]byte
			binary.BigEndian.PutUint64(key[8:], uint64(rng.IntN(keys)))
			for i := 0; i+8 <= len(value); i += 16 { // half of it repeats
				binary.BigEndian.PutUint64(value[i:], rng.Uint64())
			}
			builder.Append(record.Timestamp(l.store.opts.Now().UnixMilli()), key[:], value, nil)
		}
		built, err := builder.Build()
		if err != nil {
			b.Fatal(err)
		}
		written += len(built)
		if _, err := l.Append(built, AppendOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	appendSync(b, l, keyedBatch(b, plain, l.store.opts.Now().UnixMilli(), put("last", "")))
	if err := l.store.checkpointer.checkpoint(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkAppendBesideCompaction is a durable append to one partition while the
// cleaner works, at its own pace, on another one, and without it.
func BenchmarkAppendBesideCompaction(b *testing.B) {
	for _, compacting := range []bool{false, true} {
		b.Run(fmt.Sprintf("compacting=%v", compacting), func(b *testing.B) { benchmarkBeside(b, compacting) })
	}
}

func benchmarkBeside(b *testing.B, compacting bool) {
	clock := newClock()
	cfg := compactedConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 16<<20, 4096
	o := quiet(clock)
	o.CheckpointBytes = 1 << 40 // no checkpoint, after which the store's own cleaner would begin
	s := openDir(b, b.TempDir(), o)
	dirty := create(b, s, cfg)
	fillKeyed(b, dirty, batch.None, 1000, 64<<20)
	other := record.TopicPartition{Topic: "other"}
	if err := s.Create([]CreateSpec{{TP: other, Config: DefaultConfig()}}); err != nil {
		b.Fatal(err)
	}
	l, _ := s.Log(other)
	var cleaner sync.WaitGroup
	done := make(chan struct{})
	if compacting {
		cleaner.Go(func() { compactAgain(b, dirty, done) })
	}
	data := makeBatch(noProducer, clock.ms.Load(), strings.Repeat("x", 1000))
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		appendSync(b, l, data)
		took = append(took, time.Since(began))
	}
	close(done)
	cleaner.Wait()
	reportMedian(b, took)
}

// compactAgain compacts the log from its start, again and again.
func compactAgain(b *testing.B, l *Log, done chan struct{}) {
	keys := newOffsetMap(32 << 20)
	for limit := l.view.Load().active().base; ; {
		select {
		case <-done:
			return
		default:
		}
		l.compacted.to.Store(0)
		if err := l.store.cleaner.clean(dirt{log: l, limit: limit}, keys); err != nil {
			b.Error(err)
			return
		}
	}
}
