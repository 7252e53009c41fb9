package main

import (
	"os"
	"runtime"
)

// spareProcessor raises GOMAXPROCS by one, unless the user set it. A goroutine
// that comes back from fdatasync needs one of Go's processors, and everybody in
// the next sync round waits for it: with as many as there are CPUs, all busy, it
// queues behind them. On 2 cores, 64 producers of single records get a fifth
// more through.
func spareProcessor() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS() // which knows of a container's limit, and makes a second call harmless
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
