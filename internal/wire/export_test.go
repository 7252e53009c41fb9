package wire

// DecodeAny decodes a body with the decoder that the broker uses for it.
func DecodeAny(h Header, body []byte) error {
	switch h.Key {
	case produceKey:
		return new(ProduceRequest).Decode(h, body)
	case fetchKey:
		return new(FetchRequest).Decode(h, body)
	case metadataKey:
		return new(MetadataRequest).Decode(h, body)
	default:
		_, err := Decode(h, body)
		return err
	}
}

// CheckCost decodes body and fails the test when that costs too much.
var CheckCost = checkCost

// Knows reports whether that version of the request kind can be read.
func Knows(key, version int16) bool { return known(key, version) != nil }

// ParseKnownHeader is ParseHeader for all that can be read, served or not.
func ParseKnownHeader(frame []byte) (Header, []byte, error) { return parseHeader(frame, "", known) }
