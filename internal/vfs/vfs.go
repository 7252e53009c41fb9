// Package vfs is the small file-system seam under the log. Production code
// runs on [OpenOS]; the crash tests run the same code on an in-memory disk that
// can lose power after any operation (package crashfs).
//
// The seam is low on purpose: it shows every operation whose durability the
// log depends on, so that each of them is a crash point. Three rules hold, as
// on a POSIX file system:
//
//   - bytes are durable only after SyncData on their file, or SyncAll;
//   - a name (created, renamed or removed) is durable only after SyncDir on the
//     directory that holds it, or SyncAll;
//   - after a failed sync nothing may be assumed about the bytes it covered, and
//     repeating it proves nothing (Rebello et al., USENIX ATC'20).
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked means that another process (or another FS of this one) holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// FS is one directory tree. Names are slash-separated and relative to its root;
// "." is the root itself. A missing file or directory gives an error for which
// errors.Is(err, fs.ErrNotExist) holds. All methods may be called concurrently.
type FS interface {
	// Create makes an empty file for reading and writing. An existing file of
	// that name is truncated.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// ReadFile is the whole content of a small file.
	ReadFile(name string) ([]byte, error)
	Remove(name string) error
	// RemoveAll removes a file or a tree; a missing name is no error.
	RemoveAll(name string) error
	// Rename replaces newName if it exists, atomically.
	Rename(oldName, newName string) error
	// MkdirAll makes the directory and its parents.
	MkdirAll(name string) error
	// List is the sorted names in a directory.
	List(dir string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// SyncAll makes everything written so far durable: all files and all names
	// (syncfs). One call costs less than a sync per file from about eight files on.
	SyncAll() error
	// Lock takes the named lock file until the Closer is closed or the process
	// ends. ErrLocked when another holder has it.
	Lock(name string) (io.Closer, error)
	// FreeBytes is the space left for writing.
	FreeBytes() (int64, error)
	// Root is the place for people to read in messages, such as the OS path.
	Root() string
}

// File is one open file. Reads may run beside one writer.
type File interface {
	io.ReaderAt
	// Writev writes the buffers one after the other at off, in one system call
	// where the OS allows it. n < the total only with an error. The buffers are
	// not kept or changed.
	Writev(bufs [][]byte, off int64) (n int64, err error)
	Size() (int64, error)
	Truncate(sizeBytes int64) error
	// SyncData makes the file's bytes and its size durable (fdatasync).
	SyncData() error
	Close() error
}
