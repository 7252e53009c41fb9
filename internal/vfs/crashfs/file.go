package crashfs

import (
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
)

type file struct {
	fs     *FS
	name   string // under which it was opened
	ino    *inode
	closed atomic.Bool
}

func (h *file) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.fs.look(Read, h.name, func() error {
		if err := h.usable(off); err != nil {
			return err
		}
		if len(b) == 0 {
			return nil
		}
		if off >= h.ino.size.now {
			return io.EOF
		}
		n = int(min(int64(len(b)), h.ino.size.now-off))
		h.ino.read(b[:n], off)
		if n < len(b) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

// Writev keeps what fits when the disk is full, and what an injected fault lets
// through, as a short write does.
func (h *file) Writev(bufs [][]byte, off int64) (n int64, err error) {
	var total int64
	for _, b := range bufs {
		total += int64(len(b))
	}
	op := Op{Kind: Write, Name: h.name, Off: off, Bytes: total}
	err = h.fs.do(op, func(fault *Fault) error {
		if err := h.usable(off); err != nil {
			return err
		}
		room, full := h.fs.roomLocked(h.ino, off, total)
		if fault != nil {
			room, full = min(room, fault.Written, max(0, total-1)), fault.Err
		}
		n = h.fs.writeLocked(h.ino, bufs, off, room)
		if n == total && fault == nil {
			full = nil
		}
		return full
	})
	return n, err
}

// roomLocked is how many of the bytes fit, and the error when not all do.
func (f *FS) roomLocked(ino *inode, off, total int64) (int64, error) {
	if f.capacity == 0 || off+total-ino.size.now <= f.freeLocked() {
		return total, nil
	}
	return max(0, ino.size.now+f.freeLocked()-off), syscall.ENOSPC
}

func (f *FS) writeLocked(ino *inode, bufs [][]byte, off, room int64) (n int64) {
	before := ino.size.now
	for _, b := range bufs {
		b = b[:min(int64(len(b)), room-n)]
		ino.write(b, off+n)
		n += int64(len(b))
	}
	f.used += ino.size.now - before
	return n
}

func (h *file) Size() (size int64, err error) {
	err = h.fs.look(Stat, h.name, func() error {
		if err := h.usable(0); err != nil {
			return err
		}
		size = h.ino.size.now
		return nil
	})
	return size, err
}

func (h *file) Truncate(sizeBytes int64) error {
	return h.fs.do(Op{Kind: Truncate, Name: h.name, Bytes: sizeBytes}, func(fault *Fault) error {
		if err := h.usable(sizeBytes); err != nil {
			return err
		}
		if fault != nil {
			return fault.Err
		}
		h.fs.truncateLocked(h.ino, sizeBytes)
		return nil
	})
}

func (f *FS) truncateLocked(ino *inode, sizeBytes int64) {
	f.used += sizeBytes - ino.size.now
	ino.truncate(sizeBytes)
}

func (h *file) SyncData() error {
	return h.fs.do(Op{Kind: SyncData, Name: h.name}, func(fault *Fault) error {
		if err := h.usable(0); err != nil {
			return err
		}
		if fault != nil {
			h.ino.syncFailed()
			return fault.Err
		}
		h.ino.sync()
		return nil
	})
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed.Swap(true) {
		return pathError(Open, h.name, fs.ErrClosed)
	}
	h.ino.opens--
	h.fs.releaseLocked(h.ino)
	return nil
}

func (h *file) usable(off int64) error {
	if h.closed.Load() {
		return fs.ErrClosed
	}
	if off < 0 {
		return syscall.EINVAL
	}
	return nil
}
