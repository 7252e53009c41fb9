package codec_test

import (
	"fmt"

	"millrace/codec"
)

// Decoding ends at the first value that cannot be read, and says how many could.
func ExampleDecodeAll() {
	values := make([]int64, 3)
	n, err := codec.DecodeAll(codec.Int64, [][]byte{{0, 0, 0, 0, 0, 0, 0, 7}, {1}, nil}, values)
	fmt.Println(n, values[0], err != nil)
	// Output: 1 7 true
}
