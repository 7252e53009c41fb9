package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// everyWay runs the test with and without the system call for the whole file system.
func everyWay(t *testing.T, test func(t *testing.T, o *OS)) {
	for name, wholeSync := range map[string]bool{"whole": wholeSyncReportsErrors(), "one by one": false} {
		t.Run(name, func(t *testing.T) { test(t, open(t, t.TempDir(), wholeSync)) })
	}
}

func open(t *testing.T, dir string, wholeSync bool) *OS {
	t.Helper()
	o, err := openOS(dir, wholeSync)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, o.Close()) })
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileLivesThroughItsOperations(t *testing.T) {
	everyWay(t, func(t *testing.T, o *OS) {
		must(t, o.MkdirAll("a/b"))
		f, err := o.Create("a/b/f")
		must(t, err)
		n, err := f.Writev([][]byte{[]byte("hello "), nil, []byte("world")}, 3)
		if n != 11 || err != nil {
			t.Fatalf("Writev = %d, %v; want 11 bytes", n, err)
		}
		must(t, f.SyncData())
		must(t, f.Truncate(8))
		if size, err := f.Size(); size != 8 || err != nil {
			t.Errorf("Size = %d, %v; want 8", size, err)
		}
		must(t, o.SyncAll())
		must(t, f.Close())
		must(t, o.Rename("a/b/f", "a/g"))
		must(t, o.SyncDir("a"))
		must(t, o.SyncDir("a/b"))

		got, err := o.ReadFile("a/g")
		if string(got) != "\x00\x00\x00hello" || err != nil {
			t.Errorf("ReadFile = %q, %v", got, err)
		}
		f, err = o.Open("a/g")
		must(t, err)
		b := make([]byte, 9)
		if n, err := f.ReadAt(b, 3); n != 5 || err != io.EOF {
			t.Errorf("ReadAt behind the end = %d, %v; want 5, EOF", n, err)
		}
		must(t, f.Close())
		if names, err := o.List("a"); !slices.Equal(names, []string{"b", "g"}) || err != nil {
			t.Errorf("List = %q, %v", names, err)
		}
		must(t, o.Remove("a/g"))
		must(t, o.RemoveAll("a"))
		must(t, o.RemoveAll("a"))
		must(t, o.SyncAll())
		if names, _ := o.List("."); len(names) != 0 {
			t.Errorf("left over: %q", names)
		}
	})
}

func TestMissingNameIsNotExist(t *testing.T) {
	o := open(t, t.TempDir(), true)
	_, openErr := o.Open("no/file")
	_, readErr := o.ReadFile("no")
	_, listErr := o.List("no")
	_, statErr := o.Stat("no")
	for what, err := range map[string]error{
		"Open": openErr, "ReadFile": readErr, "List": listErr, "Stat": statErr,
		"Remove": o.Remove("no"), "Rename": o.Rename("no", "yes"), "SyncDir": o.SyncDir("no"),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", what, err)
		}
		if err != nil && !strings.Contains(err.Error(), o.Root()) {
			t.Errorf("%s: %q does not say where", what, err)
		}
	}
}

func TestNamesCannotLeaveTheDirectory(t *testing.T) {
	outer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outer, "secret"), []byte("x"), 0o600))
	o := open(t, filepath.Join(outer, "data"), true)
	must(t, os.Symlink(outer, filepath.Join(o.Root(), "way-out")))
	for _, name := range []string{"../secret", "a/../../secret", "way-out/secret"} {
		if b, err := o.ReadFile(name); err == nil {
			t.Errorf("ReadFile(%q) = %q, want an error", name, b)
		}
		if _, err := o.Create(name); err == nil {
			t.Errorf("Create(%q) succeeded", name)
		}
	}
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "new", "data"), true)
	must(t, o.MkdirAll("d/e"))
	f, err := o.Create("d/f")
	must(t, err)
	must(t, f.Close())
	for name, want := range map[string]fs.FileMode{".": 0o700, "d": 0o700, "d/e": 0o700, "d/f": 0o600} {
		info, err := o.Stat(name)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
}

func TestWritevWritesEveryBuffer(t *testing.T) {
	everyWay(t, func(t *testing.T, o *OS) {
		var bufs [][]byte
		for i := range 2500 {
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, i%7))
		}
		f, err := o.Create("f")
		must(t, err)
		defer f.Close()
		want := slices.Concat(bufs...)
		if n, err := f.Writev(bufs, 5); n != int64(len(want)) || err != nil {
			t.Fatalf("Writev = %d, %v; want %d", n, err, len(want))
		}
		got, err := o.ReadFile("f")
		must(t, err)
		if !bytes.Equal(got[5:], want) {
			t.Error("the file does not hold what was written")
		}
	})
}

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	first, second := open(t, dir, true), open(t, dir, true)
	held, err := first.Lock("lock")
	must(t, err)
	_, err = second.Lock("lock")
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || !errors.Is(err, ErrLocked) || locked.PID != os.Getpid() {
		t.Fatalf("second Lock: %v, want a LockedError of this process", err)
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not say where", err)
	}
	must(t, held.Close())
	again, err := second.Lock("lock")
	must(t, err)
	must(t, again.Close())
}

func TestFileInPlaceOfTheDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "data")} {
		_, err := OpenOS(dir)
		if err == nil || !strings.Contains(err.Error(), "a file is in its place") {
			t.Errorf("OpenOS(%s): %v, want what is wrong", dir, err)
		}
	}
}

func TestFreeBytes(t *testing.T) {
	o := open(t, t.TempDir(), true)
	if n, err := o.FreeBytes(); n <= 0 || err != nil {
		t.Errorf("FreeBytes = %d, %v", n, err)
	}
}

func TestUnsyncedSetForgetsWhatIsSynced(t *testing.T) {
	o := open(t, t.TempDir(), false)
	must(t, o.MkdirAll("d"))
	f, err := o.Create("d/f")
	must(t, err)
	_, err = f.Writev([][]byte{{1}}, 0)
	must(t, err)
	expect := func(when string, files, dirs int) {
		t.Helper()
		if len(o.unsynced.files) != files || len(o.unsynced.dirs) != dirs {
			t.Errorf("%s: %d files and directories %v unsynced, want %d and %d",
				when, len(o.unsynced.files), o.unsynced.dirs, files, dirs)
		}
	}
	expect("written", 1, 2)
	must(t, f.SyncData())
	expect("data synced", 0, 2)
	must(t, o.SyncDir("./d"))
	expect("directory synced", 0, 1)
	must(t, f.Truncate(0))
	must(t, f.Close())
	expect("closed", 0, 1)
	must(t, o.SyncAll())
	expect("all synced", 0, 0)
	must(t, o.RemoveAll("d"))
	must(t, o.SyncAll())
	expect("removed", 0, 0)
}

func TestSyncAllFailsOnceForAFileThatCannotBeSynced(t *testing.T) {
	o := open(t, t.TempDir(), false)
	f, err := o.Create("f")
	must(t, err)
	must(t, f.(*osFile).File.Close()) // behind the back of the set
	if err := o.SyncAll(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("SyncAll: %v, want fs.ErrClosed", err)
	}
	must(t, o.SyncAll())
}
