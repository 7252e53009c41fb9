package log_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// txnRotKinds are the files from which a start learns what became of transactions.
var txnRotKinds = []string{".txnindex", ".snapshot", "recovery-point-offset-checkpoint", "log-start-offset-checkpoint"}

const minTxnRot = 15_000

// TestRotOfTransactions turns over every bit of these files and of the markers, and
// tries every shorter length of the files, after a clean stop and after a kill. What a consumer at
// read_committed gets must not change: all of it can be had from the batches.
func TestRotOfTransactions(t *testing.T) {
	t.Parallel()
	damages := 0
	for _, f := range txnRotFixtures(t) {
		if err := f.lookTxns(f.disk.Clone(), 2); err != nil {
			t.Fatalf("%s, undamaged: %v", f.name, err)
		}
		for _, kind := range txnRotKinds {
			names := f.filesOf(kind)
			if len(names) == 0 {
				t.Errorf("%s has no %s", f.name, kind)
			}
			for _, name := range names {
				n, err := f.damageTxns(name)
				if err != nil {
					t.Fatalf("%s: %v", f.name, err)
				}
				damages += n
			}
		}
		if f.clean {
			continue // its markers are below the snapshot, and not read
		}
		n, err := f.damageMarkers()
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		damages += n
	}
	t.Logf("%d damages", damages)
	if damages < minTxnRot {
		t.Errorf("%d damages: fewer than %d prove nothing", damages, minTxnRot)
	}
}

// txnRotFixtures are one directory after a clean stop, one after a kill, with
// transactions of two producers that cross segments.
func txnRotFixtures(t *testing.T) []*rotFixture {
	t.Helper()
	f := &rotFixture{name: "clean", clean: true, disk: crashfs.New(), nowMs: rotNowMs,
		want: &partition{tp: rotTP, id: [16]byte{7, 7}, cfg: rotConfig(rotTP)}}
	f.run(t, func(s *log.Store) {
		must(t, s.Create([]log.CreateSpec{{TP: rotTP, TopicID: f.want.id, Config: f.want.cfg}}))
		for n := range 3 {
			f.transact(t, s, n)
		}
	})
	f.run(t, func(s *log.Store) {
		for n := range 2 {
			f.transact(t, s, n)
		}
		f.append(t, s, 1)
	})

	killed := *f
	killed.name, killed.clean, killed.disk = "killed", false, f.disk.Clone()
	twin := *f.want
	killed.want = &twin
	s, err := log.Open(killed.disk, rotOptions(killed.nowMs, nil, nil))
	must(t, err)
	for n := range 2 {
		killed.transact(t, s, n)
	}
	killed.disk = killed.disk.Clone()
	must(t, s.Close())
	return []*rotFixture{f, &killed}
}

// transact writes three transactions: one that is aborted around one that is
// committed, and one that stays open until the next call.
func (f *rotFixture) transact(t *testing.T, s *log.Store, n int) {
	t.Helper()
	if n > 0 {
		f.end(t, s, 3, n%2 == 0)
	}
	f.inTxn(t, s, 1)
	f.inTxn(t, s, 2)
	f.inTxn(t, s, 1)
	f.end(t, s, 2, true)
	f.inTxn(t, s, 3)
	f.end(t, s, 1, false)
}

func (f *rotFixture) inTxn(t *testing.T, s *log.Store, producer int64) {
	t.Helper()
	l, _ := s.Log(rotTP)
	o := batch.BuilderOptions{ProducerID: producer, Transactional: true}
	for _, b := range f.want.batches {
		if b.ProducerID == producer && b.marker == nil {
			o.BaseSequence = b.BaseSequence + b.Count
		}
	}
	next := f.next(t, o)
	a, err := l.Append(slices.Clone(next.bytes), log.AppendOptions{Sync: true, Txn: true})
	must(t, err)
	must(t, a.Wait(context.Background()))
	f.want.add(next)
	f.want.pending = false
}

func (f *rotFixture) end(t *testing.T, s *log.Store, producer int64, commit bool) {
	t.Helper()
	l, _ := s.Log(rotTP)
	m := log.Marker{ProducerID: producer, Commit: commit}
	next, err := markerBatch(m, f.nowMs, f.want.next)
	must(t, err)
	a, err := l.AppendMarker(m)
	must(t, err)
	must(t, a.Wait(context.Background()))
	f.want.add(next)
	f.want.pending = false
}

// damageTxns damages one file in every way.
func (f *rotFixture) damageTxns(name string) (damages int, err error) {
	info, err := f.disk.Stat(name)
	if err != nil {
		return 0, err
	}
	for bit := range info.Size() * 8 {
		disk := f.disk.Clone()
		if err := disk.FlipBit(name, bit); err != nil {
			return 0, err
		}
		if err := f.lookTxns(disk, lives(bit)); err != nil {
			return 0, fmt.Errorf("bit %d (byte %d) of %s flipped: %w", bit, bit/8, name, err)
		}
	}
	for size := range info.Size() {
		disk := f.disk.Clone()
		if err := disk.Cut(name, size); err != nil {
			return 0, err
		}
		if err := f.lookTxns(disk, 2); err != nil {
			return 0, fmt.Errorf("%s cut to %d bytes of %d: %w", name, size, info.Size(), err)
		}
	}
	return int(info.Size() * 9), nil
}

// damageMarkers turns over every bit of every marker. It is lost for readers, but
// not what it said.
func (f *rotFixture) damageMarkers() (damages int, err error) {
	position := map[string]int64{}
	for _, s := range f.want.batches {
		name, from := f.placeOf(s, position)
		if s.marker == nil {
			continue
		}
		for bit := 8 * from; bit < 8*(from+int64(len(s.bytes))); bit++ {
			disk := f.disk.Clone()
			if err := disk.FlipBit(name, bit); err != nil {
				return damages, err
			}
			if err := f.lookTxns(disk, lives(bit)); err != nil {
				return damages, fmt.Errorf("bit %d of the marker at %d flipped: %w", bit-8*from, s.BaseOffset, err)
			}
			damages++
		}
	}
	return damages, nil
}

// lives is how often a directory with that bit flipped is opened.
func lives(bit int64) int {
	if bit%8 == 0 {
		return 2
	}
	return 1
}

// lookTxns opens a directory, or twice: what the first start mends stays so.
func (f *rotFixture) lookTxns(disk *crashfs.FS, lives int) error {
	for life := range lives {
		s, err := log.Open(disk, rotOptions(f.nowMs, nil, nil))
		if err != nil {
			return err
		}
		l, _ := s.Log(rotTP)
		err = f.want.checkTxns(l)
		if got := l.LastStableOffset(); err == nil && got != f.openSince() {
			err = fmt.Errorf("the last stable offset is %d, not %d", got, f.openSince())
		}
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return fmt.Errorf("start %d: %w", life+1, err)
		}
	}
	return nil
}

// openSince is where the transaction begins that is left open.
func (f *rotFixture) openSince() record.Offset {
	return f.want.txnsOf(0, f.want.next).stable(0, f.want.next)
}
