//go:build race

package wire

// detectorShare is how many times more memory the race detector's build takes:
// it does not build slices in place.
const detectorShare = 3
