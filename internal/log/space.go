package log

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"millrace/internal/vfs"
)

// space keeps a reserve on the disk free: an append is refused while there is
// still room for checkpoints, snapshots and deletions, and is accepted again as
// soon as there is space. The file system is asked once per 64 MiB, or at each
// append while the disk is full.
type space struct {
	fsys    vfs.FS
	reserve int64
	logger  *slog.Logger
	budget  atomic.Int64 // bytes that may be written before the next look
	refused atomic.Bool  // said so in the log

	mu sync.Mutex // one look at a time
}

const spaceLookBytes = 64 << 20

// take asks for n bytes. ErrNoSpace when they would cut into the reserve.
func (s *space) take(n int64, internal bool) error {
	if s.budget.Add(-n) >= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.fsys.FreeBytes()
	if err != nil {
		return nil // a write will tell
	}
	s.budget.Store(max(0, min(free-s.reserve-n, spaceLookBytes)))
	reserve := s.reserve
	if internal {
		reserve /= 2
	}
	if free-n < reserve {
		s.say(free)
		return fmt.Errorf("%w: %d bytes free in %s, of which %d are kept in reserve: free disk space or lower retention; appends go on by themselves then", ErrNoSpace, free, s.fsys.Root(), s.reserve)
	}
	if s.refused.CompareAndSwap(true, false) {
		s.logger.Info("there is disk space again: appends go on", "free_bytes", free)
	}
	return nil
}

// exhausted makes the next append look before it writes.
func (s *space) exhausted() { s.budget.Store(0) }

func (s *space) say(free int64) {
	if s.refused.CompareAndSwap(false, true) {
		s.logger.Error("disk is full: appends are refused, reads and deletions go on", "free_bytes", free, "reserve_bytes", s.reserve, "directory", s.fsys.Root())
	}
}
