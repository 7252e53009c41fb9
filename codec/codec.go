// Package codec turns keys and values into bytes and back.
//
// Most readers need [String] and [JSON]. A type with a format of its own takes a
// [Codec] of its own.
package codec

// Codec is how one type is stored in a topic. A codec keeps no state: many
// goroutines use it at once.
type Codec[T any] interface {
	// Name says what the bytes are ("string", "json"). It is part of
	// what a job must not change under its state.
	Name() string

	// Append appends v's bytes to dst. Equal values must give equal bytes where T
	// is a key's type.
	Append(dst []byte, v T) ([]byte, error)

	// Decode reads v from b. It may keep views into b, which is never written to
	// again. b is nil for Kafka's null only if the codec is [Nullable].
	Decode(b []byte) (T, error)
}

// Batch is what a codec may offer beside [Codec] to decode many records in one
// call. DecodeAll decodes src[i] into dst[i], which is as long, up to the first
// fault, and returns how many it decoded. It must not panic.
type Batch[T any] interface {
	DecodeAll(src [][]byte, dst []T) (int, error)
}

// DecodeAll decodes src[i] into dst[i] with c up to the first fault, by c's batch
// form if it has one.
func DecodeAll[T any](c Codec[T], src [][]byte, dst []T) (int, error) {
	if b, ok := c.(Batch[T]); ok {
		return b.DecodeAll(src, dst)
	}
	for i, b := range src {
		v, err := c.Decode(b)
		if err != nil {
			return i, err
		}
		dst[i] = v
	}
	return len(src), nil
}

// Nullable is a codec that decodes Kafka's null, and whose values can be null:
// Append of such a value appends nothing. Only [Bytes] is.
type Nullable[T any] interface {
	IsNull(v T) bool
}
