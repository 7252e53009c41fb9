package clicks

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
)

// MaxTop is the longest ranking that can be asked for.
const MaxTop = 1000

// entryOverheadBytes is what one name costs beside its own bytes: the entry,
// its share of the map, and the allocator's rounding. TestMemoryBudgetHolds
// compares it with the heap.
const entryOverheadBytes = 128

// budget is the memory that several tables share.
type budget struct{ usedBytes, maxBytes int64 }

// take reserves room for one name, or reports that the budget is used up.
func (b *budget) take(name string) bool {
	cost := int64(len(name)) + entryOverheadBytes
	if b.usedBytes+cost > b.maxBytes {
		return false
	}
	b.usedBytes += cost
	return true
}

// Count is one name with its clicks.
type Count struct {
	Name   string
	Clicks int64
}

// compareRank orders by most clicks first, ties by name.
func compareRank(a, b Count) int {
	return cmp.Or(cmp.Compare(b.Clicks, a.Clicks), cmp.Compare(a.Name, b.Name))
}

// table counts clicks per name and keeps the ranking of the first MaxTop names
// up to date. Clicks only ever rise, so a name enters the ranking only at the
// moment when it is clicked: each click costs one comparison with the last of
// the ranking, however many names there are.
//
// When the budget is used up, names that were counted before are counted on,
// and clicks of new names are only added up in untracked.
type table struct {
	entries   map[string]*entry
	top       ranking
	budget    *budget
	untracked int64
}

type entry struct {
	Count
	rank int // index in the ranking; -1 when outside
}

func newTable(b *budget) *table {
	return &table{entries: make(map[string]*entry), budget: b}
}

func (t *table) add(name string) {
	e := t.entries[name]
	if e == nil {
		if !t.budget.take(name) {
			t.untracked++
			return
		}
		e = &entry{Count: Count{Name: strings.Clone(name)}, rank: -1}
		t.entries[e.Name] = e
	}
	e.Clicks++
	t.rankUp(e)
}

func (t *table) rankUp(e *entry) {
	switch {
	case e.rank >= 0:
		heap.Fix(&t.top, e.rank)
	case len(t.top) < MaxTop:
		heap.Push(&t.top, e)
	case compareRank(e.Count, t.top[0].Count) < 0:
		t.top[0].rank = -1
		t.top[0] = e
		e.rank = 0
		heap.Fix(&t.top, 0)
	}
}

func (t *table) get(name string) (int64, bool) {
	e := t.entries[name]
	if e == nil {
		return 0, false
	}
	return e.Clicks, true
}

// ranked is a copy of the ranking, not sorted yet.
func (t *table) ranked() []Count {
	counts := make([]Count, len(t.top))
	for i, e := range t.top {
		counts[i] = e.Count
	}
	return counts
}

// first sorts what ranked returned and keeps the best n.
func first(counts []Count, n int) []Count {
	slices.SortFunc(counts, compareRank)
	return counts[:min(n, len(counts))]
}

// ranking is a heap with the worst of the best at its root.
type ranking []*entry

func (r ranking) Len() int           { return len(r) }
func (r ranking) Less(i, j int) bool { return compareRank(r[i].Count, r[j].Count) > 0 }
func (r ranking) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].rank, r[j].rank = i, j
}

func (r *ranking) Push(x any) {
	e := x.(*entry)
	e.rank = len(*r)
	*r = append(*r, e)
}

// Pop completes heap.Interface; a ranking never shrinks.
func (r *ranking) Pop() any {
	last := len(*r) - 1
	e := (*r)[last]
	*r = (*r)[:last]
	return e
}
