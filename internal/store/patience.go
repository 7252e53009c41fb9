package store

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// patience makes Pebble wait between attempts to write to a disk that refuses.
// Pebble itself tries a failed flush or compaction again at once: a full disk, or
// a directory that is gone, would take a whole processor. Each attempt begins
// with a new file, so that is where it waits, without any of Pebble's locks.
type patience struct {
	quit chan struct{} // closed when the database closes: nobody waits any more

	mu    sync.Mutex
	pause time.Duration // after the last failure; 0: the disk takes what it gets
	until time.Time
}

// Pauses double with each failure in a row. The longest is well below
// troubleLasts, so that trouble does not seem to end between two attempts.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = time.Second
)

func newPatience() *patience { return &patience{quit: make(chan struct{})} }

// failed makes the next attempt wait.
func (p *patience) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause = min(max(firstPause, 2*p.pause), longestPause)
	p.until = time.Now().Add(p.pause)
}

// succeeded ends the waiting.
func (p *patience) succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pause, p.until = 0, time.Time{}
}

// wait returns when the next attempt may be made.
func (p *patience) wait() {
	p.mu.Lock()
	left := time.Until(p.until)
	p.mu.Unlock()
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.quit:
	}
}

// patientFS is the file system below Pebble.
type patientFS struct {
	vfs.FS
	patience *patience
}

// Create implements [vfs.FS].
func (f patientFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f.patience.wait()
	return f.FS.Create(name, category)
}

// Unwrap implements [vfs.FS].
func (f patientFS) Unwrap() vfs.FS { return f.FS }
