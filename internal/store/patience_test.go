package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// refusingFS has no room for table files while full, and counts how often it is
// asked for one.
type refusingFS struct {
	vfs.FS
	full  atomic.Bool
	asked atomic.Int64
}

// tooOften is when it gives in, so that a loop without a pause ends the test.
const tooOften = 10_000

func (f *refusingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() && strings.HasSuffix(name, ".sst") && f.asked.Add(1) < tooOften {
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(name, category)
}

func put(d *DB, p *Part, n int) error {
	f := d.NewFlush()
	f.To(p).Put(fmt.Appendf(nil, "%d", n), []byte("v"))
	return f.Apply()
}

// TestFullDiskIsTriedWithPatience fills the disk for an hour. All that time the
// store says so, refuses what would only fill memory, and looks about once a
// second whether there is room again. Then it goes on by itself, with all that it
// had taken.
func TestFullDiskIsTriedWithPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &refusingFS{FS: vfs.NewMem()}
		d := openAt(t, files)
		p := partOf(t, d, "a", 0)
		must(t, put(d, p, 1))
		files.full.Store(true)
		must(t, d.Persist())
		for range 60 {
			time.Sleep(time.Minute)
			if d.Trouble() == nil || put(d, p, 2) == nil || d.Persist() == nil {
				t.Fatal("the disk is full, and nothing says so")
			}
		}
		if asked := files.asked.Load(); asked < 3000 || asked > 4000 {
			t.Errorf("the full disk was tried %d times in an hour, want about once a second", asked)
		}
		files.full.Store(false)
		time.Sleep(2 * longestPause)
		if err := d.Trouble(); err != nil {
			t.Errorf("there is room again, and it still says %v", err)
		}
		must(t, put(d, p, 3))
		must(t, d.Close())
		d = openAt(t, files)
		if got := entries(t, partOf(t, d, "a", 0)); len(got) != 2 || got["1"] == "" || got["3"] == "" {
			t.Errorf("after the full disk the store has %v", got)
		}
		must(t, d.Close())
	})
}

// TestCloseDoesNotWaitForAFullDisk closes while attempts are made, and just
// before the first one.
func TestCloseDoesNotWaitForAFullDisk(t *testing.T) {
	for _, since := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			files := &refusingFS{FS: vfs.NewMem()}
			d := openAt(t, files)
			must(t, put(d, partOf(t, d, "a", 0), 1))
			files.full.Store(true)
			if since > 0 {
				must(t, d.Persist())
				time.Sleep(since)
			}
			closing := time.Now()
			_ = d.Close() // it may say what it had to drop
			if took := time.Since(closing); took > time.Second {
				t.Errorf("closing took %v", took)
			}
			if asked := files.asked.Load(); asked >= tooOften {
				t.Errorf("the full disk was tried %d times", asked)
			}
		})
	}
}
