//go:build unix

package log

import "syscall"

const fallbackOpenFiles = 1024

// openFilesLimit is how many files this process may have open. The Go runtime
// has raised the soft limit to the hard one before main.
func openFilesLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fallbackOpenFiles
	}
	return int(min(uint64(limit.Cur), 1<<17))
}
