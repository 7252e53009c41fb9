package crashfs_test

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io/fs"
	"strings"
	"testing"

	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, disk vfs.FS, name string, content []byte) vfs.File {
	t.Helper()
	f, err := disk.Create(name)
	must(t, err)
	write(t, f, content, 0)
	return f
}

func write(t *testing.T, f vfs.File, b []byte, off int64) {
	t.Helper()
	_, err := f.Writev([][]byte{b}, off)
	must(t, err)
}

// durable makes a file whose content and name survive.
func durable(t *testing.T, disk vfs.FS, name string, content []byte) vfs.File {
	t.Helper()
	f := create(t, disk, name, content)
	must(t, f.SyncData())
	must(t, disk.SyncDir("."))
	return f
}

// lies counts how often each of the outcomes shows up over many power cuts. The
// test fails when one of them never does, or another one does.
func lies(t *testing.T, disk *crashfs.FS, policy crashfs.Policy, outcome func(image *crashfs.FS) string, want ...string) {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(200) {
		seen[outcome(disk.Crash(policy, seed))]++
	}
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%v: %q never happened: %v", policy, w, seen)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("%v: these must not happen: %v", policy, seen)
	}
}

func content(name string) func(*crashfs.FS) string {
	return func(image *crashfs.FS) string {
		b, err := image.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return "gone"
		}
		return string(bytes.ReplaceAll(b, []byte{0}, []byte{'.'}))
	}
}

func names(image *crashfs.FS) string {
	all, _ := image.List(".")
	return strings.Join(all, " ")
}

var (
	none = crashfs.Policy{}
	some = crashfs.Policy{Blocks: crashfs.KeepSome, Sizes: crashfs.KeepSome, Names: crashfs.KeepSome}
	torn = crashfs.Policy{Blocks: crashfs.KeepSome, Torn: true, Sizes: crashfs.KeepSome, Names: crashfs.KeepSome}
	all  = crashfs.Policy{Blocks: crashfs.KeepAll, Sizes: crashfs.KeepAll, Names: crashfs.KeepAll}
)

func TestUnsyncedBytesAreLost(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("old"))
	write(t, f, []byte("new"), 0)
	lies(t, disk, none, content("f"), "old")
	lies(t, disk, some, content("f"), "old", "new")
	lies(t, disk, all, content("f"), "new")
	must(t, f.SyncData())
	for _, policy := range crashfs.Policies() {
		lies(t, disk, policy, content("f"), "new")
	}
}

// The kernel may have written any state of the block since the last sync.
func TestABlockMayHoldAnyUnsyncedVersion(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("a"))
	write(t, f, []byte("b"), 0)
	write(t, f, []byte("c"), 0)
	lies(t, disk, some, content("f"), "a", "b", "c")
}

// However often a block was written, the synced version is not forgotten.
func TestManyVersionsKeepTheSyncedOne(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("a"))
	for i := range 25 {
		write(t, f, []byte{byte('b' + i)}, 0)
	}
	lies(t, disk, none, content("f"), "a")
	lies(t, disk, all, content("f"), "z")
}

func TestUnsyncedNameIsLostWithItsSyncedBytes(t *testing.T) {
	disk := crashfs.New()
	f := create(t, disk, "f", []byte("x"))
	must(t, f.SyncData())
	lies(t, disk, none, content("f"), "gone")
	lies(t, disk, some, content("f"), "gone", "x")
	must(t, disk.SyncDir("."))
	lies(t, disk, some, content("f"), "x")
}

func TestSyncedNameDoesNotBringItsBytes(t *testing.T) {
	disk := crashfs.New()
	create(t, disk, "f", []byte("x"))
	must(t, disk.SyncDir("."))
	lies(t, disk, none, content("f"), "")
	lies(t, disk, some, content("f"), "", ".", "x")
}

func TestNameInALostDirectoryIsLost(t *testing.T) {
	disk := crashfs.New()
	must(t, disk.MkdirAll("d"))
	must(t, create(t, disk, "d/f", []byte("x")).SyncData())
	must(t, disk.SyncDir("d"))
	lies(t, disk, none, content("d/f"), "gone")
	must(t, disk.SyncDir("."))
	lies(t, disk, none, content("d/f"), "x")
}

func TestRenameRevertsWithoutDirSync(t *testing.T) {
	disk := crashfs.New()
	durable(t, disk, "target", []byte("old"))
	must(t, create(t, disk, "tmp", []byte("new")).SyncData())
	must(t, disk.Rename("tmp", "target"))
	lies(t, disk, none, content("target"), "old")
	lies(t, disk, some, content("target"), "old", "new")
	must(t, disk.SyncDir("."))
	lies(t, disk, some, content("target"), "new")
	lies(t, disk, some, names, "target")
}

func TestRenameInOneDirectoryIsAtomic(t *testing.T) {
	disk := crashfs.New()
	durable(t, disk, "a", []byte("x"))
	must(t, disk.Rename("a", "b"))
	lies(t, disk, some, names, "a", "b")
}

// A rename before the sync of the file can replace good bytes by nothing.
func TestRenameOfUnsyncedFileLosesBoth(t *testing.T) {
	disk := crashfs.New()
	durable(t, disk, "target", []byte("old"))
	create(t, disk, "tmp", []byte("new"))
	must(t, disk.Rename("tmp", "target"))
	lies(t, disk, some, content("target"), "old", "new", "...", "")
}

