package log_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// TestEveryFlippedBitOfACompactedLog: a bit that is turned over in a compacted
// segment is always noticed, in the batches that take the place of others too;
// nothing else is lost, and nothing comes out that was never there. Bits of the
// indexes change nothing.
func TestEveryFlippedBitOfACompactedLog(t *testing.T) {
	t.Parallel()
	fixture, want := compactedFixture(t)
	names, err := fixture.List(keyedTP.String())
	must(t, err)
	flips, damaged := 0, 0
	for _, name := range names {
		path := keyedTP.String() + "/" + name
		content, err := fixture.ReadFile(path)
		must(t, err)
		batches := strings.HasSuffix(name, ".log")
		if !batches && !strings.HasSuffix(name, "index") {
			continue
		}
		for bit := range int64(len(content)) * 8 {
			image := fixture.Crash(crashfs.Policy{}, 0)
			must(t, image.FlipBit(path, bit))
			n, err := readRotten(image, want)
			if err != nil || batches != (n > 0) {
				t.Fatalf("bit %d of byte %d in %s: %d stretches of damage, %v", bit%8, bit/8, name, n, err)
			}
			flips++
			damaged += n
		}
	}
	t.Logf("%d flipped bits, %d stretches of damage", flips, damaged)
	if flips < 10_000 {
		t.Errorf("only %d bits: the fixture is too small", flips)
	}
}

// compactedFixture is a disk with a compacted log after a clean stop, and its records.
func compactedFixture(t *testing.T) (*crashfs.FS, map[record.Offset]batch.View) {
	var w *keyedWorld
	var f keyedFound
	synctest.Test(t, func(t *testing.T) {
		w = newKeyedWorld(1)
		w.disk.OnOp(nil, nil)
		w.model.cfg.MinCleanableDirtyRatio, w.model.cfg.SegmentBytes, w.model.cfg.IndexIntervalBytes = 0, 600, 100
		must(t, w.fill(40))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		var err error
		f, err = readKeyed(w.log)
		must(t, err)
		must(t, w.store.Close())
	})
	return w.disk, f.records
}

// readRotten starts a store on a damaged image and reads everything. It gives the
// number of stretches that are reported as damaged.
func readRotten(image *crashfs.FS, want map[record.Offset]batch.View) (damaged int, err error) {
	store, err := log.Open(image, log.Options{ReserveBytes: 1, CompactionInterval: time.Hour})
	if err != nil {
		return 0, err
	}
	l, _ := store.Log(keyedTP)
	f, err := readLog(l)
	if err == nil {
		err = sameButDamaged(f, want)
	}
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	return len(f.damaged), err
}

func sameButDamaged(f found, want map[record.Offset]batch.View) error {
	there := map[record.Offset]bool{}
	var it batch.Iterator
	for _, b := range f.batches {
		if err := it.Reset(b, nil); err != nil {
			return err
		}
		for it.Next() && !it.Header().Control() {
			r := it.Record()
			if w, known := want[r.Offset]; !known || string(w.Key) != string(r.Key) || string(w.Value) != string(r.Value) || w.Timestamp != r.Timestamp {
				return fmt.Errorf("at %d there is %q=%q", r.Offset, r.Key, r.Value)
			}
			there[r.Offset] = true
		}
	}
	for off := range want {
		reported := false
		for _, d := range f.damaged {
			reported = reported || d.Offset <= off && off < d.Next
		}
		if !there[off] && !reported {
			return fmt.Errorf("the record at %d is missing, and nobody says so", off)
		}
	}
	return nil
}
