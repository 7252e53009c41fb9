package target

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is USER_HZ, which is 100 on every Linux that Go runs on.
const ticks = 100

// CPUTime is the user and system time that a process has used.
func CPUTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The command may hold spaces and ends at the last parenthesis; utime and
	// stime are fields 14 and 15, counted from 1.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+2:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, raw)
	}
	return time.Duration(user+system) * time.Second / ticks, nil
}

// Memory is what a process holds in MiB: all resident pages, and those that
// are no file's, which is heap, stacks and runtime.
type Memory struct{ RSS, Anonymous float64 }

// MemoryOf reads a process's memory.
func MemoryOf(pid int) (Memory, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		kB, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			m.RSS = kB / 1024
		case "RssAnon":
			m.Anonymous = kB / 1024
		}
	}
	return m, nil
}
