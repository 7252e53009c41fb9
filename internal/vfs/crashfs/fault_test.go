package crashfs_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
)

func TestNthOperationFails(t *testing.T) {
	disk := crashfs.New()
	hits := disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Name: "*.log", Nth: 2, Times: 2, Err: syscall.EIO})
	a, b := create(t, disk, "a.log", []byte("1")), create(t, disk, "b.txt", []byte("1"))
	var got []bool
	for range 4 {
		_, err := a.Writev([][]byte{[]byte("22")}, 0)
		got = append(got, errors.Is(err, syscall.EIO))
		write(t, b, []byte("x"), 0)
	}
	if fmt.Sprint(got) != "[true true false false]" || hits() != 2 {
		t.Errorf("failed: %v, hits %d", got, hits())
	}
}

func TestReadFaultsAndHeal(t *testing.T) {
	disk := crashfs.New()
	f := create(t, disk, "f", []byte("x"))
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Read, crashfs.Open, crashfs.List, crashfs.Stat}, Times: -1, Err: syscall.EIO})
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, fileErr := disk.ReadFile("f")
	_, openErr := disk.Open("f")
	_, listErr := disk.List(".")
	_, statErr := disk.Stat("f")
	for i, err := range []error{readErr, fileErr, openErr, listErr, statErr} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%d: %v, want EIO", i, err)
		}
	}
	disk.Heal()
	if _, err := disk.ReadFile("f"); err != nil {
		t.Error(err)
	}
}

func TestEveryKindCanFailAndThenChangesNothing(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Create, crashfs.Truncate, crashfs.Rename, crashfs.Remove, crashfs.Mkdir} {
		disk := crashfs.New()
		f := create(t, disk, "f", []byte("x"))
		before := disk.Tree()
		disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{kind}, Err: syscall.ENOSPC})
		err := map[crashfs.Kind]func() error{
			crashfs.Create:   func() error { _, err := disk.Create("g"); return err },
			crashfs.Truncate: func() error { return f.Truncate(0) },
			crashfs.Rename:   func() error { return disk.Rename("f", "g") },
			crashfs.Remove:   func() error { return disk.RemoveAll("f") },
			crashfs.Mkdir:    func() error { return disk.MkdirAll("d") },
		}[kind]()
		if !errors.Is(err, syscall.ENOSPC) || disk.Tree() != before {
			t.Errorf("%v: %v; tree %q, before %q", kind, err, disk.Tree(), before)
		}
	}
}

func TestShortWrite(t *testing.T) {
	disk := crashfs.New()
	f := create(t, disk, "f", []byte("old"))
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Write}, Err: syscall.ENOSPC, Written: 2})
	n, err := f.Writev([][]byte{[]byte("n"), []byte("ew")}, 0)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) || content("f")(disk) != "ned" {
		t.Errorf("Writev = %d, %v; the file holds %q", n, err, content("f")(disk))
	}
}

// After a failed sync the page cache says "new", the disk "old", and a sync that
// succeeds changes neither; only a new write to the block makes it dirty again.
func TestFailedSyncLies(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.SyncData, crashfs.SyncAll} {
		disk := crashfs.New()
		f := durable(t, disk, "f", []byte("old"))
		write(t, f, []byte("newer"), 0)
		disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{kind}, Err: syscall.EIO})
		sync := map[crashfs.Kind]func() error{crashfs.SyncData: f.SyncData, crashfs.SyncAll: disk.SyncAll}[kind]
		if err := sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%v: %v, want EIO", kind, err)
		}
		must(t, sync())
		if content("f")(disk) != "newer" {
			t.Error("the page cache has lost the write")
		}
		for _, policy := range crashfs.Policies() {
			lies(t, disk, policy, content("f"), "old")
		}
		write(t, f, []byte("N"), 0)
		must(t, f.SyncData())
		lies(t, disk, none, content("f"), "New")
	}
}

func TestFailedDirSyncLies(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.SyncDir, crashfs.SyncAll} {
		disk := crashfs.New()
		must(t, create(t, disk, "f", []byte("x")).SyncData())
		disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{kind}, Err: syscall.EIO})
		sync := func() error {
			if kind == crashfs.SyncAll {
				return disk.SyncAll()
			}
			return disk.SyncDir(".")
		}
		if err := sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%v: %v, want EIO", kind, err)
		}
		must(t, sync())
		lies(t, disk, some, content("f"), "gone")
		lies(t, disk.Clone(), some, content("f"), "gone")
		create(t, disk, "g", nil)
		lies(t, disk, some, content("f"), "gone", "x")
		must(t, disk.SyncAll())
		lies(t, disk, none, content("f"), "x")
	}
}

