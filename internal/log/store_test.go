package log

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

func TestACopiedDirectoryIsNoticed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := openDir(t, dir, Options{})
	id := s.ClusterID()
	fill(t, create(t, s, Config{}), 3, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(filepath.Dir(dir), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, moved, Options{}) // moving is no copy
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(filepath.Dir(dir), "copied")
	if err := os.CopyFS(copied, os.DirFS(moved)); err != nil {
		t.Fatal(err)
	}
	if err := tryOpen(t, copied); !errors.Is(err, ErrCopied) {
		t.Fatalf("the copy opened with %v", err)
	}
	if err := os.Remove(filepath.Join(copied, identityFile)); err != nil { // as the message says
		t.Fatal(err)
	}
	s = openDir(t, copied, Options{})
	if s.ClusterID() != id || readAll(t, theLog(t, s), 0) != 3 {
		t.Errorf("the adopted copy has cluster id %s, was %s", s.ClusterID(), id)
	}
}

func TestASecondStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	if err := tryOpen(t, dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if err := tryOpen(t, dir); err != nil {
		t.Error(err)
	}
}

func TestClusterIDsAreKafkas(t *testing.T) {
	for range 1000 {
		if id := newID(); len(id) != 22 || strings.HasPrefix(id, "-") || strings.ContainsAny(id, "+/=") {
			t.Fatalf("cluster id %q", id)
		}
	}
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	id := s.ClusterID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if again := openFS(t, disk, Options{}).ClusterID(); again != id {
		t.Errorf("cluster id %s became %s", id, again)
	}
	kafkas, err := decodeMeta([]byte("#\n#Mon Nov 23\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nversion=1\nnode.id=1\n"))
	if err != nil || kafkas.clusterID != "MkU3OEVBNTcwNTJENDM2Qg" {
		t.Errorf("%+v, %v", kafkas, err)
	}
}

// A failed Open leaves nothing behind: the next one works.
func TestAFailedOpenReleasesTheDirectory(t *testing.T) {
	disk := crashfs.New()
	registry := prometheus.NewRegistry()
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.SyncDir}, Name: ".", Err: syscall.EIO})
	if _, err := Open(disk, Options{Registerer: registry}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	s := openFS(t, disk, Options{Registerer: registry})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openFS(t, disk, Options{Registerer: registry})
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := create(t, openFS(t, crashfs.New(), Options{Registerer: registry}), Config{})
	fill(t, l, 3, 1)
	want := "# HELP millrace_log_size_bytes Bytes of batches on disk.\n# TYPE millrace_log_size_bytes gauge\n" +
		"millrace_log_size_bytes{partition=\"0\",topic=\"clicks\"} 225\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "millrace_log_size_bytes"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "millrace_broker_fsync_duration_seconds"); n != 1 || err != nil {
		t.Errorf("%d histograms of syncs, %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(registry); len(problems) > 0 || err != nil {
		t.Errorf("%v, %v", problems, err)
	}
}

// A partition is deleted while its snapshot is synced: the two must not wait for
// each other.
func TestDeletionBesideACheckpoint(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{CheckpointInterval: time.Hour})
	l := create(t, s, Config{})
	appendSync(t, l, makeBatch(producerSpec{id: 1}, time.Now().UnixMilli(), "value-0"))
	deleted := make(chan error, 1)
	disk.OnOp(func(op crashfs.Op) {
		if op.Kind != crashfs.SyncData || !strings.HasSuffix(op.Name, string(snapshotFile)) {
			return
		}
		go func() { deleted <- s.Delete([]record.TopicPartition{tp0}) }()
		for l.appender.TryLock() { // until Delete has it
			l.appender.Unlock()
			runtime.Gosched()
		}
	}, nil)
	if err := s.checkpointer.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	if again := openFS(t, disk.Clone(), Options{}); len(again.Logs()) > 0 {
		t.Error("it is back")
	}
}

func TestADeletionThatFailsCanBeRepeated(t *testing.T) {
	disk := crashfs.New()
	s := openFS(t, disk, Options{})
	l := create(t, s, Config{})
	fill(t, l, 3, 1)
	disk.Inject(crashfs.Fault{Kinds: []crashfs.Kind{crashfs.Rename}, Err: syscall.EIO})
	if err := s.Delete([]record.TopicPartition{tp0}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("got %v", err)
	}
	if _, err := l.Read(0, 100, nil); !errors.Is(err, ErrDeleted) {
		t.Errorf("read: %v", err)
	}
	if got := readAll(t, theLog(t, openFS(t, disk.Clone(), Options{})), 0); got != 3 {
		t.Errorf("a restart finds %d records", got)
	}
	if err := s.Delete([]record.TopicPartition{tp0}); err != nil {
		t.Fatal(err)
	}
	if again := openFS(t, disk.Clone(), Options{}); len(again.Logs()) > 0 {
		t.Error("it is back")
	}
}
