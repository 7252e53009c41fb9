package main

import "testing"

func TestHeapLimitLeavesRoomForTheBroker(t *testing.T) {
	for memory, want := range map[int64]int64{16 << 20: 144 << 20, 192 << 20: 384 << 20, 256 << 20: 512 << 20} {
		if got := heapLimit(memory); got != want {
			t.Errorf("with a budget of %d MiB the limit is %d MiB, want %d", memory>>20, got>>20, want>>20)
		}
	}
}
