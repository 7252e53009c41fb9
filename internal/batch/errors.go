package batch

import "errors"

var (
	// ErrTorn means that the bytes end before the batch does. A reader of a
	// cut answer drops them; on disk it is the mark of a torn write.
	ErrTorn = errors.New("batch: bytes end inside a record batch")

	// ErrMagic means that the bytes are of another message format than v2.
	ErrMagic = errors.New("batch: unsupported message format")

	// ErrCorrupt means that the bytes are not those that somebody wrote: a wrong
	// checksum or an impossible size. Sending them again may help.
	ErrCorrupt = errors.New("batch: corrupt record batch")

	// ErrInvalid means that the bytes are as they were written, but what was
	// written breaks the format. Sending them again cannot help.
	ErrInvalid = errors.New("batch: invalid record batch")

	// ErrCodec means that the attributes name a compression codec that Kafka
	// does not have.
	ErrCodec = errors.New("batch: unknown compression codec")

	// ErrTooLarge means that records decompress to more than a [Decoder] allows.
	ErrTooLarge = errors.New("batch: decompressed records exceed the limit")
)
