// Package wiretest makes Kafka request frames for tests: valid ones of every
// served kind and version, and seeded mutations of them. Most readers need
// [NewMutator].
package wiretest

import (
	"math/rand/v2"
	"reflect"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Filled is a request of that kind and version with random content: every field
// is set, arrays hold up to three elements, and what may be null sometimes is.
// The same state of rng gives the same request. The key must be one that kmsg
// knows.
//
// Waiting times are at most 20 ms, and texts come from a small vocabulary that
// holds legal and illegal names, so that a live broker which is sent millions
// of such requests neither stops for each nor creates a million topics.
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
		v.SetBytes(someBytes(rng))
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
		if name := v.Type().Field(i).Name; strings.HasSuffix(name, "Millis") {
			v.Field(i).SetInt(rng.Int64N(20))
			continue
		}
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
		tags.Set(beyondKnown+rng.Uint32N(1<<20), someBytes(rng))
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

// vocabulary has names that a broker must take, and some that it must refuse
// where they name a topic. The long one needs a two-byte compact length.
var vocabulary = []string{
	"clicks", "click_events", "payments", "orders-eu", "a.b.c", "range", "consumer", "group-1", "member-7",
	"cleanup.policy", "retention.ms", "delete", "100", "-1", "fuzz",
	"", ".", "..", "a/b", "caf\u00e9", "a b", "\x00", "__consumer_offsets", strings.Repeat("long", 75),
}

func someText(rng *rand.Rand) string { return vocabulary[rng.IntN(len(vocabulary))] }

func someBytes(rng *rand.Rand) []byte {
	b := make([]byte, rng.IntN(100))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
