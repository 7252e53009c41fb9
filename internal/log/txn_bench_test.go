package log

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// txnBatch16K is batch16K of a transaction.
func txnBatch16K(transactional bool) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: 1, Transactional: transactional})
	now := record.Timestamp(time.Now().UnixMilli())
	for range 236 {
		b.Append(now, nil, []byte(strings.Repeat("x", 62)), nil)
	}
	built, err := b.Build()
	if err != nil {
		panic(err)
	}
	return built
}

const sequenceAt = 53 // of a batch's base sequence

// BenchmarkAppendOfProducers is BenchmarkAppendInMemory for an idempotent producer,
// and for one that commits after every 100 batches.
func BenchmarkAppendOfProducers(b *testing.B) {
	for _, kind := range []string{"idempotent", "transactional"} {
		b.Run(kind, func(b *testing.B) {
			l := create(b, openFS(b, nowhere{crashfs.New()}, Options{BackgroundBytes: 1 << 40, BackgroundSync: time.Hour, CheckpointBytes: 1 << 40, CheckpointInterval: time.Hour}), Config{})
			transactional := kind == "transactional"
			data := txnBatch16K(transactional)
			sequence := int32(0)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for n := 1; b.Loop(); n++ {
				binary.BigEndian.PutUint32(data[sequenceAt:], uint32(sequence)) // Append trusts the checksum
				if _, err := l.Append(data, AppendOptions{Txn: true}); err != nil {
					b.Fatal(err)
				}
				sequence = sequenceAfter(sequence, 236)
				if transactional && n%100 == 0 {
					if _, err := l.AppendMarker(Marker{ProducerID: 1, Commit: true}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkMarker is a transaction of one small batch, up to the page cache.
func BenchmarkMarker(b *testing.B) {
	l := create(b, openFS(b, nowhere{crashfs.New()}, Options{BackgroundSync: time.Hour, CheckpointInterval: time.Hour, Durability: OS}), Config{})
	data := txnBatch(producerSpec{id: 1}, 1)
	b.ReportAllocs()
	for n := int32(0); b.Loop(); n++ {
		binary.BigEndian.PutUint32(data[sequenceAt:], uint32(n))
		if _, err := l.Append(data, AppendOptions{Txn: true}); err != nil {
			b.Fatal(err)
		}
		if _, err := l.AppendMarker(Marker{ProducerID: 1, Commit: n%10 > 0}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadTransactions reads 64 MiB of transactions of 16 batches, each tenth
// aborted, 1 MiB at a time: as BenchmarkRead does, and as a fetch at
// read_committed does, with the aborted transactions of what was read.
func BenchmarkReadTransactions(b *testing.B) {
	l := benchLog(b, Options{Durability: OS})
	data := txnBatch16K(true)
	sequence := int32(0)
	for n := 1; l.SizeBytes() < 64<<20; n++ {
		binary.BigEndian.PutUint32(data[sequenceAt:], uint32(sequence))
		batch.SetLogAppendTime(data, time.Now().UnixMilli()) // for the checksum
		if _, err := l.Append(data, AppendOptions{Txn: true, Internal: true}); err != nil {
			b.Fatal(err)
		}
		sequence = sequenceAfter(sequence, 236)
		if n%16 == 0 {
			if _, err := l.AppendMarker(Marker{ProducerID: 1, Commit: n%160 > 0}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("uncommitted", func(b *testing.B) {
		readAround(b, l, l.Read)
	})
	b.Run("committed", func(b *testing.B) {
		var aborted []AbortedTxn
		readAround(b, l, func(off record.Offset, maxBytes int, buf []byte) ([]byte, error) {
			buf, err := l.ReadCommitted(off, maxBytes, buf)
			if err == nil {
				aborted, err = l.Aborted(aborted[:0], off, off+record.Offset(len(buf)/70))
			}
			return buf, err
		})
	})
}

func readAround(b *testing.B, l *Log, read func(record.Offset, int, []byte) ([]byte, error)) {
	buf := make([]byte, 0, 1<<20)
	off := record.Offset(0)
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		got, err := read(off, 1<<20, buf[:0])
		if err != nil {
			b.Fatal(err)
		}
		total += len(got)
		if off += record.Offset(len(got) / 70); len(got) == 0 || off >= l.LastStableOffset()-20_000 {
			off = 0
		}
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds()/1e6, "MB/s")
}
