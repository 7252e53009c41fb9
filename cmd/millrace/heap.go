package main

import "runtime/debug"

// limitHeap makes the garbage collector work harder when the process takes twice
// the job's memory, instead of twice what lives, which is more while a commit is
// under way. It is a soft limit: a broker that has more to hold gets it. GOMEMLIMIT
// in the environment has the last word.
func (a *app) limitHeap(memory int64) {
	if own, set := a.getenv("GOMEMLIMIT"); !set || own == "" {
		debug.SetMemoryLimit(heapLimit(memory))
	}
}

func heapLimit(memory int64) int64 { return max(2*memory, memory+heapOfBroker) }

// heapOfBroker is what a broker under load lives on, garbage included, without
// many partitions. Below it the collector would do little else.
const heapOfBroker = 128 << 20
