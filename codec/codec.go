// Package codec turns keys and values into bytes and back.
//
// Most readers need [String] and [JSON].
package codec

// Codec is how one type is stored in a topic. Codecs are used by many goroutines
// at once and keep no state.
type Codec[T any] interface {
	// Name says what the bytes are ("string", "json:Click"). It is part of what a
	// job must not change under its state.
	Name() string

	// Append appends v's bytes to dst. Equal values must give equal bytes where T
	// is a key's type.
	Append(dst []byte, v T) ([]byte, error)

	// Decode reads v from b. It may keep views into b, which is never written to
	// again; a value that outlives its record by far should copy them.
	Decode(b []byte) (T, error)
}
