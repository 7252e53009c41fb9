package client

import (
	"cmp"
	"maps"
	"slices"

	"millrace/record"
)

// A unit is what moves between instances as one: the partitions of equal number
// of all topics of a group of topics.
type unit struct {
	group     int
	partition record.Partition
}

// candidate is a member as the assignment sees it.
type candidate struct {
	id         string
	owned      []unit
	generation int32 // of owned
}

// assign spreads units over members. Each group of topics is spread evenly for
// itself, since its tasks are alike; what a member has stays with it as far as
// that allows. It is a pure function: equal input, equal output.
func assign(members []candidate, partitions []int32) map[string][]unit {
	plan := make(map[string][]unit, len(members))
	if len(members) == 0 {
		return plan
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
	owners := owners(members)
	for group, n := range partitions {
		a := assignment{members: members, plan: plan, base: int(n) / len(members), extra: int(n) % len(members), held: make(map[string]int)}
		var free []unit
		for p := range n {
			u := unit{group, record.Partition(p)}
			if owner, owned := owners[u]; !owned || !a.keep(owner, u) {
				free = append(free, u)
			}
		}
		for _, u := range free {
			a.give(a.leastLoaded(), u)
		}
	}
	return plan
}

// owners says who has each unit. When two claim the same one, the newer
// generation is right: the other was out of the group when it moved.
func owners(members []candidate) map[unit]string {
	all := make(map[unit]string)
	newest := make(map[unit]int32)
	for _, m := range members {
		for _, u := range m.owned {
			if _, claimed := all[u]; !claimed || m.generation > newest[u] {
				all[u], newest[u] = m.id, m.generation
			}
		}
	}
	return all
}

// assignment is the state of spreading one group of topics.
type assignment struct {
	members     []candidate
	plan        map[string][]unit
	held        map[string]int // units of this group per member
	base, extra int            // each gets base, as many as extra one more
}

// keep leaves u with its owner if that has room.
func (a *assignment) keep(owner string, u unit) bool {
	room := a.base
	if a.extra > 0 {
		room++
	}
	if a.held[owner] >= room {
		return false
	}
	a.give(owner, u)
	return true
}

func (a *assignment) give(id string, u unit) {
	a.plan[id] = append(a.plan[id], u)
	a.held[id]++
	if a.held[id] == a.base+1 {
		a.extra--
	}
}

// leastLoaded is the member with room that has the fewest units in all. There
// is always one: the rooms add up to the number of partitions.
func (a *assignment) leastLoaded() string {
	best := slices.MinFunc(a.members, func(x, y candidate) int {
		return cmp.Or(
			cmp.Compare(a.full(x.id), a.full(y.id)),
			cmp.Compare(len(a.plan[x.id]), len(a.plan[y.id])),
			cmp.Compare(x.id, y.id),
		)
	})
	return best.id
}

// full is 1 for a member that may not take another unit of the group.
func (a *assignment) full(id string) int {
	if a.held[id] > a.base || a.held[id] == a.base && a.extra <= 0 {
		return 1
	}
	return 0
}

// handOver takes out of plan what another member still has: that one must give
// it up first, and the group balances again when it has. This is the rule of
// cooperative rebalancing (KIP-429): what does not move goes on.
func handOver(plan map[string][]unit, members []candidate) {
	owners := owners(members)
	for id, units := range maps.All(plan) {
		plan[id] = slices.DeleteFunc(units, func(u unit) bool {
			owner, owned := owners[u]
			return owned && owner != id
		})
	}
}
