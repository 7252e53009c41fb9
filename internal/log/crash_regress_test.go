package log_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// Bugs that the crash world, the error points and the flipped bits have found,
// each by itself.

// small is a store with one partition on a crash disk.
type small struct {
	t     *testing.T
	disk  *crashfs.FS
	store *log.Store
	log   *log.Log
	sent  []*sent
}

func openSmall(t *testing.T, disk *crashfs.FS) *small {
	t.Helper()
	store, err := log.Open(disk, rotOptions(rotNowMs, nil, nil))
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	s := &small{t: t, disk: disk, store: store}
	s.log, _ = store.Log(rotTP)
	return s
}

func newSmall(t *testing.T) *small {
	t.Helper()
	s := openSmall(t, crashfs.New())
	s.create()
	return s
}

func (s *small) create() {
	s.t.Helper()
	must(s.t, s.store.Create([]log.CreateSpec{{TP: rotTP, TopicID: [16]byte{1}, Config: rotConfig(rotTP)}}))
	s.log, _ = s.store.Log(rotTP)
}

// add appends a batch of two records; those of producer 1 are idempotent.
func (s *small) add(producer int64, sync bool) log.Appended {
	s.t.Helper()
	return s.addAs(batch.BuilderOptions{ProducerID: producer, BaseSequence: int32(2 * len(s.sent))}, sync)
}

// addTxn appends a batch of a transaction.
func (s *small) addTxn(producer int64) log.Appended {
	s.t.Helper()
	return s.addAs(batch.BuilderOptions{ProducerID: producer, BaseSequence: int32(2 * len(s.sent)), Transactional: true}, true)
}

func (s *small) addAs(o batch.BuilderOptions, sync bool) log.Appended {
	s.t.Helper()
	n := len(s.sent)
	b := batch.NewBuilder(o)
	for i := range 2 {
		b.Append(record.Timestamp(rotNowMs+int64(2*n+i)), nil, []byte(strings.Repeat("v", 40)), nil)
	}
	built, err := b.Build()
	must(s.t, err)
	h, err := batch.Validate(built)
	must(s.t, err)
	s.sent = append(s.sent, &sent{Header: h, bytes: slices.Clone(built)})
	a, err := s.log.Append(slices.Clone(built), log.AppendOptions{Sync: sync, Txn: o.Transactional})
	must(s.t, err)
	if sync {
		must(s.t, a.Wait(context.Background()))
	}
	return a
}

// expect reads everything.
func (s *small) expect(start, next record.Offset) {
	s.t.Helper()
	f, err := readLog(s.log)
	must(s.t, err)
	if f.start != start || f.next != next || len(f.damaged) > 0 || len(f.batches) != int(next-start)/2 {
		s.t.Errorf("the log holds %d to %d in %d batches, damage %v; expected %d to %d", f.start, f.next, len(f.batches), f.damaged, start, next)
	}
}

func powerCutOf(disk *crashfs.FS) *crashfs.FS { return disk.Crash(crashfs.Policy{}, 0) }

func TestAHalfMadePartitionIsNotServed(t *testing.T) {
	disk := crashfs.New()
	s := openSmall(t, disk)
	var images []*crashfs.FS
	disk.OnOp(func(op crashfs.Op) {
		for _, policy := range crashfs.Policies() {
			images = append(images, disk.Crash(policy, uint64(op.N)))
		}
	}, nil)
	s.create()
	disk.OnOp(nil, nil)
	for _, image := range images {
		if l := openSmall(t, image).log; l != nil && l.TopicID() != s.log.TopicID() {
			t.Fatalf("served under the topic id %x", l.TopicID())
		}
	}
}

func TestAStartKeepsTheProducersItFound(t *testing.T) {
	s := newSmall(t)
	s.add(1, true)
	again := openSmall(t, powerCutOf(s.disk)) // moves the recovery point behind the batch
	again = openSmall(t, powerCutOf(again.disk))
	a, err := again.log.Append(slices.Clone(s.sent[0].bytes), log.AppendOptions{})
	if err != nil || !a.Duplicate || a.Base != 0 {
		t.Errorf("the retry got %+v, %v", a, err)
	}
}

func TestAppendsAfterAFailedSyncGoIntoTheCopy(t *testing.T) {
	s := newSmall(t)
	s.add(1, true)
	s.disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncData}, Name: "*.log", Err: syscall.EIO})
	s.add(1, false)
	if err := s.store.Close(); !errors.Is(err, log.ErrFailed) {
		t.Fatalf("Close: %v, want ErrFailed", err)
	}
	again := openSmall(t, s.disk.Clone())
	again.sent = s.sent
	again.add(1, true)
	again.expect(0, 6)
	openSmall(t, powerCutOf(again.disk)).expect(0, 6)
}

func TestDeletingUnsyncedRecordsIsNoFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSmall(t)
		for range 12 { // several segments: their names are not synced
			s.add(1, false)
		}
		must(t, s.store.Delete([]record.TopicPartition{rotTP}))
		time.Sleep(2 * time.Hour)
		must(t, s.store.Close())
		if _, err := s.disk.Stat(".sync-failed"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the mark of a failed sync is there: %v", err)
		}
	})
}

func TestAPartitionCreatedAnewStartsAtZero(t *testing.T) {
	s := newSmall(t)
	for range 12 {
		s.add(1, true)
	}
	_, err := s.log.DeleteRecords(8)
	must(t, err)
	must(t, s.store.Close())
	s = openSmall(t, s.disk)
	must(t, s.store.Delete([]record.TopicPartition{rotTP}))
	s.create()
	openSmall(t, powerCutOf(s.disk)).expect(0, 0)
}

func TestAStartLeavesItsOwnTemporaryFilesAlone(t *testing.T) {
	for range 50 { // the removal came beside the writing
		s := newSmall(t)
		s.add(1, true)
		image := powerCutOf(s.disk)
		must(t, image.Put("recovery-point-offset-checkpoint.tmp", []byte("half")))
		openSmall(t, image).expect(0, 2)
		must(t, s.store.Close())
	}
}

func TestLostIndexEntriesHideNoRecords(t *testing.T) {
	s := newSmall(t)
	for range 4 { // three entries in one segment
		s.add(1, true)
	}
	must(t, s.store.Close())
	index := path.Join(rotTP.String(), "00000000000000000000.index")
	content, err := s.disk.ReadFile(index)
	must(t, err)
	must(t, s.disk.Put(index, append(content[:8], 0, 0, 0, 0, 0, 0, 0, 0)))
	s = openSmall(t, s.disk)
	for off := range s.log.NextOffset() {
		data, err := s.log.Read(off, 1, nil)
		h, headerErr := batch.ParseHeader(data)
		if err := errors.Join(err, headerErr); err != nil || h.BaseOffset != off-off%2 {
			t.Errorf("read at %d gave %d, %v", off, h.BaseOffset, err)
		}
	}
}

func TestADeletionThatWasNotSyncedIsAskedForAgain(t *testing.T) {
	s := newSmall(t)
	s.add(1, true)
	s.disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncDir}, Name: ".", Err: syscall.EIO})
	tps := []record.TopicPartition{rotTP}
	if err := s.store.Delete(tps); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Delete: %v, want EIO", err)
	}
	openSmall(t, powerCutOf(s.disk)).expect(0, 2) // back, with all its records
	must(t, s.store.Delete(tps))
	if l := openSmall(t, powerCutOf(s.disk)).log; l != nil {
		t.Error("it came back after Delete had returned nil")
	}
}

// A failed syncfs may have marked clean the bytes of partitions that were not in
// its round.
func TestAFailedSyncOfEverythingFailsAllThatIsUnsynced(t *testing.T) {
	s := newSmall(t)
	a := s.add(1, false)
	s.disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncAll}, Err: syscall.EIO})
	var specs []log.CreateSpec
	for i := range 8 { // so many are synced as a whole
		specs = append(specs, log.CreateSpec{TP: record.TopicPartition{Topic: "many", Partition: record.Partition(i)}, TopicID: [16]byte{2}})
	}
	if err := s.store.Create(specs); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Create: %v, want EIO", err)
	}
	if err := a.Wait(context.Background()); !errors.Is(err, log.ErrFailed) {
		t.Errorf("Wait: %v, want ErrFailed", err)
	}
}

func TestAFailedIndexWriteHidesNothingFromTheSearchByTime(t *testing.T) {
	s := newSmall(t)
	must(t, s.store.Close())
	for n := range 4 {
		s.disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Name: "*.index", Err: syscall.EIO})
		again := openSmall(t, s.disk)
		again.sent = s.sent
		again.add(1, true)
		s.sent = again.sent
		if err := again.store.Close(); n > 0 && !errors.Is(err, syscall.EIO) { // the first batch has no entry
			t.Fatalf("Close with %d batches: %v, want EIO", n+1, err)
		}
		s.disk.Heal()
		again = openSmall(t, s.disk)
		for off := range record.Offset(2 * (n + 1)) {
			got, _, ok, err := again.log.OffsetForTime(record.Timestamp(rotNowMs) + record.Timestamp(off))
			if got != off || !ok || err != nil {
				t.Errorf("with %d batches: the record at offset %d was found at %d (%v), %v", n+1, off, got, ok, err)
			}
		}
		must(t, again.store.Close())
	}
}

