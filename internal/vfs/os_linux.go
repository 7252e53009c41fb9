package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxIovecs is the kernel's IOV_MAX: more buffers in one call are refused.
const maxIovecs = 1024

func writev(f *osFile, bufs [][]byte, off int64) (int64, error) {
	return writeAll(bufs, off, func(call [][]byte, off int64) (int, error) { return pwritev(f, call, off) })
}

// writeAll calls write, which may write a part only, until all is written.
func writeAll(bufs [][]byte, off int64, write func([][]byte, int64) (int, error)) (n int64, err error) {
	left, skip := advance(bufs, 0)
	for len(left) > 0 {
		m, err := write(next(left, skip), off+n)
		if err != nil {
			return n, err
		}
		n += int64(m)
		left, skip = advance(left, skip+m)
	}
	return n, nil
}

// next is the buffers of one call; only the first one may be half written.
func next(left [][]byte, skip int) [][]byte {
	call := left[:min(len(left), maxIovecs)]
	if skip == 0 {
		return call
	}
	return append([][]byte{call[0][skip:]}, call[1:]...)
}

func advance(left [][]byte, written int) (rest [][]byte, skip int) {
	for len(left) > 0 && written >= len(left[0]) {
		written -= len(left[0])
		left = left[1:]
	}
	return left, written
}

func pwritev(f *osFile, bufs [][]byte, off int64) (n int, err error) {
	err = control(f, func(fd int) (err error) {
		n, err = unix.Pwritev(fd, bufs, off)
		return err
	})
	if err == nil && n == 0 {
		return 0, io.ErrShortWrite
	}
	return n, err
}

// syncData is fdatasync: it writes the file's size too when that has changed.
func syncData(f *osFile) error { return control(f, unix.Fdatasync) }

// control runs a system call that a signal may interrupt, on a descriptor that
// a Close meanwhile cannot give to another file.
func control(f *osFile, call func(fd int) error) (err error) {
	closed := f.raw.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); err != unix.EINTR {
				return
			}
		}
	})
	if closed != nil {
		return fs.ErrClosed
	}
	return err
}

func syncWhole(self *os.File) error {
	for {
		if err := unix.Syncfs(int(self.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// wholeSyncReportsErrors is true from Linux 5.8 on. Before it, syncfs returned
// success also when pages could not be written (syncfs(2), VERSIONS).
func wholeSyncReportsErrors() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	return kernelAtLeast(unix.ByteSliceToString(name.Release[:]), 5, 8)
}

// kernelAtLeast compares a kernel release such as "6.1.0-13-amd64". What it
// cannot read counts as too old.
func kernelAtLeast(release string, major, minor int) bool {
	var haveMajor, haveMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &haveMajor, &haveMinor); err != nil {
		return false
	}
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}
