package group

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseSubscription(t *testing.T) {
	good := subscription("clicks", "", "orders")
	topics, err := parseSubscription(good)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(topics)), []string{"", "clicks", "orders"}) {
		t.Errorf("%v, %v", topics, err)
	}
	inTopics := len(good) - 8 // the rest is of later fields, which may be missing
	for cut := range inTopics {
		if topics, err := parseSubscription(good[:cut]); err == nil {
			t.Errorf("cut at %d: %v", cut, topics)
		}
	}
	for name, bad := range map[string]string{
		"negative version": "\xff\xff\x00\x00\x00\x00",
		"negative count":   "\x00\x00\xff\xff\xff\xff",
		"more than fit":    "\x00\x00\x7f\xff\xff\xff\x00\x00",
		"negative length":  "\x00\x00\x00\x00\x00\x01\xff\xff",
	} {
		if topics, err := parseSubscription([]byte(bad)); err == nil {
			t.Errorf("%s: %v", name, topics)
		}
	}
}

// FuzzParseSubscription looks for panics, and for memory beyond the input's size.
func FuzzParseSubscription(f *testing.F) {
	f.Add(subscription("clicks"))
	f.Add([]byte("\x00\x00\x7f\xff\xff\xff\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		topics, err := parseSubscription(b)
		if err != nil {
			return
		}
		size := 0
		for topic := range topics {
			size += len(topic) + 2
		}
		if size > len(b) {
			t.Errorf("%d bytes of topics out of %d", size, len(b))
		}
		if !sameTopics(b, subscription(slices.Collect(maps.Keys(topics))...)) {
			t.Errorf("%q is not the same when written again", b)
		}
	})
}

// A record of a foreign origin may hold anything: it must not break the group.
func TestRestoreTakesWhatMakesSense(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	g := New("g", Config{}.WithDefaults(), now)
	g.Restore(now, Snapshot{
		Generation: 7, ProtocolType: "consumer", Protocol: "range", Leader: "nobody",
		Members: []MemberSnapshot{
			{ID: "a", InstanceID: "x", SessionTimeout: time.Second, RebalanceTimeout: -1, Subscription: []byte("?")},
			{ID: "a", SessionTimeout: time.Second},
			{ID: ""},
			{ID: "b", InstanceID: "x"},
		},
	})
	if g.MemberCount() != 1 || g.leader != "a" || g.State() != Stable || g.rebalanceTimeout() != time.Second {
		t.Errorf("%d members, leader %q, %s", g.MemberCount(), g.leader, g.State())
	}
	if !g.subscribedTo("any") {
		t.Error("a subscription that cannot be read must keep all offsets")
	}
	g.Expire(now.Add(time.Second))
	if g.State() != Empty {
		t.Errorf("the restored member never expires: %s", g.State())
	}
}

func TestOrderOfCallsIsGuarded(t *testing.T) {
	for name, broken := range map[string]func(*Group){
		"Stored without a Store":  func(g *Group) { g.Stored(time.Time{}, nil) },
		"a request before Stored": func(g *Group) { g.whenStored = func(error) {}; g.Expire(time.Time{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r, ok := recover().(string); !ok || !strings.HasPrefix(r, "group: ") {
					t.Errorf("no panic of ours: %v", r)
				}
			}()
			broken(New("g", Config{}.WithDefaults(), time.Time{}))
		})
	}
}
