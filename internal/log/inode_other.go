//go:build !unix

package log

import "io/fs"

// inodeOf is 0: the number is unknown here.
func inodeOf(fs.FileInfo) uint64 { return 0 }
