package crashfs

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"
)

// Remove removes a file or an empty directory.
func (f *FS) Remove(name string) error {
	return f.do(Op{Kind: Remove, Name: path.Clean(name)}, func(fault *Fault) error {
		if fault != nil {
			return fault.Err
		}
		return f.removeLocked(name)
	})
}

func (f *FS) removeLocked(name string) error {
	dir, base, err := f.parentLocked(name)
	if err != nil {
		return err
	}
	ino := find(dir.entries, base)
	if ino == nil {
		return fs.ErrNotExist
	}
	if len(ino.entries) > 0 {
		return syscall.ENOTEMPTY
	}
	dir.change(dirOp{remove: base})
	f.unlinkLocked(ino)
	return nil
}

// RemoveAll is one operation, and so one crash point, for each name in the tree.
func (f *FS) RemoveAll(name string) error {
	info, err := f.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		names, err := f.List(name)
		if err != nil {
			return err
		}
		for _, base := range names {
			if err := f.RemoveAll(path.Join(name, base)); err != nil {
				return err
			}
		}
	}
	if err := f.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename replaces newName if it is a file.
func (f *FS) Rename(oldName, newName string) error {
	op := Op{Kind: Rename, Name: path.Clean(newName), From: path.Clean(oldName)}
	return f.do(op, func(fault *Fault) error {
		if fault != nil {
			return fault.Err
		}
		return f.renameLocked(op.From, op.Name)
	})
}

func (f *FS) renameLocked(oldName, newName string) error {
	oldDir, oldBase, err := f.parentLocked(oldName)
	if err != nil {
		return err
	}
	newDir, newBase, err := f.parentLocked(newName)
	if err != nil {
		return err
	}
	ino, replaced := find(oldDir.entries, oldBase), find(newDir.entries, newBase)
	if err := mayRename(oldName, newName, ino, replaced); err != nil || ino == replaced {
		return err
	}
	if oldDir == newDir {
		oldDir.change(dirOp{remove: oldBase, set: newBase, ino: ino})
	} else {
		newDir.change(dirOp{set: newBase, ino: ino})
		oldDir.change(dirOp{remove: oldBase})
	}
	if replaced != nil {
		f.unlinkLocked(replaced)
	}
	return nil
}

func mayRename(oldName, newName string, ino, replaced *inode) error {
	switch {
	case ino == nil:
		return fs.ErrNotExist
	case ino.isDir && strings.HasPrefix(newName, oldName+"/"):
		return syscall.EINVAL
	case replaced == nil || replaced == ino && !ino.isDir:
		return nil
	case replaced.isDir:
		return fs.ErrExist // package os does not replace an empty directory either
	case ino.isDir:
		return syscall.ENOTDIR
	}
	return nil
}

// MkdirAll is one operation for each directory that is missing.
func (f *FS) MkdirAll(name string) error {
	name = path.Clean(name)
	if _, err := f.Stat(name); errors.Is(err, fs.ErrNotExist) && name != "." {
		if err := f.MkdirAll(path.Dir(name)); err != nil {
			return err
		}
		return f.mkdir(name)
	}
	return f.look(Stat, name, func() error {
		_, err := f.dirLocked(name)
		return err
	})
}

func (f *FS) mkdir(name string) error {
	return f.do(Op{Kind: Mkdir, Name: name}, func(fault *Fault) error {
		if fault != nil {
			return fault.Err
		}
		dir, base, err := f.parentLocked(name)
		if err != nil {
			return err
		}
		if find(dir.entries, base) == nil { // else another goroutine was first
			dir.change(dirOp{set: base, ino: f.makeLocked(true)})
		}
		return nil
	})
}

// unlinkLocked frees the space of a file that has no name and no handle left.
func (f *FS) unlinkLocked(ino *inode) {
	ino.links--
	f.releaseLocked(ino)
}

func (f *FS) releaseLocked(ino *inode) {
	if ino.links <= 0 && ino.opens == 0 {
		f.used -= ino.size.now
	}
}

func (f *FS) findLocked(name string) (*inode, error) {
	name = path.Clean(name)
	if !fs.ValidPath(name) {
		return nil, fs.ErrInvalid
	}
	at := f.root
	for name != "." && name != "" {
		var base string
		base, name, _ = strings.Cut(name, "/")
		if !at.isDir {
			return nil, syscall.ENOTDIR
		}
		if at = find(at.entries, base); at == nil {
			return nil, fs.ErrNotExist
		}
	}
	return at, nil
}

func (f *FS) parentLocked(name string) (dir *inode, base string, err error) {
	name = path.Clean(name)
	if !fs.ValidPath(name) || name == "." {
		return nil, "", fs.ErrInvalid
	}
	dir, err = f.dirLocked(path.Dir(name))
	return dir, path.Base(name), err
}

func (f *FS) dirLocked(name string) (*inode, error) {
	ino, err := f.findLocked(name)
	if err == nil && !ino.isDir {
		return nil, syscall.ENOTDIR
	}
	return ino, err
}

func (f *FS) fileLocked(name string) (*inode, error) {
	ino, err := f.findLocked(name)
	if err == nil && ino.isDir {
		return nil, syscall.EISDIR
	}
	return ino, err
}

type fileInfo struct {
	name      string
	sizeBytes int64
	isDir     bool
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.sizeBytes }
func (i fileInfo) IsDir() bool        { return i.isDir }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	if i.isDir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
