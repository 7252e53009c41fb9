package wire

import "unsafe"

// keepBytes is how much room one slice of a reused request or response keeps.
// More is given back, so that one huge request does not pin its memory for good.
const keepBytes = 256 << 10

func tooRoomy[T any](s []T) bool { return cap(s)*int(unsafe.Sizeof(*new(T))) > keepBytes }

// resized is s with length n, for a caller that sets every field of every
// element. It allocates only when the room is too small, and then exactly.
func resized[T any](s []T, n int) []T {
	if cap(s) < n || tooRoomy(s) && n < cap(s)/4 {
		return make([]T, n)
	}
	return s[:n]
}

// emptied is s with length 0, to be appended to.
func emptied[T any](s []T) []T {
	if tooRoomy(s) && len(s) < cap(s)/4 {
		return nil
	}
	return s[:0]
}