func TestFullDiskHeals(t *testing.T) {
	disk := crashfs.New()
	disk.SetCapacity(10)
	f := create(t, disk, "f", []byte("123456"))
	g := create(t, disk, "g", []byte("12"))
	n, err := g.Writev([][]byte{[]byte("345"), []byte("678")}, 2)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Writev = %d, %v; want 2, ENOSPC", n, err)
	}
	if free, _ := disk.FreeBytes(); free != 0 || disk.UsedBytes() != 10 {
		t.Errorf("%d bytes free, %d used", free, disk.UsedBytes())
	}
	write(t, f, []byte("654321"), 0) // in place: needs no space
	must(t, disk.Remove("f"))
	if free, _ := disk.FreeBytes(); free != 0 {
		t.Errorf("%d bytes free while the removed file is open", free)
	}
	must(t, f.Close())
	must(t, g.Truncate(3))
	if free, _ := disk.FreeBytes(); free != 7 {
		t.Errorf("%d bytes free, want 7", free)
	}
	write(t, g, []byte("4567890"), 3)
	if image := disk.Crash(all, 0); image.UsedBytes() != 10 {
		t.Errorf("the image uses %d bytes", image.UsedBytes())
	}
}

func TestOnOpSeesEachCrashPointBeforeAndAfter(t *testing.T) {
	disk := crashfs.New()
	var seen []string
	disk.OnOp(
		func(op crashfs.Op) { seen = append(seen, "before "+op.String()+" "+content("f")(disk)) },
		func(op crashfs.Op) { seen = append(seen, "after "+content("f")(disk.Crash(all, 0))) },
	)
	f := create(t, disk, "f", []byte("x"))
	must(t, f.SyncData())
	disk.OnOp(nil, nil)
	must(t, disk.SyncAll())
	want := "before 1 create f gone,after ,before 2 write f [0,1) ,after x,before 3 syncdata f x,after x"
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("saw %s\nwant %s", got, want)
	}
	if disk.Ops() != 4 || !strings.Contains(disk.Trace(), "2 write f [0,1)\n3 syncdata f\n4 syncall .\n") {
		t.Errorf("%d operations: %s", disk.Ops(), disk.Trace())
	}
}

func TestTraceShowsErrorsAndIsBounded(t *testing.T) {
	disk := crashfs.New()
	for range 10000 {
		must(t, disk.SyncDir("."))
	}
	disk.Inject(crashfs.Fault{Err: syscall.EIO})
	if err := disk.SyncDir("."); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	trace := disk.Trace()
	if !strings.HasSuffix(trace, "10001 syncdir .: input/output error\n") || strings.Count(trace, "\n") != 4096 {
		t.Errorf("%d lines, ending %q", strings.Count(trace, "\n"), trace[len(trace)-60:])
	}
}

func TestRot(t *testing.T) {
	disk := crashfs.New()
	must(t, disk.Put("f", []byte{0b0001, 0xff}))
	must(t, disk.FlipBit("f", 1))
	must(t, disk.FlipBit("f", 15))
	if got := content("f")(disk); got != "\x03\x7f" {
		t.Errorf("after two flips: %x", got)
	}
	must(t, disk.Cut("f", 1))
	if got := content("f")(disk.Crash(none, 0)); got != "\x03" {
		t.Errorf("after the cut the disk holds %x", got)
	}
	if err := disk.FlipBit("f", 8); err == nil {
		t.Error("a bit behind the end was flipped")
	}
	if err := disk.Cut("missing", 0); err == nil {
		t.Error("a missing file was cut")
	}
}

func TestLock(t *testing.T) {
	disk := crashfs.New()
	held, err := disk.Lock("lock")
	must(t, err)
	if _, err := disk.Lock("lock"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second lock: %v", err)
	}
	free, err := disk.Crash(all, 0).Lock("lock")
	must(t, err)
	must(t, free.Close())
	must(t, held.Close())
	held, err = disk.Lock("lock")
	must(t, err)
	must(t, held.Close())
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	disk := crashfs.New()
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Read}, Nth: 3, Err: syscall.EIO})
	disk.OnOp(func(crashfs.Op) { disk.Crash(torn, 1) }, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name := fmt.Sprint("f", i)
			for j := range 20 {
				f := create(t, disk, name, make([]byte, 5000))
				write(t, f, []byte("x"), int64(j))
				must(t, f.SyncData())
				disk.ReadFile(name)
				disk.Clone().Tree()
				must(t, f.Close())
				must(t, disk.Rename(name, name+"b"))
			}
		})
	}
	all.Wait()
	if disk.Ops() != 8*20*5 {
		t.Errorf("%d operations", disk.Ops())
	}
}

// BenchmarkCrash is one image of a disk as the log's crash tests have it.
func BenchmarkCrash(b *testing.B) {
	disk := crashfs.New()
	for d := range 4 {
		dir := fmt.Sprint("topic-", d)
		if err := disk.MkdirAll(dir); err != nil {
			b.Fatal(err)
		}
		for i := range 8 {
			f, err := disk.Create(fmt.Sprint(dir, "/", i))
			if err != nil {
				b.Fatal(err)
			}
			f.Writev([][]byte{make([]byte, 3000)}, 0)
			f.SyncData()
			f.Writev([][]byte{make([]byte, 3000)}, 3000)
		}
		disk.SyncDir(dir)
	}
	disk.SyncDir(".")
	for _, policy := range []crashfs.Policy{none, some, torn} {
		b.Run(policy.String(), func(b *testing.B) {
			b.ReportAllocs()
			seed := uint64(0)
			for b.Loop() {
				seed++
				disk.Crash(policy, seed)
			}
		})
	}
}
