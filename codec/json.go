package codec

import (
	"encoding/json/v2"
	"fmt"
	"reflect"
)

// JSON stores T as encoding/json/v2 does. Unknown fields are ignored, names are
// case-sensitive, and a name that occurs twice is a fault. Map keys are sorted,
// so that equal values are equal bytes.
func JSON[T any]() Codec[T] {
	return jsonCodec[T]{name: "json:" + reflect.TypeFor[T]().String()}
}

type jsonCodec[T any] struct{ name string }

func (c jsonCodec[T]) Name() string { return c.name }

func (c jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return dst, fmt.Errorf("codec %s: %w", c.name, err)
	}
	return append(dst, b...), nil
}

func (c jsonCodec[T]) Decode(b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("codec %s: %w", c.name, err)
	}
	return v, nil
}
