package clicks

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The ranking is that of a sort over everything, for few names and many, so that
// names enter, leave and tie.
func TestRankingIsThatOfASort(t *testing.T) {
	for _, names := range []int{1, 5, MaxTop - 1, MaxTop, MaxTop + 1, 3 * MaxTop} {
		rng := rand.New(rand.NewPCG(uint64(names), 1))
		r, all := newRanking(), make(map[string]int64)
		for range 20 * names {
			name := fmt.Sprint("user_", rng.IntN(names))
			all[name] += rng.Int64N(3) + 1
			r.set(name, all[name])
		}
		var want []Count
		for name, n := range all {
			want = append(want, Count{name, n})
		}
		if got := first(r.all(), MaxTop); !slices.Equal(got, first(want, MaxTop)) {
			t.Errorf("%d names: the ranking differs from the sort", names)
		}
		if len(r.places) != len(r.heap) {
			t.Errorf("%d names: %d places for %d in the heap", names, len(r.places), len(r.heap))
		}
	}
}

func TestSumsFollowChanges(t *testing.T) {
	s := newPageSums()
	s.Add("/", pageCount{First: 2, Second: 1})
	s.Add("/x", pageCount{First: 1})
	s.Change("/", pageCount{First: 2, Second: 1}, pageCount{First: 5, Second: 3})
	if s.names != 2 || s.clicks != 6 || s.demo != 3 || first(s.top.all(), 1)[0] != (Count{"/", 5}) {
		t.Errorf("%+v, top %v", s, s.top.all())
	}
}

func BenchmarkRanking(b *testing.B) {
	for _, users := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(users), func(b *testing.B) {
			names := make([]string, users)
			for i := range names {
				names[i] = fmt.Sprint("user_", i)
			}
			r, counts, rng := newRanking(), make([]int64, users), rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				i := rng.IntN(users)
				counts[i]++
				r.set(names[i], counts[i])
			}
		})
	}
}
