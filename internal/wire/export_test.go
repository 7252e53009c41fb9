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
