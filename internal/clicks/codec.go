package clicks

// Codec is the codec of click events, see [Decoder].
type Codec struct{}

// Name implements codec.Codec.
func (Codec) Name() string { return "click" }

// Append implements codec.Codec.
func (Codec) Append(dst []byte, c Click) ([]byte, error) {
	return append(dst, Event(c.User, c.Page, c.When(), c.Demo)...), nil
}

// Decode implements codec.Codec. The error is a *MalformedError.
func (Codec) Decode(value []byte) (Click, error) {
	if click, ok := scan(value); ok {
		return click, nil
	}
	return new(Decoder).decode(value)
}

// DecodeAll implements codec.Batch.
func (c Codec) DecodeAll(values [][]byte, clicks []Click) (int, error) {
	for i, value := range values {
		var err error
		if clicks[i], err = c.Decode(value); err != nil {
			return i, err
		}
	}
	return len(values), nil
}
