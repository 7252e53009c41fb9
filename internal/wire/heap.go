package wire

// What Go's allocator takes for one object. The bounds are upper ones: Go's
// size classes round up to 16 bytes while small, by less than a quarter up to
// 32 KiB, and to whole pages of 8 KiB above.
const (
	smallObject = 128
	largeObject = 32 << 10
	heapPage    = 8 << 10
)

func heapSize(size int) int {
	switch {
	case size == 0:
		return 0
	case size <= smallObject:
		return (size + 15) &^ 15
	case size <= largeObject:
		return size + size/4
	default:
		return (size + heapPage - 1) &^ (heapPage - 1)
	}
}

// tagHeap is what the nth unknown tag of one section costs in kmsg, which keeps
// them in a map: the first one makes it, later ones make it grow by doubling.
func tagHeap(nth int) int {
	if nth == 1 {
		return 384
	}
	return 176
}
