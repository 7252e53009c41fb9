// Package wiretest makes Kafka request frames for tests: valid ones of every
// served kind and version, and seeded mutations of them. Most readers need
// [NewMutator].
package wiretest

import (
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Filled is a request of that kind and version with random content: every field
// is set, arrays hold up to three elements, and what may be null sometimes is.
// The same state of rng gives the same request. The key must be one that kmsg
// knows.
func Filled(rng *rand.Rand, key, version int16) kmsg.Request {
	req := kmsg.RequestForKey(key)
	fill(rng, reflect.ValueOf(req).Elem())
	req.SetVersion(version)
	return req
}

func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(someInt(rng, v.Type().Bits()))
	case reflect.String:
		v.SetString(someText(rng))
	case reflect.Pointer:
		if rng.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		fillSlice(rng, v)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(rng.Uint64() & 0xff)
		}
	case reflect.Struct:
		fillStruct(rng, v)
	}
}

func fillSlice(rng *rand.Rand, v reflect.Value) {
	if rng.IntN(8) == 0 {
		return
	}
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes([]byte(someText(rng)))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
	for i := range v.Len() {
		fill(rng, v.Index(i))
	}
}

func fillStruct(rng *rand.Rand, v reflect.Value) {
	if tags, ok := v.Addr().Interface().(*kmsg.Tags); ok {
		fillTags(rng, tags)
		return
	}
	for i := range v.NumField() {
		fill(rng, v.Field(i))
	}
}

// fillTags sets tags that no Kafka schema knows yet; most sections stay empty.
func fillTags(rng *rand.Rand, tags *kmsg.Tags) {
	if rng.IntN(8) > 0 {
		return
	}
	const beyondKnown = 1000
	for range 1 + rng.IntN(2) {
		tags.Set(beyondKnown+rng.Uint32N(1<<20), []byte(someText(rng)))
	}
}

// someInt prefers the values at which code goes wrong.
func someInt(rng *rand.Rand, bits int) int64 {
	switch rng.IntN(4) {
	case 0:
		return -1
	case 1:
		return rng.Int64N(8)
	default:
		return int64(rng.Uint64()) >> (64 - bits)
	}
}

// someText is short, sometimes empty, and rarely too long for a one-byte
// length.
func someText(rng *rand.Rand) string {
	size := rng.IntN(24)
	if rng.IntN(16) == 0 {
		size += 200
	}
	text := make([]byte, size)
	for i := range text {
		text[i] = 'a' + byte(rng.IntN(26))
	}
	return string(text)
}
