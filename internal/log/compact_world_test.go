package log_test

import (
	"context"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// keyedWorld runs one workload on one compacted partition, with the model beside
// it, and takes crash images of the disk at each operation.
type keyedWorld struct {
	seed  uint64
	rng   *rand.Rand
	plant func(*log.Options)

	disk  *crashfs.FS
	store *log.Store
	log   *log.Log
	steps []string

	keys      int
	producers [2]keyedProducer
	newest    []byte // the last batch of data of producers[0], and where it is
	newestAt  record.Offset

	mu    sync.Mutex // what the disk's hook uses too
	model keyedLog
	nowMs int64
	hash  maphash.Seed
	seen  map[uint64]bool // images already taken
	taken []keyedState
	only  string

	looked  int
	renamed int // images taken at a rename: the swaps
	alarms  int
	failure error
}

// keyedProducer is a transactional producer; the first one writes without
// transactions too.
type keyedProducer struct {
	sequence int32
	open     int // index of its transaction; -1
}

var keyedTP = record.TopicPartition{Topic: "latest", Partition: 0}

func newKeyedWorld(seed uint64) *keyedWorld {
	w := &keyedWorld{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), disk: crashfs.New(), nowMs: 1_800_000_000_000,
		hash: maphash.MakeSeed(), seen: map[uint64]bool{},
	}
	c := log.DefaultConfig()
	c.Cleanup = pick(w.rng, log.CleanupCompact, log.CleanupCompact, log.CleanupCompactDelete)
	c.RetentionMs = -1
	c.SegmentBytes = pick(w.rng, int64(300), 600, 1500)
	c.IndexIntervalBytes = pick(w.rng, int32(1), 300, 4096)
	c.MinCleanableDirtyRatio = pick(w.rng, 0, 0.5)
	c.DeleteRetentionMs = time.Hour.Milliseconds()
	c.LogAppendTime = w.rng.IntN(6) == 0
	c.TimestampAfterMaxMs = 1 << 40
	w.model = keyedLog{cfg: c}
	w.keys = pick(w.rng, 4, 16)
	for i := range w.producers {
		w.producers[i].open = -1
	}
	w.disk.OnOp(w.capture, nil)
	return w
}

func (w *keyedWorld) options(nowMs func() int64) log.Options {
	rng := rand.New(rand.NewPCG(w.seed, 8))
	o := log.Options{
		CompactionMapBytes: pick(rng, int64(1), 1<<10, 1<<20),
		CheckpointBytes:    1 << 30,
		MaxOpenFiles:       pick(rng, 3, 1000),
		SyncParallel:       1,
		OpenParallel:       1,
		ReserveBytes:       1,
		ProducerExpiration: 1000 * time.Hour,
		ConfigOf:           func(record.TopicPartition) log.Config { return w.model.cfg },
		Now:                func() time.Time { return time.UnixMilli(nowMs()) },
	}
	if w.plant != nil {
		w.plant(&o)
	}
	return o
}

func (w *keyedWorld) clock() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nowMs
}

func (w *keyedWorld) open() error {
	store, err := log.Open(w.disk, w.options(w.clock))
	if err != nil {
		return err
	}
	w.store = store
	if _, there := store.Log(keyedTP); !there {
		if err := store.Create([]log.CreateSpec{{TP: keyedTP, TopicID: [16]byte{1}, Config: w.model.cfg}}); err != nil {
			return err
		}
	}
	w.log, _ = store.Log(keyedTP)
	synctest.Wait()
	return nil
}

