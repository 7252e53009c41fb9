// Package frames sends a live broker millions of damaged Kafka requests from a
// seed, and watches that the broker stays alive, small, and quick for others.
// The two things most callers need are Attack and Options.
package frames

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/compat/probe"
)

// allKeys is one past the highest API key of which requests are made: served
// ones and others alike.
const allKeys = 93

// seed is a well-formed request as it crosses the wire, without its length.
type seed struct {
	key, version int16
	frame        []byte
}

// seeds makes a request of every key and version that kmsg knows, filled with
// small random values. Damage to something nearly right reaches deeper than
// noise does.
func seeds(r *rand.Rand) []seed {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("frames"))
	var all []seed
	for key := range int16(allKeys) {
		request := kmsg.RequestForKey(key)
		if request == nil {
			continue
		}
		for version := range request.MaxVersion() + 1 {
			request := kmsg.RequestForKey(key)
			fillValue(r, reflect.ValueOf(request).Elem(), "")
			request.SetVersion(version)
			harmless(request)
			all = append(all, seed{key, version, format.AppendRequest(nil, request, r.Int32())[4:]})
		}
	}
	return all
}

// deep splits seeds into those that the broker serves, which reach its decoders
// and handlers, and the others, which its front door must turn away.
func deep(all []seed, served map[int16]probe.Versions) (inside, outside []seed) {
	for _, s := range all {
		v, known := served[s.key]
		if known && s.version >= v.Min && s.version <= v.Max {
			inside = append(inside, s)
		} else {
			outside = append(outside, s)
		}
	}
	return inside, outside
}

// harmless keeps well-formed requests from doing what would end or slow the
// attack itself: waiting, and creating topics without end.
func harmless(request kmsg.Request) {
	switch request := request.(type) {
	case *kmsg.FetchRequest:
		request.MaxWaitMillis = 1
	case *kmsg.MetadataRequest:
		request.AllowAutoTopicCreation = false
	case *kmsg.CreateTopicsRequest:
		request.ValidateOnly = true
	case *kmsg.CreatePartitionsRequest:
		request.ValidateOnly = true
	}
}

// names are the strings that requests carry.
var names = []string{"frames-a", "frames-b", "range", "consumer", "", "cleanup.policy", "retention.ms", "60000"}

// fillValue sets every field that a request can carry.
func fillValue(r *rand.Rand, v reflect.Value, field string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "UnknownTags" && f.Name != "Version" {
				fillValue(r, v.Field(i), f.Name)
			}
		}
	case reflect.Slice:
		fillSlice(r, v, field)
	case reflect.Pointer:
		if r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fillValue(r, v.Elem(), field)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillValue(r, v.Index(i), field)
		}
	case reflect.String:
		v.SetString(names[r.IntN(len(names))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.IntN(5)) - 1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(r.IntN(3)))
	case reflect.Float64:
		v.SetFloat(r.Float64())
	}
}

func fillSlice(r *rand.Rand, v reflect.Value, field string) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if field == "Records" {
			v.SetBytes(probe.BuildBatchAt(time.UnixMilli(1_700_000_000_000), []byte("one"), []byte("two")))
		} else {
			v.SetBytes(fmt.Appendf(nil, "bytes-%d", r.IntN(100)))
		}
		return
	}
	n := 1 + r.IntN(2)
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		fillValue(r, v.Index(i), field)
	}
}
