package log

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/batch"
	"millrace/record"
)

const (
	busyProducers = 4
	busyTxns      = 25 // of each; every third is aborted
	busyBatches   = 3  // of each transaction
)

// Producers with transactions, checkpoints, full segments, few file handles, and
// readers at read_committed that follow, all at once: a reader gets each committed
// transaction whole and nothing of an aborted one. Run it under the race detector.
func TestTransactionsAtOnce(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{MaxOpenFiles: 8, CheckpointBytes: 5000, CheckpointInterval: 10 * time.Millisecond})
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexIntervalBytes, cfg.RetentionMs = 1500, 200, -1
	l := create(t, s, cfg)
	ctx, stop := context.WithCancel(context.Background())
	var writers, readers sync.WaitGroup
	for id := range int64(busyProducers) {
		writers.Go(func() { transactAll(t, l, id) })
	}
	var seen [2][]string
	for i := range seen {
		readers.Go(func() { seen[i] = followCommitted(t, ctx, l) })
	}
	writers.Wait()
	stop()
	readers.Wait()
	if stable, end := l.LastStableOffset(), l.NextOffset(); stable != end {
		t.Errorf("the last stable offset is %d of %d", stable, end)
	}
	for _, values := range seen {
		checkSeen(t, values)
	}
}

// transactAll runs the transactions of one producer.
func transactAll(t *testing.T, l *Log, id int64) {
	for txn := range int32(busyTxns) {
		for i := range int32(busyBatches) {
			o := batch.BuilderOptions{ProducerID: id, ProducerEpoch: int16(txn), BaseSequence: i, Transactional: true}
			b := batch.NewBuilder(o)
			b.Append(record.Timestamp(time.Now().UnixMilli()), nil, fmt.Appendf(nil, "%d/%d/%d", id, txn, i), nil)
			built, err := b.Build()
			if err == nil {
				_, err = l.Append(built, AppendOptions{Sync: i > 0, Txn: i == 0})
			}
			if err != nil {
				t.Errorf("producer %d: %v", id, err)
				return
			}
		}
		a, err := l.AppendMarker(Marker{ProducerID: id, ProducerEpoch: int16(txn) + 1, Commit: txn%3 != 0, TransactionVersion: 2})
		if err == nil {
			err = a.Wait(context.Background())
		}
		if err != nil {
			t.Errorf("producer %d: %v", id, err)
			return
		}
	}
}

// followCommitted reads until the context ends and nothing is left.
func followCommitted(t *testing.T, ctx context.Context, l *Log) (seen []string) {
	w := NewWaiter()
	for off := record.Offset(0); ; {
		data, err := l.ReadCommitted(off, 700, nil)
		if err != nil {
			t.Error(err)
			return seen
		}
		if len(data) > 0 {
			seen, off = consumeCommitted(t, l, seen, data, off)
			continue
		}
		if ctx.Err() != nil && off == l.NextOffset() {
			return seen
		}
		if l.WatchStable(w, off) {
			select {
			case <-w.C:
			case <-ctx.Done():
			}
			l.Unwatch(w)
		}
	}
}

// consumeCommitted takes one answer as a consumer does.
func consumeCommitted(t *testing.T, l *Log, seen []string, data []byte, off record.Offset) ([]string, record.Offset) {
	end := off
	for one := range batch.Split(data) {
		h, _ := batch.ParseHeader(one)
		end = h.LastOffset() + 1
	}
	aborted, err := l.Aborted(nil, off, end)
	if err != nil {
		t.Error(err)
	}
	var it batch.Iterator
	for one := range batch.Split(data) {
		h, _ := batch.ParseHeader(one)
		if err := it.Reset(one, nil); h.Control() || err != nil || !it.Next() || within(aborted, h) {
			continue
		}
		seen = append(seen, string(it.Record().Value))
	}
	return seen, end
}

func within(aborted []AbortedTxn, h batch.Header) bool {
	for _, a := range aborted {
		if a.ProducerID == h.ProducerID && a.First <= h.BaseOffset && h.BaseOffset <= a.Last {
			return true
		}
	}
	return false
}

func checkSeen(t *testing.T, values []string) {
	var of [busyProducers][]string
	for _, v := range values {
		var id int
		if _, err := fmt.Sscanf(v, "%d/", &id); err != nil {
			t.Fatal(err)
		}
		of[id] = append(of[id], v)
	}
	for id, got := range of {
		var want []string
		for txn := range busyTxns {
			for i := range busyBatches {
				if txn%3 != 0 {
					want = append(want, fmt.Sprintf("%d/%d/%d", id, txn, i))
				}
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("of producer %d a reader got %v", id, got)
		}
	}
}
