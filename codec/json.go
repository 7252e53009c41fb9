package codec

import (
	"encoding/json/v2"
	"fmt"
	"reflect"
)

// JSON stores T as encoding/json/v2 does. Unknown fields are ignored, names are
// case-sensitive, and a name that occurs twice is a fault. Map keys are sorted,
// so that equal values are equal bytes.
//
// Its name is "json" for every T: a type may be renamed, and get fields, without
// a change to what is stored.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Name() string { return "json" }

func (jsonCodec[T]) fault(err error) error {
	return fmt.Errorf("codec json of %v: %w", reflect.TypeFor[T](), err)
}

func (c jsonCodec[T]) Append(dst []byte, v T) ([]byte, error) {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return dst, c.fault(err)
	}
	return append(dst, b...), nil
}

func (c jsonCodec[T]) Decode(b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, c.fault(err)
	}
	return v, nil
}
