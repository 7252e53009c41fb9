//go:build unix

package log

import (
	"io/fs"
	"syscall"
)

// inodeOf tells files of one file system apart; 0 when that is unknown.
func inodeOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino)
	}
	return 0
}
