package wire

import "slices"

// Keys of the request kinds that this package itself tells apart.
const (
	produceKey     = 0
	fetchKey       = 1
	metadataKey    = 3
	apiVersionsKey = 18
)

// API is one request kind and a range of its versions.
type API struct {
	Key  int16
	Min  int16
	Max  int16
	Name string // Kafka's
}

// api is one entry of the table: the versions that can be read and, for each of
// them, the shape of the request body.
type api struct {
	key, min, max int16
	flexible      int16 // first version with compact lengths and tags
	name          string
	served        versions // of them, those that the broker answers
	shapes        []shape  // by version - min
}

func (a *api) shape(version int16) *shape { return &a.shapes[version-a.min] }

func (a *api) flexibleAt(version int16) bool { return version >= a.flexible }

func (a *api) isServed() bool { return a.served.min <= a.served.max }

// readable is the table, ascending by key. It is made of constants and never
// changes.
var readable = compileAll()

func compileAll() []api {
	requests := requests()
	all := make([]api, 0, len(requests))
	for _, r := range requests {
		a := api{key: r.key, min: r.min, max: r.max, flexible: r.flexible, name: r.name, served: servedRange(r.key)}
		for v := r.min; v <= r.max; v++ {
			a.shapes = append(a.shapes, compile(r.fields, v, v >= r.flexible))
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b api) int { return int(a.key) - int(b.key) })
	return all
}

// byKey finds an entry in one step; a key is at most 127 in Kafka.
var byKey = indexReadable()

func indexReadable() (index [128]*api) {
	for i := range readable {
		index[readable[i].key] = &readable[i]
	}
	return index
}

func lookup(key int16) *api {
	if key < 0 || int(key) >= len(byKey) {
		return nil
	}
	return byKey[key]
}