// One bit in the length of the last batch below the recovery point leads a scan
// that trusts headers into the middle of what lies above it.
func TestRotAtTheRecoveryPointCutsNothing(t *testing.T) {
	s := newSmall(t)
	s.add(1, true)
	s.add(1, true)
	must(t, s.store.Close()) // the recovery point is 4
	again := openSmall(t, s.disk)
	again.sent = s.sent
	again.add(1, true)
	image := again.disk.Clone()
	file := path.Join(rotTP.String(), "00000000000000000000.log")
	second := int64(len(s.sent[0].bytes))
	length := binary.BigEndian.Uint32(s.sent[1].bytes[8:])
	bit := int64(0)
	for length&(1<<bit) != 0 || 1<<bit < 16 {
		bit++ // the lowest that makes it longer, and not by a few bytes
	}
	must(t, image.FlipBit(file, 8*(second+11)-8*(bit/8)+bit%8))
	f, err := readLog(openSmall(t, image).log)
	must(t, err)
	if f.next != 6 || len(f.batches) != 2 || len(f.damaged) != 1 || f.damaged[0].Offset != 2 || f.damaged[0].Next != 4 {
		t.Errorf("next offset %d, %d batches, damage %v", f.next, len(f.batches), f.damaged)
	}
}

// A stop that overtakes a checkpoint leaves to nobody what that one has captured.
func TestAStopThatOvertakesACheckpointKeepsTheProducers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		o := rotOptions(rotNowMs, nil, nil)
		o.CheckpointInterval = time.Second
		store, err := log.Open(disk, o)
		must(t, err)
		s := &small{t: t, disk: disk, store: store}
		s.create()
		s.add(1, false)
		closed := make(chan error, 1)
		disk.OnOp(func(op crashfs.Op) {
			if op.Kind == crashfs.SyncData && strings.HasSuffix(op.Name, ".log") { // of the checkpoint
				disk.OnOp(nil, nil)
				go func() { closed <- store.Close() }()
				for s.log.Failed() == nil {
					runtime.Gosched()
				}
			}
		}, nil)
		must(t, <-closed)
		a, err := openSmall(t, disk).log.Append(slices.Clone(s.sent[0].bytes), log.AppendOptions{})
		if err != nil || !a.Duplicate {
			t.Errorf("the retry got %+v, %v", a, err)
		}
	})
}

// The marker of a transaction lies above the recovery point, and is deleted,
// before or after its segment is full: a start must not take the transaction for
// open.
func TestADeletedMarkerHasEndedItsTransaction(t *testing.T) {
	for _, first := range []int{0, 12} {
		s := newSmall(t)
		s.addTxn(1)
		again := openSmall(t, powerCutOf(s.disk)) // moves the recovery point into the transaction
		again.sent = s.sent
		a, err := again.log.AppendMarker(log.Marker{ProducerID: 1, Commit: true})
		must(t, err)
		must(t, a.Wait(context.Background()))
		for range first {
			again.add(batch.NoProducerID, true)
		}
		_, err = again.log.DeleteRecords(again.log.NextOffset())
		must(t, err)
		for range 12 - first {
			again.add(batch.NoProducerID, true)
		}
		l := openSmall(t, powerCutOf(again.disk)).log
		if stable := l.LastStableOffset(); stable != l.HighWatermark() {
			t.Errorf("the last stable offset is %d of %d", stable, l.HighWatermark())
		}
		if id, first, _, open := l.OldestOpenTxn(); open {
			t.Errorf("producer %d has a transaction open since %d", id, first)
		}
	}
}

// A crash came while deleted segments were being removed: some are still there,
// and those between them are not. The log does not end at the gap.
func TestAGapBetweenDeletedSegmentsIsNotTheEnd(t *testing.T) {
	s := newSmall(t)
	for range 12 {
		s.add(batch.NoProducerID, true)
	}
	before := s.disk.Clone()
	_, err := s.log.DeleteRecords(20)
	must(t, err)
	image := powerCutOf(s.disk)
	first := path.Join(rotTP.String(), "00000000000000000000.log")
	content, err := before.ReadFile(first)
	must(t, err)
	must(t, image.Put(first, content))
	must(t, image.Remove("recovery-point-offset-checkpoint"))
	openSmall(t, image).expect(20, 24)
}

// The coordinator forgets a transaction once its markers are acknowledged, so they
// are durable also where the topic's records need not be.
func TestMarkersAreDurableInEveryTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New()
		config := rotConfig(rotTP)
		config.FlushMessages = 1000
		o := rotOptions(rotNowMs, nil, nil)
		o.ConfigOf = func(record.TopicPartition) log.Config { return config }
		store, err := log.Open(disk, o)
		must(t, err)
		defer store.Close()
		must(t, store.Create([]log.CreateSpec{{TP: rotTP, TopicID: [16]byte{1}, Config: config}}))
		l, _ := store.Log(rotTP)
		began := time.Now()
		a, err := l.AppendMarker(log.Marker{ProducerID: 1, Commit: true})
		must(t, err)
		must(t, a.Wait(context.Background()))
		if waited := time.Since(began); waited > 0 {
			t.Errorf("the sync came after %v", waited)
		}
		again, err := log.Open(powerCutOf(disk), o)
		must(t, err)
		defer again.Close()
		l, _ = again.Log(rotTP)
		if l.NextOffset() != 1 {
			t.Error("a power cut took the marker")
		}
	})
}
