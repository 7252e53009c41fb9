//go:build !unix

package log

// openFilesLimit is what every supported system allows a process to open.
func openFilesLimit() int { return 4096 }
