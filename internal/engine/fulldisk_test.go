//go:build synctests

package engine

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fullFS has no room for table files while full.
type fullFS struct {
	vfs.FS
	full  atomic.Bool
	asked atomic.Int64
}

func (f *fullFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() && strings.HasSuffix(name, ".sst") && f.asked.Add(1) < 10_000 {
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(name, category)
}

// A full state disk costs a longer restore, no result: the job says that it is
// degraded, goes on counting, tries the disk about once a second, and is well
// again by itself.
func TestJobOutlivesAFullStateDisk(t *testing.T) {
	inWorld(t, keyedPlan("app"), 2, func(w *world) {
		files := &fullFS{}
		w.options = func(o *Options) { files.FS, o.Store.FS = o.Store.FS, files }
		a := w.node("a").start()
		w.feed(30)
		w.mustCatchUp()
		files.full.Store(true)
		for range 20 {
			w.feed(10)
			time.Sleep(30 * time.Second)
		}
		w.mustCatchUp()
		if s := a.engine.Status(); s.State != Degraded || s.Err == nil {
			t.Errorf("for ten minutes the disk has been full, and the job is %s: %v", s.State, s.Err)
		}
		if asked := files.asked.Load(); asked < 100 || asked > 1000 {
			t.Errorf("the full disk was tried %d times in ten minutes, want about once a second", asked)
		}
		files.full.Store(false)
		time.Sleep(5 * time.Second)
		w.feed(10)
		time.Sleep(5 * time.Second)
		if s := a.engine.Status(); s.State != Active || s.Err != nil {
			t.Errorf("there is room again, and the job is %s: %v", s.State, s.Err)
		}
		w.mustBeRight()
		if err := a.leave(); err != nil {
			t.Fatal(err)
		}
		a.start()
		w.feed(10)
		w.mustCatchUp()
		w.mustBeRight()
	})
}
