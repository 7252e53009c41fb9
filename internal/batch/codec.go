package batch

import "strconv"

// Codec is how a batch's records are compressed, by the number that stands in
// the attributes.
type Codec int8

// Kafka's codecs.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2 // raw block, as librdkafka writes it, or xerial frame, as Java does
	LZ4    Codec = 3 // frame format
	Zstd   Codec = 4
)

// String is the codec's name in Kafka's configuration.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return "codec " + strconv.Itoa(int(c))
}
