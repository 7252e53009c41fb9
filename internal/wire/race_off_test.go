//go:build !race

package wire

const detectorShare = 1
