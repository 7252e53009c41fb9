package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	dirPerm  = 0o700
	filePerm = 0o600
)

// OS is a directory of the operating system. Every name is resolved by os.Root,
// so neither a ".." nor a symbolic link leads out of the directory.
type OS struct {
	dir  string // absolute, for messages
	root *os.Root

	// self stays open for as long as the FS: syncfs reports the write errors
	// that happened since its descriptor was opened.
	self *os.File

	// unsynced is nil where one system call syncs the whole file system and
	// reports what went wrong.
	unsynced *unsyncedSet
}

// OpenOS opens dir, which is made (readable by its owner only) when it is missing.
func OpenOS(dir string) (*OS, error) {
	return openOS(dir, wholeSyncReportsErrors())
}

func openOS(dir string, wholeSync bool) (*OS, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("vfs: open directory %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, dirPerm); err != nil {
		return nil, dirError(abs, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, dirError(abs, err)
	}
	self, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(dirError(abs, err), root.Close())
	}
	o := &OS{dir: abs, root: root, self: self}
	if !wholeSync {
		o.unsynced = newUnsyncedSet()
	}
	return o, nil
}

// dirError says in a user's words why the directory cannot serve.
func dirError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("directory %s is not writable by this user (uid %d): give it to this user or choose another directory: %w", dir, os.Getuid(), err)
	case isNotDir(err):
		return fmt.Errorf("%s cannot be a directory because a file is in its place: move the file or choose another directory: %w", dir, err)
	}
	return fmt.Errorf("directory %s cannot be opened: %w", dir, err)
}

// Close releases the directory. Open files stay usable.
func (o *OS) Close() error { return errors.Join(o.self.Close(), o.root.Close()) }

// Root is the absolute path of the directory.
func (o *OS) Root() string { return o.dir }

func (o *OS) Create(name string) (File, error) {
	f, err := o.openFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	o.unsynced.addNameIn(parent(name))
	o.unsynced.addFile(f) // an existing file has lost its bytes
	return f, nil
}

func (o *OS) Open(name string) (File, error) {
	f, err := o.openFile(name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (o *OS) openFile(name string, flag int) (*osFile, error) {
	f, err := o.root.OpenFile(filepath.FromSlash(name), flag, filePerm)
	if err != nil {
		return nil, o.at(name, err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(o.at(name, err), f.Close())
	}
	return &osFile{File: f, raw: raw, path: o.path(name), unsynced: o.unsynced}, nil
}

func (o *OS) ReadFile(name string) ([]byte, error) {
	b, err := o.root.ReadFile(filepath.FromSlash(name))
	return b, o.at(name, err)
}

func (o *OS) Remove(name string) error {
	err := o.root.Remove(filepath.FromSlash(name))
	o.unsynced.addNameIn(parent(name))
	return o.at(name, err)
}

func (o *OS) RemoveAll(name string) error {
	err := o.root.RemoveAll(filepath.FromSlash(name))
	o.unsynced.addNameIn(parent(name))
	return o.at(name, err)
}

func (o *OS) Rename(oldName, newName string) error {
	err := o.root.Rename(filepath.FromSlash(oldName), filepath.FromSlash(newName))
	o.unsynced.addNameIn(parent(oldName))
	o.unsynced.addNameIn(parent(newName))
	return o.at(newName, err)
}

func (o *OS) MkdirAll(name string) error {
	err := o.root.MkdirAll(filepath.FromSlash(name), dirPerm)
	for at := name; at != "."; at = parent(at) {
		o.unsynced.addNameIn(parent(at))
	}
	return o.at(name, err)
}

func (o *OS) List(dir string) ([]string, error) {
	d, err := o.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return nil, o.at(dir, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, o.at(dir, err)
	}
	slices.Sort(names)
	return names, nil
}

func (o *OS) Stat(name string) (fs.FileInfo, error) {
	info, err := o.root.Stat(filepath.FromSlash(name))
	return info, o.at(name, err)
}

func (o *OS) SyncDir(dir string) error {
	d, err := o.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return o.at(dir, err)
	}
	defer d.Close()
	o.unsynced.dropNamesIn(dir)
	return o.at(dir, syncDirectory(d))
}

func (o *OS) SyncAll() error {
	if o.unsynced == nil {
		return o.at(".", syncWhole(o.self))
	}
	return o.unsynced.syncAll(o.SyncDir)
}

func (o *OS) FreeBytes() (int64, error) {
	n, err := freeBytes(o.self)
	return n, o.at(".", err)
}

func (o *OS) path(name string) string { return filepath.Join(o.dir, filepath.FromSlash(name)) }

// at puts the whole path where os.Root has the name only: people must find the file.
func (o *OS) at(name string, err error) error {
	if err == nil {
		return nil
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return &os.LinkError{Op: link.Op, Old: o.path(link.Old), New: o.path(link.New), Err: link.Err}
	}
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: at.Op, Path: o.path(name), Err: at.Err}
	}
	return &fs.PathError{Op: "access", Path: o.path(name), Err: err}
}

// LockedError says who holds a lock. errors.Is(err, ErrLocked) holds.
type LockedError struct {
	Path string
	PID  int // 0 when the holder has not said
}

func (e *LockedError) Error() string {
	holder := "another process"
	switch {
	case e.PID == os.Getpid():
		holder = "this process already"
	case e.PID > 0:
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("directory %s is in use by %s (it holds %s): stop that process or choose another directory",
		filepath.Dir(e.Path), holder, filepath.Base(e.Path))
}

func (e *LockedError) Unwrap() error { return ErrLocked }

// Lock writes the id of this process into the lock file, for the message that
// the next one gets. The file is never removed: a third process could then
// lock a new file of the same name beside the holder of the old one.
func (o *OS) Lock(name string) (io.Closer, error) {
	f, err := o.root.OpenFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, dirError(o.dir, o.at(name, err))
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, &LockedError{Path: o.path(name), PID: readPID(f)}
		}
		return nil, o.at(name, err)
	}
	if err := writePID(f); err != nil && !isNoSpace(err) {
		return nil, errors.Join(o.at(name, err), f.Close())
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

func readPID(f *os.File) (pid int) {
	if _, err := fmt.Fscan(io.NewSectionReader(f, 0, 32), &pid); err != nil {
		return 0
	}
	return pid
}
