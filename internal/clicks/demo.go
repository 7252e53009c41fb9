package clicks

import (
	"encoding/json/v2"
	"fmt"
	"math/rand/v2"
	"time"
)

// DemoOptions shape simulated clicks.
type DemoOptions struct {
	Users int     // distinct users; default 1000
	Skew  float64 // above 1: how much the first users click more than the last; default 1.1
	Seed  uint64  // 0 takes a new one each time
}

// Demo makes clicks such as a shop might see: few users and pages get most of
// them, and the order of the users is not that of their numbers. It is for one
// goroutine.
type Demo struct {
	random *rand.Rand
	users  *rand.Zipf
	pages  *rand.Zipf
	places []int // rank to user number
}

// demoPages from the most visited to the least.
var demoPages = []string{
	"/", "/products", "/search", "/cart", "/products/teapot", "/login", "/products/kettle", "/checkout", "/products/mug",
	"/account", "/blog", "/products/strainer", "/help", "/blog/how-to-brew", "/about", "/products/tin", "/jobs", "/imprint",
}

// NewDemo makes a source of simulated clicks.
func NewDemo(o DemoOptions) *Demo {
	if o.Users < 1 {
		o.Users = 1000
	}
	if o.Skew <= 1 {
		o.Skew = 1.1
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(o.Seed, 0))
	return &Demo{
		random: random,
		users:  rand.NewZipf(random, o.Skew, 8, uint64(o.Users-1)),
		pages:  rand.NewZipf(random, 1.3, 2, uint64(len(demoPages)-1)),
		// The same for every seed: after a restart the same users lead.
		places: rand.New(rand.NewPCG(7, 7)).Perm(o.Users),
	}
}

// Next is a click at the given time: its user, for a key, and the event's JSON,
// which says that it is simulated.
func (d *Demo) Next(at time.Time) (user string, event []byte) {
	user = fmt.Sprintf("user_%d", d.places[d.users.Uint64()]+1)
	return user, Event(user, demoPages[d.pages.Uint64()], at, true)
}

// Event is the JSON of one click.
func Event(user, page string, at time.Time, demo bool) []byte {
	event, err := json.Marshal(struct {
		UserID    string `json:"user_id"`
		Timestamp int64  `json:"timestamp"`
		Page      string `json:"page"`
		Demo      bool   `json:"demo,omitzero"`
	}{user, at.UnixMilli(), page, demo})
	if err != nil {
		panic("clicks: an event of valid strings does not encode: " + err.Error())
	}
	return event
}
