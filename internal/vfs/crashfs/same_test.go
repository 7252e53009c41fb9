package crashfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
)

// twoDisks does everything on the operating system and in memory, and fails when
// the machine can see a difference.
type twoDisks struct {
	os, mem vfs.FS
	open    []openPair
}

type openPair struct{ os, mem vfs.File }

var somePaths = rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "e", "e/a", "a/a", "../a", "./b"})

func (d *twoDisks) same(t *rapid.T, what string, osErr, memErr error) bool {
	t.Helper()
	sentinel := func(err error) error {
		for _, known := range []error{fs.ErrNotExist, fs.ErrClosed, io.EOF} {
			if errors.Is(err, known) {
				return known
			}
		}
		return nil
	}
	if (osErr == nil) != (memErr == nil) || sentinel(osErr) != sentinel(memErr) {
		t.Fatalf("%s: the operating system says %v, crashfs %v", what, osErr, memErr)
	}
	return osErr == nil
}

func (d *twoDisks) keep(t *rapid.T, what string, open func(vfs.FS) (vfs.File, error)) {
	o, osErr := open(d.os)
	m, memErr := open(d.mem)
	if d.same(t, what, osErr, memErr) {
		d.open = append(d.open, openPair{o, m})
	}
}

func (d *twoDisks) both(t *rapid.T, what string, do func(vfs.FS) error) {
	d.same(t, what, do(d.os), do(d.mem))
}

func (d *twoDisks) pick(t *rapid.T) openPair {
	if len(d.open) == 0 {
		t.Skip("nothing is open")
	}
	return rapid.SampledFrom(d.open).Draw(t, "file")
}

func (d *twoDisks) actions() map[string]func(*rapid.T) {
	name := func(t *rapid.T) string { return somePaths.Draw(t, "name") }
	return map[string]func(*rapid.T){
		"create": func(t *rapid.T) {
			n := name(t)
			d.keep(t, "create "+n, func(f vfs.FS) (vfs.File, error) { return f.Create(n) })
		},
		"open": func(t *rapid.T) {
			n := name(t)
			d.keep(t, "open "+n, func(f vfs.FS) (vfs.File, error) { return f.Open(n) })
		},
		"remove": func(t *rapid.T) {
			n := name(t)
			d.both(t, "remove "+n, func(f vfs.FS) error { return f.Remove(n) })
		},
		"removeAll": func(t *rapid.T) {
			if n := name(t); n != "a/a" && n != "e/a" { // os.RemoveAll differs on a path through a file
				d.both(t, "removeAll "+n, func(f vfs.FS) error { return f.RemoveAll(n) })
			}
		},
		"mkdirAll": func(t *rapid.T) {
			n := name(t)
			d.both(t, "mkdirAll "+n, func(f vfs.FS) error { return f.MkdirAll(n) })
		},
		"rename": func(t *rapid.T) {
			from, to := name(t), name(t)
			d.both(t, "rename "+from+" "+to, func(f vfs.FS) error { return f.Rename(from, to) })
		},
		"syncAll": func(t *rapid.T) { d.both(t, "syncAll", vfs.FS.SyncAll) },
		"write":   d.write, "truncate": d.truncate, "readAt": d.readAt, "syncData": d.syncData, "close": d.close,
		"": func(t *rapid.T) { d.compare(t, ".") },
	}
}

func (d *twoDisks) write(t *rapid.T) {
	f := d.pick(t)
	bufs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 600), 0, 20).Draw(t, "bufs")
	off := rapid.Int64Range(0, 9000).Draw(t, "off")
	bufs = append(bufs, []byte{1}) // the operating system does not look at a write of nothing
	n, osErr := f.os.Writev(bufs, off)
	m, memErr := f.mem.Writev(bufs, off)
	if d.same(t, "write", osErr, memErr); n != m {
		t.Fatalf("write: %d bytes and %d bytes", n, m)
	}
}

func (d *twoDisks) truncate(t *rapid.T) {
	f, size := d.pick(t), rapid.Int64Range(-1, 12000).Draw(t, "size")
	d.same(t, "truncate", f.os.Truncate(size), f.mem.Truncate(size))
}

func (d *twoDisks) readAt(t *rapid.T) {
	f := d.pick(t)
	a, off := make([]byte, rapid.IntRange(1, 5000).Draw(t, "n")), rapid.Int64Range(0, 12000).Draw(t, "off")
	b := bytes.Repeat([]byte{1}, len(a))
	n, osErr := f.os.ReadAt(a, off)
	m, memErr := f.mem.ReadAt(b, off)
	if d.same(t, "readAt", osErr, memErr); n != m || !bytes.Equal(a[:n], b[:m]) {
		t.Fatalf("readAt: %d bytes and %d bytes, or not the same ones", n, m)
	}
	osSize, osErr := f.os.Size()
	memSize, memErr := f.mem.Size()
	if d.same(t, "size", osErr, memErr); osSize != memSize {
		t.Fatalf("size %d and %d", osSize, memSize)
	}
}

func (d *twoDisks) syncData(t *rapid.T) {
	f := d.pick(t)
	d.same(t, "syncData", f.os.SyncData(), f.mem.SyncData())
}

func (d *twoDisks) close(t *rapid.T) {
	f := d.pick(t)
	d.same(t, "close", f.os.Close(), f.mem.Close())
	if rapid.Bool().Draw(t, "forget") {
		d.open = slices.DeleteFunc(d.open, func(p openPair) bool { return p == f })
	}
}

func (d *twoDisks) compare(t *rapid.T, dir string) {
	names, osErr := d.os.List(dir)
	memNames, memErr := d.mem.List(dir)
	if d.same(t, "list", osErr, memErr); !slices.Equal(names, memNames) {
		t.Fatalf("%s holds %q and %q", dir, names, memNames)
	}
	for _, base := range names {
		name := path.Join(dir, base)
		osInfo, osErr := d.os.Stat(name)
		memInfo, memErr := d.mem.Stat(name)
		if d.same(t, "stat "+name, osErr, memErr); osInfo.IsDir() != memInfo.IsDir() {
			t.Fatalf("%s is a directory on one disk only", name)
		}
		if osInfo.IsDir() {
			d.both(t, "syncDir "+name, func(f vfs.FS) error { return f.SyncDir(name) })
			d.compare(t, name)
			continue
		}
		a, osErr := d.os.ReadFile(name)
		b, memErr := d.mem.ReadFile(name)
		if d.same(t, "readFile "+name, osErr, memErr); !bytes.Equal(a, b) || osInfo.Size() != memInfo.Size() {
			t.Fatalf("%s differs: %d bytes and %d bytes", name, len(a), len(b))
		}
	}
}

// TestSameAsTheOperatingSystem: without a crash nobody can tell the two apart.
func TestSameAsTheOperatingSystem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o, err := vfs.OpenOS(t.TempDir())
		if err != nil {
			rt.Fatal(err)
		}
		defer o.Close()
		d := &twoDisks{os: o, mem: crashfs.New()}
		defer func() {
			for _, f := range d.open {
				f.os.Close()
			}
		}()
		rt.Repeat(d.actions())
	})
}
