package wire

// What Go's allocator takes for one object. The bounds are upper ones: its size
// classes are 8 bytes apart up to 32, 16 bytes apart up to 256, less than a
// fifth apart up to 32 KiB, and whole pages of 8 KiB above.
const (
	tinyObject  = 32
	smallObject = 256
	largeObject = 32 << 10
	heapPage    = 8 << 10
)

func heapSize(size int) int {
	switch {
	case size <= tinyObject:
		return (size + 7) &^ 7
	case size <= smallObject:
		return (size + 15) &^ 15
	case size <= largeObject:
		return size + size/5
	default:
		return (size + heapPage - 1) &^ (heapPage - 1)
	}
}

// tagHeap is what the nth unknown tag of one section costs in kmsg, which keeps
// them in a map: the first one makes it, later ones make it grow by doubling. Up
// to 180 bytes a tag were measured; where the map splits depends on its hash.
func tagHeap(nth int) int {
	if nth == 1 {
		return 384
	}
	return 224
}
