package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestWriteAllFinishesPartialWrites: however few bytes a call takes, each byte is
// written once, in its place, and no call gets more buffers than the kernel takes.
func TestWriteAllFinishesPartialWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bufs := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 5), 0, 40).Draw(t, "bufs")
		if rapid.Bool().Draw(t, "many") {
			bufs = slices.Repeat(bufs, 40)
		}
		const base = 100
		var got []byte
		n, err := writeAll(bufs, base, func(call [][]byte, off int64) (int, error) {
			all := slices.Concat(call...)
			if off != int64(base+len(got)) || len(call) > maxIovecs || len(all) == 0 {
				t.Fatalf("call at %d with %d buffers, %d bytes; %d written", off, len(call), len(all), len(got))
			}
			m := rapid.IntRange(1, len(all)).Draw(t, "written")
			got = append(got, all[:m]...)
			return m, nil
		})
		if want := slices.Concat(bufs...); !bytes.Equal(got, want) || n != int64(len(want)) || err != nil {
			t.Fatalf("wrote %d, %v: %x, want %x", n, err, got, want)
		}
	})
}

func TestWriteAllSaysHowMuchWasWritten(t *testing.T) {
	calls := 0
	n, err := writeAll([][]byte{make([]byte, 10), make([]byte, 10)}, 0, func([][]byte, int64) (int, error) {
		if calls++; calls == 2 {
			return 0, unix.ENOSPC
		}
		return 13, nil
	})
	if n != 13 || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("writeAll = %d, %v; want 13, ENOSPC", n, err)
	}
}

func TestKernelAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"5.8.0": true, "5.7.19-generic": false, "6.1.0-13-amd64": true, "4.19": false, "5.10": true, "strange": false, "": false,
	} {
		if got := kernelAtLeast(release, 5, 8); got != want {
			t.Errorf("kernelAtLeast(%q, 5, 8) = %v", release, got)
		}
	}
}

// TestUnwritableDirectory drops the rights of this thread for file access, so
// that it also works when the tests run as root.
func TestUnwritableDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.Mkdir(dir, 0o755))
	for at := dir; at != "/"; at = filepath.Dir(at) {
		must(t, unix.Access(at, unix.X_OK))
	}
	must(t, os.Chmod(dir, 0o555))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o755))
	o := open(t, dir, true)

	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Getuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		_, err := o.Lock("lock")
		done <- err
	}()
	err := <-done
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir+" is not writable") {
		t.Errorf("Lock: %v, want that %s is not writable", err, dir)
	}
}
