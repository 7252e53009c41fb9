package wire

import "testing"

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