// do runs an append beside the model: while it is under way it may be there or not.
func (w *keyedWorld) do(a *keyedAppend, run func() (log.Appended, error)) (log.Appended, error) {
	w.mu.Lock()
	w.model.pending = a
	clear(w.seen)
	w.mu.Unlock()
	appended, err := run()
	if err == nil {
		err = appended.Wait(context.Background())
	}
	if err != nil {
		return appended, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range a.records {
		if w.model.cfg.LogAppendTime {
			a.records[i].ts = record.Timestamp(appended.AppendTimeMs)
		}
	}
	w.model.apply(a)
	clear(w.seen)
	if w.model.next != appended.Last+1 {
		return appended, fmt.Errorf("appended up to %d, expected %d", appended.Last, w.model.next-1)
	}
	return appended, nil
}

// append sends a batch of a few records, some of them tombstones, of a plain
// producer, an idempotent one, or one in a transaction.
func (w *keyedWorld) append(kind int) error {
	o := batch.BuilderOptions{ProducerID: batch.NoProducerID, Codec: batch.Codec(max(0, w.rng.IntN(8)-3))}
	a := &keyedAppend{ends: -1, atMs: w.nowMs, next: w.model.next}
	txn := -1
	p := &w.producers[kind%2]
	if kind > 0 {
		o.ProducerID, o.BaseSequence = int64(100+kind%2), p.sequence
	}
	if kind > 0 && p.open >= 0 || kind == 3 {
		o.Transactional, txn = true, p.open
		if txn < 0 {
			txn = len(w.model.txns)
			a.begins = &keyedTxn{producer: o.ProducerID, marker: -1}
		}
	}
	b := batch.NewBuilder(o)
	for range 1 + w.rng.IntN(4) {
		r := keyedRecord{offset: a.next, ts: record.Timestamp(w.nowMs - w.rng.Int64N(1000)), key: fmt.Sprint("k", w.rng.IntN(w.keys)), txn: txn, putAtMs: w.nowMs}
		if w.rng.IntN(4) > 0 {
			r.value = fmt.Appendf(nil, "%d %s", w.rng.IntN(1000), strings.Repeat("v", pick(w.rng, 0, 5, 40, 200)))
		}
		b.Append(r.ts, []byte(r.key), r.value, nil)
		if w.model.cfg.LogAppendTime {
			r.ts = record.Timestamp(w.nowMs)
		}
		a.records = append(a.records, r)
		a.next++
	}
	built, err := b.Build()
	if err != nil {
		return err
	}
	sent := slices.Clone(built)
	w.say("append at %d: %d records, producer %d, transaction %d", w.model.next, len(a.records), o.ProducerID, txn)
	appended, err := w.do(a, func() (log.Appended, error) {
		return w.log.Append(built, log.AppendOptions{Sync: true, Txn: o.Transactional})
	})
	if err != nil {
		return err
	}
	if kind > 0 {
		p.sequence += int32(len(a.records))
		p.open = txn
	}
	if kind > 0 && kind%2 == 0 {
		w.newest, w.newestAt = sent, appended.Base
	}
	return nil
}

// end commits or aborts one of the open transactions.
func (w *keyedWorld) end() error {
	for i := range w.producers {
		p := &w.producers[i]
		if p.open < 0 || w.rng.IntN(2) == 0 {
			continue
		}
		a := &keyedAppend{ends: p.open, aborted: w.rng.IntN(2) == 0, atMs: w.nowMs, next: w.model.next + 1}
		w.say("marker at %d: transaction %d, aborted %v", w.model.next, p.open, a.aborted)
		p.open = -1
		_, err := w.do(a, func() (log.Appended, error) {
			return w.log.AppendMarker(log.Marker{ProducerID: int64(100 + i), Commit: !a.aborted, TransactionVersion: 1})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compact waits for a checkpoint, after which the cleaner looks for work.
func (w *keyedWorld) compact() error {
	w.say("checkpoint and compaction")
	time.Sleep(6 * time.Second)
	synctest.Wait()
	f, err := readKeyed(w.log)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.model.snapshot().check(w.log, w.nowMs); err != nil {
		return err
	}
	w.model.observe(f)
	clear(w.seen)
	return nil
}

func (w *keyedWorld) deleteRecords() error {
	if !w.model.cfg.Deletes() || w.rng.IntN(3) > 0 {
		return nil
	}
	before := w.log.StartOffset() + record.Offset(w.rng.Int64N(int64(w.log.LastStableOffset()-w.log.StartOffset())+1))
	w.say("delete records before %d", before)
	w.mu.Lock()
	w.model.startMax = max(w.model.startMax, before)
	w.mu.Unlock()
	start, err := w.log.DeleteRecords(before)
	w.mu.Lock()
	w.model.start = max(w.model.start, start)
	w.mu.Unlock()
	return err
}

func (w *keyedWorld) restart() error {
	w.say("clean restart")
	if err := w.store.Close(); err != nil {
		return err
	}
	return w.open()
}

func (w *keyedWorld) say(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

func (w *keyedWorld) step() error {
	switch n := w.rng.IntN(30); {
	case n < 8:
		return w.append(0)
	case n < 12:
		return w.append(2)
	case n < 17:
		return w.append(1 + 2*w.rng.IntN(2))
	case n < 22:
		return w.end()
	case n < 26:
		return w.compact()
	case n < 28:
		w.mu.Lock()
		w.nowMs += pick(w.rng, time.Minute, 40*time.Minute, 2*time.Hour).Milliseconds()
		w.mu.Unlock()
		return nil
	case n < 29:
		return w.deleteRecords()
	}
	return w.restart()
}
