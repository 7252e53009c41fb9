package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/record"
)

// Many appenders, readers that follow and readers that jump, DeleteRecords,
// retention by size, changes of configuration, and topics that come and go, all
// at once, with few file handles. Each acknowledged record is read once, in its
// place; run it under the race detector.
func TestEverythingAtOnce(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{MaxOpenFiles: 8, CheckpointBytes: 20_000, RetentionInterval: 10 * time.Millisecond, CheckpointInterval: 10 * time.Millisecond})
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes, cfg.RetentionMs = 2000, 200, -1
	const partitions, appenders, perAppender = 4, 8, 30
	var logs []*Log
	for p := range partitions {
		tp := record.TopicPartition{Topic: "busy", Partition: record.Partition(p)}
		if err := s.Create([]CreateSpec{{TP: tp, Config: cfg}}); err != nil {
			t.Fatal(err)
		}
		l, _ := s.Log(tp)
		logs = append(logs, l)
	}
	ctx, stop := context.WithCancel(context.Background())
	var writers, others sync.WaitGroup
	var acked [partitions]sync.Map // offset → value
	for a := range appenders {
		writers.Go(func() { appendAndNote(t, logs[a%partitions], a, perAppender, &acked[a%partitions]) })
	}
	var follower [partitions]map[record.Offset]string
	for p, l := range logs {
		follower[p] = map[record.Offset]string{}
		others.Go(func() { follow(t, ctx, l, follower[p]) })
		others.Go(func() { jump(t, ctx, l) })
	}
	others.Go(func() { comeAndGo(t, ctx, s) })
	others.Go(func() { deleteSome(t, ctx, logs[1]) })
	others.Go(func() { reconfigure(ctx, logs[2], cfg) })
	writers.Wait()
	stop()
	others.Wait()
	for p := range partitions {
		if p == 1 || p == 2 {
			continue // records go there before the follower has them
		}
		read := follower[p]
		acked[p].Range(func(off, value any) bool {
			if got := read[off.(record.Offset)]; got != value {
				t.Errorf("partition %d: offset %d was acknowledged as %q, read is %q", p, off, value, got)
			}
			return true
		})
	}
}

func appendAndNote(t *testing.T, l *Log, who, n int, acked *sync.Map) {
	for i := range n {
		value := fmt.Sprintf("%d-%d", who, i)
		a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), value), AppendOptions{Sync: i%3 > 0})
		if err == nil {
			err = a.Wait(context.Background())
		}
		if err != nil {
			t.Error(err)
			return
		}
		acked.Store(a.Base, value)
	}
}

// follow reads on as records become visible, until the log's end after ctx.
func follow(t *testing.T, ctx context.Context, l *Log, into map[record.Offset]string) {
	w := NewWaiter()
	var buf []byte
	for off := record.Offset(0); ; {
		data, err := l.Read(off, 500, buf[:0])
		if errors.Is(err, ErrOffsetOutOfRange) && off < l.StartOffset() {
			off = l.StartOffset()
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		if len(data) == 0 {
			if ctx.Err() != nil {
				return
			}
			if l.Watch(w, off) {
				select {
				case <-w.C:
				case <-ctx.Done():
				}
				l.Unwatch(w)
			}
			continue
		}
		buf = data
		for one := range batch.Split(data) {
			var it batch.Iterator
			if err := it.Reset(one, nil); err != nil {
				t.Error(err)
				return
			}
			for it.Next() {
				if r := it.Record(); r.Offset >= off {
					if r.Offset != off && l.StartOffset() <= off {
						t.Errorf("offset %d follows %d", r.Offset, off-1)
						return
					}
					into[r.Offset] = string(r.Value)
					off = r.Offset + 1
				}
			}
		}
	}
}

// jump reads anywhere and looks up times.
func jump(t *testing.T, ctx context.Context, l *Log) {
	for ctx.Err() == nil {
		start, end := l.StartOffset(), l.HighWatermark()
		if end <= start {
			continue
		}
		off := start + record.Offset(rand.Int64N(int64(end-start)))
		data, err := l.Read(off, 1+rand.IntN(2000), nil)
		if errors.Is(err, ErrOffsetOutOfRange) && off < l.StartOffset() {
			continue
		}
		if err != nil {
			t.Error(err)
			return
		}
		if h, err := batch.CheckCRC(data); err != nil || h.BaseOffset > off || h.LastOffset() < off {
			t.Errorf("read at %d gave the batch at %d, %v", off, h.BaseOffset, err)
			return
		}
		if _, _, _, err := l.OffsetForTime(record.Timestamp(time.Now().UnixMilli() - rand.Int64N(50))); err != nil {
			t.Error(err)
			return
		}
	}
}

var topics atomic.Int32

// comeAndGo creates a topic, uses it and deletes it, always under one name.
func comeAndGo(t *testing.T, ctx context.Context, s *Store) {
	for ctx.Err() == nil {
		tp := record.TopicPartition{Topic: "brief"}
		id := [16]byte{byte(topics.Add(1))}
		if err := s.Create([]CreateSpec{{TP: tp, TopicID: id}}); err != nil {
			t.Error(err)
			return
		}
		l, _ := s.Log(tp)
		var group sync.WaitGroup
		group.Go(func() {
			for {
				if _, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), string(id[:])), AppendOptions{Sync: true}); err != nil {
					if !errors.Is(err, ErrDeleted) {
						t.Error(err)
					}
					return
				}
			}
		})
		group.Go(func() {
			for {
				data, err := l.Read(0, 100, nil)
				if errors.Is(err, ErrDeleted) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if len(data) > 0 {
					var it batch.Iterator
					if err := it.Reset(data, nil); err != nil || !it.Next() || string(it.Record().Value) != string(id[:]) {
						t.Errorf("a record of another topic: %v", err)
						return
					}
				}
			}
		})
		if a, err := l.Append(makeBatch(noProducer, time.Now().UnixMilli(), string(id[:])), AppendOptions{Sync: true}); err == nil {
			if err := a.Wait(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
		if err := s.Delete([]record.TopicPartition{tp}); err != nil {
			t.Error(err)
		}
		group.Wait()
	}
}

func deleteSome(t *testing.T, ctx context.Context, l *Log) {
	for ctx.Err() == nil {
		if _, err := l.DeleteRecords(l.HighWatermark() / 2); err != nil {
			t.Error(err)
			return
		}
	}
}

func reconfigure(ctx context.Context, l *Log, cfg Config) {
	for i := 0; ctx.Err() == nil; i++ {
		cfg.RetentionBytes = 3000
		cfg.FlushMessages = []int64{1, 5, Unset}[i%3]
		l.SetConfig(cfg)
		runtime.Gosched()
	}
}
