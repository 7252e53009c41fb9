// Package examples holds the program that `millrace init` writes: the example
// itself, which is built and tested here like everything else.
package examples

import "embed"

// ClickCount is the directory clickcount.
//
//go:embed clickcount
var ClickCount embed.FS
