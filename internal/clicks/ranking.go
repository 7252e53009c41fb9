package clicks

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"

	"millrace"
)

// MaxTop is the longest ranking that can be asked for.
const MaxTop = 1000

// Count is one name with its clicks.
type Count struct {
	Name   string
	Clicks int64
}

// compareRank orders by most clicks first, ties by name.
func compareRank(a, b Count) int {
	return cmp.Or(cmp.Compare(b.Clicks, a.Clicks), cmp.Compare(a.Name, b.Name))
}

// ranking keeps the MaxTop names with the most clicks up to date. Clicks only
// ever rise, so a name enters only at the moment when it is clicked: each change
// costs one comparison with the last of the ranking, however many names there are.
type ranking struct {
	places map[string]*place
	heap   placeHeap
}

// place is a name in the ranking.
type place struct {
	Count
	at int // index in the heap
}

func newRanking() *ranking { return &ranking{places: make(map[string]*place)} }

// set takes note of a name's clicks.
func (r *ranking) set(name string, clicks int64) {
	if p := r.places[name]; p != nil {
		p.Clicks = clicks
		heap.Fix(&r.heap, p.at)
		return
	}
	next := Count{Name: name, Clicks: clicks}
	if len(r.heap) == MaxTop {
		if compareRank(next, r.heap[0].Count) > 0 {
			return
		}
		delete(r.places, heap.Pop(&r.heap).(*place).Name)
	}
	next.Name = strings.Clone(name) // a view into the table's memory
	p := &place{Count: next}
	r.places[p.Name] = p
	heap.Push(&r.heap, p)
}

// all is a copy of the ranking, not sorted.
func (r *ranking) all() []Count {
	counts := make([]Count, len(r.heap))
	for i, p := range r.heap {
		counts[i] = p.Count
	}
	return counts
}

// first sorts counts and keeps the best n.
func first(counts []Count, n int) []Count {
	slices.SortFunc(counts, compareRank)
	return counts[:min(n, len(counts))]
}

// placeHeap has the worst of the best at its root.
type placeHeap []*place

func (h placeHeap) Len() int           { return len(h) }
func (h placeHeap) Less(i, j int) bool { return compareRank(h[i].Count, h[j].Count) > 0 }
func (h placeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *placeHeap) Push(x any) {
	p := x.(*place)
	p.at = len(*h)
	*h = append(*h, p)
}

func (h *placeHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}

// sums are one task's totals and ranking.
type sums[R any] struct {
	clicksOf, demoOf func(R) int64
	names            int64
	clicks, demo     int64
	top              *ranking
}

func newUserSums() *sums[int64] {
	return &sums[int64]{clicksOf: func(n int64) int64 { return n }, demoOf: func(int64) int64 { return 0 }, top: newRanking()}
}

func newPageSums() *sums[pageCount] {
	return &sums[pageCount]{clicksOf: func(n pageCount) int64 { return n.First }, demoOf: func(n pageCount) int64 { return n.Second }, top: newRanking()}
}

// Add implements millrace.Observer.
func (s *sums[R]) Add(name string, r R) {
	s.names++
	s.clicks += s.clicksOf(r)
	s.demo += s.demoOf(r)
	s.top.set(name, s.clicksOf(r))
}

// Change implements millrace.Observer.
func (s *sums[R]) Change(name string, before, after R) {
	s.clicks += s.clicksOf(after) - s.clicksOf(before)
	s.demo += s.demoOf(after) - s.demoOf(before)
	s.top.set(name, s.clicksOf(after))
}

// watched has every task of a view summed up.
func watched[R any](v millrace.View[string, R], makes func() *sums[R]) *millrace.View[string, R] {
	v.Watch(func() millrace.Observer[string, R] { return makes() })
	return &v
}