func TestRenameBetweenDirectoriesIsNotAtomic(t *testing.T) {
	disk := crashfs.New()
	must(t, disk.MkdirAll("d"))
	must(t, create(t, disk, "d/f", []byte("x")).SyncData())
	must(t, disk.SyncAll())
	must(t, disk.Rename("d/f", "f"))
	both := func(image *crashfs.FS) string { return content("d/f")(image) + " " + content("f")(image) }
	lies(t, disk, some, both, "x gone", "gone x", "x x", "gone gone")
	must(t, disk.SyncDir("."))
	must(t, disk.SyncDir("d"))
	lies(t, disk, some, both, "gone x")
}

func TestRemovedNameComesBackWithoutDirSync(t *testing.T) {
	disk := crashfs.New()
	durable(t, disk, "f", []byte("x"))
	must(t, disk.Remove("f"))
	lies(t, disk, some, content("f"), "x", "gone")
	must(t, disk.SyncDir("."))
	lies(t, disk, some, content("f"), "gone")
}

func TestTornSector(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", bytes.Repeat([]byte("a"), 1024))
	write(t, f, bytes.Repeat([]byte("b"), 1024), 0)
	ends := func(image *crashfs.FS) string {
		b, err := image.ReadFile("f")
		must(t, err)
		for i := range 512 {
			if b[i] != b[0] || b[512+i] != b[512] {
				return "torn within a sector"
			}
		}
		return string(b[0]) + string(b[512])
	}
	lies(t, disk, torn, ends, "aa", "ab", "ba", "bb")
	lies(t, disk, some, ends, "aa", "bb")
}

func TestSizeWithoutBlocksAndBlocksWithoutSize(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("ab"))
	write(t, f, []byte("XYZ"), 1)
	lies(t, disk, crashfs.Policy{Blocks: crashfs.KeepNone, Sizes: crashfs.KeepAll}, content("f"), "ab..")
	lies(t, disk, crashfs.Policy{Blocks: crashfs.KeepAll, Sizes: crashfs.KeepNone}, content("f"), "aX")
}

func TestTruncationComesBack(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("abc"))
	must(t, f.Truncate(1))
	lies(t, disk, some, content("f"), "abc", "a..", "a")
	must(t, f.SyncData())
	lies(t, disk, some, content("f"), "a")
}

func TestSyncAllCoversBytesAndNames(t *testing.T) {
	disk := crashfs.New()
	must(t, disk.MkdirAll("d/e"))
	create(t, disk, "d/e/f", []byte("x"))
	create(t, disk, "g", []byte("y"))
	must(t, disk.Rename("g", "d/g"))
	must(t, disk.SyncAll())
	both := func(image *crashfs.FS) string {
		return content("d/e/f")(image) + content("d/g")(image) + " " + names(image)
	}
	for _, policy := range crashfs.Policies() {
		lies(t, disk, policy, both, "xy d")
	}
}

func TestImagesAreRepeatableAndApart(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", bytes.Repeat([]byte("a"), 20000))
	write(t, f, bytes.Repeat([]byte("b"), 20000), 0)
	one, two := disk.Crash(torn, 7), disk.Crash(torn, 7)
	if content("f")(one) != content("f")(two) {
		t.Error("the same seed gave two images")
	}
	g, err := one.Open("f")
	must(t, err)
	before := content("f")(two)
	write(t, g, []byte("changed"), 0)
	must(t, one.Remove("f"))
	if content("f")(two) != before || content("f")(disk)[0] != 'b' {
		t.Error("a change in one image shows in another one")
	}
}

func TestHashTellsDisksApart(t *testing.T) {
	seed := maphash.MakeSeed()
	seen := map[uint64]string{}
	disk := crashfs.New()
	step := func(what string) {
		t.Helper()
		h := disk.Hash(seed)
		if before, ok := seen[h]; ok {
			t.Errorf("%s: the same hash as %s", what, before)
		}
		seen[h] = what
		if disk.Crash(all, 1).Hash(seed) != h || disk.Clone().Hash(seed) != h {
			t.Errorf("%s: a copy of everything has another hash", what)
		}
	}
	step("empty")
	f := create(t, disk, "f", nil)
	step("a file")
	write(t, f, []byte{0, 0}, 0)
	step("zeros")
	write(t, f, []byte{1}, 1)
	step("a one")
	must(t, f.Truncate(1))
	step("cut")
	must(t, disk.Rename("f", "g"))
	step("renamed")
	must(t, disk.MkdirAll("d/g"))
	step("directories")
	must(t, disk.Rename("g", "d/f"))
	step("moved")
}

// A killed process loses no written byte, but what was not synced still is not.
func TestCloneKeepsThePageCacheAndItsDoubts(t *testing.T) {
	disk := crashfs.New()
	f := durable(t, disk, "f", []byte("old"))
	write(t, f, []byte("new"), 0)
	create(t, disk, "g", []byte("x"))
	must(t, disk.Rename("g", "h"))
	held, err := disk.Lock("lock")
	must(t, err)
	defer held.Close()

	twin := disk.Clone()
	if got := content("f")(twin) + content("h")(twin); got != "newx" {
		t.Errorf("the page cache of the clone holds %q", got)
	}
	lies(t, twin, none, content("f"), "old")
	lies(t, twin, none, names, "f")
	again, err := twin.Lock("lock")
	must(t, err)
	must(t, again.Close())
	must(t, twin.SyncAll())
	lies(t, twin, none, content("f"), "new")
	lies(t, disk, none, content("f"), "old")
}
