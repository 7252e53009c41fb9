package client

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"millrace/record"
)

// TestAssignSpreadsEvenlyAndMovesLittle lets members come and go. After the
// moves of each round have been carried out, every unit has exactly one owner,
// loads differ by at most one per group, and no more moved than had to.
func TestAssignSpreadsEvenlyAndMovesLittle(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		partitions := []int32{rng.Int32N(9), rng.Int32N(9) + 1, rng.Int32N(3)}
		var members []candidate
		for round := range 12 {
			members = comeAndGo(rng, members, round)
			before := owners(members)
			plan := assign(members, partitions)
			checkSpread(t, seed, plan, members, partitions)
			checkMoves(t, seed, plan, before, members, partitions)
			members = settle(t, seed, members, partitions)
		}
	}
}

func comeAndGo(rng *rand.Rand, members []candidate, round int) []candidate {
	switch {
	case len(members) < 2 || rng.IntN(2) == 0:
		return append(members, candidate{id: fmt.Sprintf("m%02d", round), generation: -1})
	default:
		i := rng.IntN(len(members))
		return slices.Delete(members, i, i+1)
	}
}

// settle carries a rebalance out: what is given up in one round is taken in the next.
func settle(t *testing.T, seed uint64, members []candidate, partitions []int32) []candidate {
	t.Helper()
	for range 3 {
		plan := assign(members, partitions)
		handOver(plan, members)
		seen := make(map[unit]string)
		for id, units := range plan {
			for _, u := range units {
				if other, twice := seen[u]; twice {
					t.Fatalf("seed %d: %v is with %s and %s", seed, u, other, id)
				}
				seen[u] = id
			}
		}
		for i := range members {
			members[i].owned = plan[members[i].id]
			members[i].generation++
		}
	}
	if plan := assign(members, partitions); !maps.EqualFunc(plan, ownedBy(members), slices.Equal) {
		t.Fatalf("seed %d: the group does not come to rest", seed)
	}
	return members
}

func ownedBy(members []candidate) map[string][]unit {
	all := make(map[string][]unit)
	for _, m := range members {
		if len(m.owned) > 0 {
			all[m.id] = m.owned
		}
	}
	return all
}

func checkSpread(t *testing.T, seed uint64, plan map[string][]unit, members []candidate, partitions []int32) {
	t.Helper()
	for group, n := range partitions {
		total, least, most := 0, int(n), 0
		for _, m := range members {
			held := 0
			for _, u := range plan[m.id] {
				if u.group == group {
					held++
				}
			}
			total, least, most = total+held, min(least, held), max(most, held)
		}
		if total != int(n) || most-least > 1 {
			t.Fatalf("seed %d: group %d: %d of %d units given, %d to %d per member", seed, group, total, n, least, most)
		}
	}
}

// checkMoves counts the units that had an owner and get another. A member must
// give up only what is above its share.
func checkMoves(t *testing.T, seed uint64, plan map[string][]unit, before map[unit]string, members []candidate, partitions []int32) {
	t.Helper()
	moved := 0
	for id, units := range plan {
		for _, u := range units {
			if owner, owned := before[u]; owned && owner != id {
				moved++
			}
		}
	}
	allowed := 0
	for _, n := range partitions {
		allowed += (int(n) + len(members) - 1) / len(members)
	}
	if moved > allowed {
		t.Fatalf("seed %d: %d units moved for one member that came or went, %d would do", seed, moved, allowed)
	}
}

func TestNewerGenerationOwns(t *testing.T) {
	u := unit{0, 3}
	old, young := candidate{id: "a", owned: []unit{u}, generation: 4}, candidate{id: "b", owned: []unit{u}, generation: 5}
	for _, members := range [][]candidate{{old, young}, {young, old}} {
		if got := owners(members)[u]; got != "b" {
			t.Errorf("%v is with %q, want b", u, got)
		}
	}
}

func TestGoneAreThoseNobodyHasAnyMore(t *testing.T) {
	r := &balancing{notes: map[string]memberNote{
		"m1": {Self: Peer{TransactionalID: "app-1"}, Known: []string{"app-1", "app-2", "app-3"}},
		"m2": {Self: Peer{TransactionalID: "app-2"}, Known: []string{"app-0"}},
	}}
	if got := r.gone(); !slices.Equal(got, []string{"app-0", "app-3"}) {
		t.Errorf("gone are %v", got)
	}
}

func TestCoPartitionedTopicsStayTogether(t *testing.T) {
	groups := [][]record.Topic{{"a", "b"}, {"c"}}
	r := &balancing{groups: groups, members: []candidate{{id: "m1"}, {id: "m2"}}, notes: map[string]memberNote{"m1": {}, "m2": {}}}
	for _, out := range r.Balance(map[string]int32{"a": 4, "b": 2, "c": 3}).IntoSyncAssignment() {
		given, err := newBalancer(SessionConfig{}, nil).ParseSyncAssignment(out.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range given["b"] {
			if !slices.Contains(given["a"], p) {
				t.Errorf("%s has b/%d but not a/%d", out.MemberID, p, p)
			}
		}
		if len(given["a"]) != 2 {
			t.Errorf("%s has %d partitions of a, want 2", out.MemberID, len(given["a"]))
		}
	}
}
