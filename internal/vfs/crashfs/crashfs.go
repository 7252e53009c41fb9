// Package crashfs is an in-memory disk for crash tests. It behaves as the
// operating system does while the machine runs, keeps beside it what the disk is
// sure to hold and what it may hold, and gives an image of the disk after a
// power cut at any moment, cheaply enough to take several at each operation.
//
// It promises exactly what package vfs promises and lies in every way POSIX
// allows: bytes without SyncData and names without SyncDir survive or not, each
// for itself and in any order; a block may hold any of its unsynced versions; a
// write is torn between 512-byte sectors; a file may get its new size without
// its bytes (zeros) or its bytes without the size. A rename within one directory
// is atomic, as on every file system in use; between two directories it is not.
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"millrace/internal/vfs"
)

// FS is one disk with its page cache. It is safe for concurrent use.
type FS struct {
	mu       sync.RWMutex
	root     *inode
	locks    map[string]bool
	made     uint64
	used     int64 // bytes in files that have a name or are open
	capacity int64 // 0: no limit
	faults   faultSet
	trace    trace
	before   func(Op)
	after    func(Op)
	images   uint64 // crash images taken: marks the inodes that the newest one has
}

var _ vfs.FS = (*FS)(nil)

// New is an empty disk.
func New() *FS { return &FS{root: &inode{isDir: true, links: 1}} }

// OnOp sets what is called before and after each operation that changes
// something or syncs: the crash points. Both may be nil. They run outside of all
// locks, so they may take images and may block, which is how to make a slow disk.
// after is also called when the operation failed.
func (f *FS) OnOp(before, after func(Op)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// Hooks are what OnOp has set.
func (f *FS) Hooks() (before, after func(Op)) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.before, f.after
}

// SetCapacity bounds the bytes in all files: beyond it writes are short and
// fail with ENOSPC, until something is removed or truncated. 0 is no bound.
func (f *FS) SetCapacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// UsedBytes is what all files hold, unsynced bytes included.
func (f *FS) UsedBytes() int64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.used
}

// FreeBytes is 1 TiB when there is no capacity.
func (f *FS) FreeBytes() (int64, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.freeLocked(), nil
}

func (f *FS) freeLocked() int64 {
	if f.capacity == 0 {
		return 1 << 40
	}
	return max(0, f.capacity-f.used)
}

// Root is a name for messages.
func (f *FS) Root() string { return "crashfs:" }

// do runs one operation as a crash point. apply runs under the lock; it gets the
// injected fault, if one matches, and decides what a failure leaves behind.
func (f *FS) do(op Op, apply func(fault *Fault) error) error {
	f.mu.Lock()
	op = f.trace.add(op)
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		before(op)
	}
	f.mu.Lock()
	err := apply(f.faults.match(op))
	if err != nil {
		f.trace.failed(op, err)
	}
	f.mu.Unlock()
	if after != nil {
		after(op)
	}
	return pathError(op.Kind, op.Name, err)
}

// look runs one operation that changes nothing: it may fail, but is no crash point.
func (f *FS) look(kind Kind, name string, apply func() error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if fault := f.faults.match(Op{Kind: kind, Name: name}); fault != nil {
		return pathError(kind, name, fault.Err)
	}
	return pathError(kind, name, apply())
}

func pathError(kind Kind, name string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: kind.String(), Path: name, Err: err}
}

// Create, on an existing file, is a truncation of that file.
func (f *FS) Create(name string) (vfs.File, error) {
	var made *file
	err := f.do(Op{Kind: Create, Name: path.Clean(name)}, func(fault *Fault) error {
		if fault != nil {
			return fault.Err
		}
		ino, err := f.createLocked(name)
		if err == nil {
			made = f.openLocked(name, ino)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (f *FS) createLocked(name string) (*inode, error) {
	dir, base, err := f.parentLocked(name)
	if err != nil {
		return nil, err
	}
	switch ino := find(dir.entries, base); {
	case ino == nil:
		ino = f.makeLocked(false)
		dir.change(dirOp{set: base, ino: ino})
		return ino, nil
	case ino.isDir:
		return nil, syscall.EISDIR
	default:
		f.truncateLocked(ino, 0)
		return ino, nil
	}
}

// Open opens an existing file for reading and writing.
func (f *FS) Open(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault := f.faults.match(Op{Kind: Open, Name: path.Clean(name)}); fault != nil {
		return nil, pathError(Open, name, fault.Err)
	}
	ino, err := f.fileLocked(name)
	if err != nil {
		return nil, pathError(Open, name, err)
	}
	return f.openLocked(name, ino), nil
}

func (f *FS) openLocked(name string, ino *inode) *file {
	ino.opens++
	return &file{fs: f, name: path.Clean(name), ino: ino}
}

// ReadFile is the whole content of a file.
func (f *FS) ReadFile(name string) (content []byte, err error) {
	err = f.look(Read, path.Clean(name), func() error {
		ino, err := f.fileLocked(name)
		if err != nil {
			return err
		}
		content = make([]byte, ino.size.now)
		ino.read(content, 0)
		return nil
	})
	return content, err
}

// Stat knows name, kind and size; there are no times.
func (f *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.look(Stat, path.Clean(name), func() error {
		ino, err := f.findLocked(name)
		if err == nil {
			info = fileInfo{name: path.Base(name), sizeBytes: ino.size.now, isDir: ino.isDir}
		}
		return err
	})
	return info, err
}

// List is the sorted names in dir.
func (f *FS) List(dir string) (names []string, err error) {
	err = f.look(List, path.Clean(dir), func() error {
		ino, err := f.dirLocked(dir)
		if err != nil {
			return err
		}
		names = make([]string, len(ino.entries))
		for i, e := range ino.entries {
			names[i] = e.name
		}
		return nil
	})
	return names, err
}

// SyncDir makes the names in dir durable.
func (f *FS) SyncDir(dir string) error {
	return f.do(Op{Kind: SyncDir, Name: path.Clean(dir)}, func(fault *Fault) error {
		ino, err := f.dirLocked(dir)
		if err != nil {
			return err
		}
		if fault != nil {
			ino.syncFailed()
			return fault.Err
		}
		ino.sync()
		return nil
	})
}

// SyncAll makes all bytes and names durable.
func (f *FS) SyncAll() error {
	return f.do(Op{Kind: SyncAll, Name: "."}, func(fault *Fault) error {
		if fault != nil {
			f.root.walk((*inode).syncFailed)
			return fault.Err
		}
		f.root.walk((*inode).sync)
		return nil
	})
}

// Lock holds until the Closer is closed. A crash image starts without locks.
func (f *FS) Lock(name string) (io.Closer, error) {
	if _, err := f.Stat(name); errors.Is(err, fs.ErrNotExist) {
		made, err := f.Create(name)
		if err != nil {
			return nil, err
		}
		if err := made.Close(); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks[name] {
		return nil, &vfs.LockedError{Path: name}
	}
	if f.locks == nil {
		f.locks = map[string]bool{}
	}
	f.locks[name] = true
	return &heldLock{fs: f, name: name}, nil
}

type heldLock struct {
	fs   *FS
	name string
}

func (l *heldLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	delete(l.fs.locks, l.name)
	return nil
}
