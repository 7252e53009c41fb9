package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// TestCompactionBesideReadersAndAppends: while segments are made anew all the
// time, every reader sees batches that follow each other, of each key values that
// rise, and at the end the last one that was appended.
func TestCompactionBesideReadersAndAppends(t *testing.T) {
	const appends, keys = 1500, 20
	clock := newClock()
	o := quiet(clock)
	o.CompactionInterval, o.CheckpointInterval, o.CompactionMapBytes = time.Millisecond, time.Millisecond, 400
	cfg := compactedConfig()
	cfg.Cleanup, cfg.RetentionMs = CleanupCompactDelete, -1
	l := create(t, openFS(t, crashfs.New(), o), cfg)

	var last [keys]uint64
	var done atomic.Bool
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 9))
			for !done.Load() {
				if err := scanFrom(l, l.StartOffset()+record.Offset(rng.Int64N(int64(l.HighWatermark()-l.StartOffset())+1)), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() { deleteSometimes(t, l, &done) })
	rng := rand.New(rand.NewPCG(5, 9))
	var newest Appended
	for i := range uint64(appends) {
		key := rng.IntN(keys)
		last[key] = i + 1
		a, err := l.Append(keyedBatch(t, batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.Codec(i % 5)}, clock.ms.Load(), counted(key, i+1)), AppendOptions{Sync: i%8 == 0})
		if err != nil {
			t.Fatal(err)
		}
		newest = a
		if i%8 == 0 {
			if err := a.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-l.store.syncer.all().done
	if err := newest.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	done.Store(true)
	readers.Wait()
	seen := map[string]uint64{}
	if err := scanFrom(l, l.StartOffset(), seen); err != nil {
		t.Fatal(err)
	}
	for key, want := range last {
		if got := seen[fmt.Sprint(key)]; got != want && want > uint64(l.StartOffset()) {
			t.Errorf("key %d ends with %d, want %d", key, got, want)
		}
	}
	if l.compactedTo() == 0 {
		t.Error("nothing was compacted")
	}
}

func counted(key int, n uint64) keyed {
	return keyed{fmt.Sprint(key), binary.BigEndian.AppendUint64(make([]byte, 0, 100), n)}
}

// scanFrom reads to the end, and notes the last value of each key.
func scanFrom(l *Log, off record.Offset, seen map[string]uint64) error {
	if seen == nil {
		seen = map[string]uint64{}
	}
	var it batch.Iterator
	for next := off; next < l.HighWatermark(); {
		data, err := l.Read(next, 1+int(next)%5000, nil)
		if errors.Is(err, ErrOffsetOutOfRange) && next < l.StartOffset() {
			next = l.StartOffset()
			continue
		}
		if err != nil || len(data) == 0 {
			return fmt.Errorf("read %d: %d bytes, %w", next, len(data), err)
		}
		for b, err := range batch.Split(data) {
			if err != nil {
				return err
			}
			if err := it.Reset(b, nil); err != nil {
				return err
			}
			h := it.Header()
			if h.BaseOffset > next || h.LastOffset() < next {
				return fmt.Errorf("the batch at %d to %d where %d must be", h.BaseOffset, h.LastOffset(), next)
			}
			for it.Next() {
				if it.Record().Offset < next {
					continue // as every client does
				}
				key, n := string(it.Record().Key), binary.BigEndian.Uint64(it.Record().Value)
				if n != uint64(it.Record().Offset)+1 || n <= seen[key] {
					return fmt.Errorf("at %d key %s has %d after %d", it.Record().Offset, key, n, seen[key])
				}
				seen[key] = n
			}
			next = h.LastOffset() + 1
		}
	}
	return nil
}

func deleteSometimes(t *testing.T, l *Log, done *atomic.Bool) {
	for before := record.Offset(50); !done.Load(); {
		if before >= l.HighWatermark() || before > 700 {
			_, _, _, err := l.OffsetForTime(record.Timestamp(l.store.opts.Now().UnixMilli()))
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if _, err := l.DeleteRecords(before); err != nil {
			t.Error(err)
		}
		before += 50
	}
}
