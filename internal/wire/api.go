package wire

import "slices"

// Keys of the request kinds that this package itself tells apart.
const (
	produceKey     = 0
	fetchKey       = 1
	metadataKey    = 3
	apiVersionsKey = 18
)

// API is one served request kind and the versions of it that are served.
type API struct {
	Key  int16
	Min  int16
	Max  int16
	Name string // Kafka's
}

// Served lists what the broker answers, ascending by key: what ApiVersions
// advertises, and what its dispatch table must hold.
//
// Topic IDs (Metadata 10, Fetch 13, Produce 13, OffsetCommit and OffsetFetch
// 10) are not served, so all five stop below them together: a client that is
// given some of them only gets confused. OffsetForLeaderEpoch starts at 2,
// because librdkafka stops there.
//
// Produce starts at 0, although records of Kafka's older formats are refused:
// librdkafka releases without the fix of KAFKA-18659 read a higher minimum as
// "cannot compress". [ProduceRequest.Decode] still reads versions 0 to 2, so
// that the broker can answer UNSUPPORTED_VERSION to who really sends them.
func Served() []API {
	all := make([]API, 0, len(served))
	for _, a := range served {
		all = append(all, API{Key: a.key, Min: a.min, Max: a.max, Name: a.name})
	}
	return all
}

// Supports reports whether the key is served at that version.
func Supports(key, version int16) bool {
	a := lookup(key)
	return a != nil && a.min <= version && version <= a.max
}

// api is one entry of the served table: the range and, for each version in it,
// the shape of the request body.
type api struct {
	key, min, max int16
	flexible      int16 // first version with compact lengths and tags
	name          string
	shapes        []shape // by version - min
}

func (a *api) shape(version int16) *shape { return &a.shapes[version-a.min] }

func (a *api) flexibleAt(version int16) bool { return version >= a.flexible }

// served is the table, ascending by key. It is made of constants and never
// changes.
var served = compileAll()

func compileAll() []api {
	requests := requests()
	all := make([]api, 0, len(requests))
	for _, r := range requests {
		a := api{key: r.key, min: r.min, max: r.max, flexible: r.flexible, name: r.name}
		for v := r.min; v <= r.max; v++ {
			a.shapes = append(a.shapes, compile(r.fields, v, v >= r.flexible))
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b api) int { return int(a.key) - int(b.key) })
	return all
}

// byKey finds a served entry in one step; a key is at most 127 in Kafka.
var byKey = indexServed()

func indexServed() (index [128]*api) {
	for i := range served {
		index[served[i].key] = &served[i]
	}
	return index
}

func lookup(key int16) *api {
	if key < 0 || int(key) >= len(byKey) {
		return nil
	}
	return byKey[key]
}
