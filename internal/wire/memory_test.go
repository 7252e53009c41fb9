package wire

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A class holds its frame, wastes at most a quarter, and no two sizes share one
// unless the larger one fits.
func TestSizeClasses(t *testing.T) {
	sizes := map[int]int{}
	check := func(n int) {
		class, size := sizeClass(n)
		if size < n {
			t.Fatalf("%d bytes got a buffer of %d", n, size)
		}
		if n > 512 && (size-n)*4 >= size {
			t.Fatalf("%d bytes got a buffer of %d: more than a quarter is unused", n, size)
		}
		if class < 0 {
			return
		}
		if known, seen := sizes[class]; seen && known != size {
			t.Fatalf("class %d has buffers of %d and of %d bytes", class, known, size)
		}
		sizes[class] = size
	}
	for n := range 1 << 16 {
		check(n)
	}
	for n := 1 << 16; n <= 1<<28; n += n / 16 {
		for _, near := range []int{n - 1, n, n + 1} {
			check(near)
		}
	}
	if len(sizes) != poolClasses {
		t.Errorf("%d classes are in use, the pool has %d", len(sizes), poolClasses)
	}
}

// Append makes slices that fill their size class, so their capacity shows it.
func TestHeapSizeIsAnUpperBound(t *testing.T) {
	for n := range 100_000 {
		if n > 40_000 && n%97 != 0 {
			continue
		}
		took := cap(append([]byte(nil), make([]byte, n)...))
		if got := heapSize(n); got < took || got > n+n/5+heapPage {
			t.Fatalf("%d bytes take %d on the heap, counted as %d", n, took, got)
		}
	}
}

func TestTagHeapIsAnUpperBound(t *testing.T) {
	for count := 1; count < 30_000; count += 1 + count/10 {
		counted := 0
		for nth := 1; nth <= count; nth++ {
			counted += tagHeap(nth)
		}
		took := allocated(func() {
			var tags kmsg.Tags
			for i := range count {
				tags.Set(uint32(i), nil)
			}
		})
		if uint64(counted) < took {
			t.Errorf("%d tags take %d bytes, counted as %d", count, took, counted)
		}
	}
}

// A waiter that is granted its bytes at the instant when it gives up gives them
// back.
func TestBudgetGrantedWhileGivingUp(t *testing.T) {
	b := NewBudget(100)
	b.TryAcquire(100)
	w := b.acquireOrWait(70)
	b.Release(100)
	select {
	case <-w.granted:
	default:
		t.Fatal("the waiter was not served")
	}
	b.giveUp(w)
	if used := b.UsedBytes(); used != 0 {
		t.Errorf("%d bytes are lost", used)
	}
}
