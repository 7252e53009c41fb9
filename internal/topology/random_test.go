package topology

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

// model is what a random job has done to a record, done by hand.
type model struct {
	steps []func([]click) []click
	key   func(click) string
}

// of is what the job's aggregate sees of one click.
func (m *model) of(c click) []click {
	all := []click{c}
	for _, step := range m.steps {
		all = step(all)
	}
	return all
}

func each(f func(click) []click) func([]click) []click {
	return func(all []click) (out []click) {
		for _, c := range all {
			out = append(out, f(c)...)
		}
		return out
	}
}

// randomChain puts up to five stateless operators behind s, and the same by hand
// into m.
func randomChain(rng *rand.Rand, s Stream[[]byte, click], m *model) Stream[[]byte, click] {
	for range rng.IntN(6) {
		switch rng.IntN(5) {
		case 0:
			f := func(c click) click { return click{c.user, c.page + "x"} }
			s = MapValues(s, "MapValues", At{}, Policy{}, f)
			m.steps = append(m.steps, each(func(c click) []click { return []click{f(c)} }))
		case 1:
			f := func(c click) bool { return !strings.HasSuffix(c.user, "3") }
			s = Filter(s, At{}, Policy{}, f)
			m.steps = append(m.steps, each(func(c click) []click {
				if f(c) {
					return []click{c}
				}
				return nil
			}))
		case 2:
			f := func(c click, emit func(click)) {
				emit(c)
				if len(c.page) > 2 {
					emit(click{c.user + "'", c.page})
				}
			}
			s = FlatMap(s, "FlatMap", At{}, Policy{}, f)
			m.steps = append(m.steps, each(func(c click) (out []click) {
				f(c, func(c click) { out = append(out, c) })
				return out
			}))
		case 3:
			b := Branch(s, At{}, Policy{}, []func(click) bool{func(c click) bool { return len(c.user)%2 == 0 }})
			left := MapValues(b[0], "MapValues", At{}, Policy{}, func(c click) click { return click{c.user, "even"} })
			s = Merge(At{}, left, b[1])
			m.steps = append(m.steps, each(func(c click) []click {
				if len(c.user)%2 == 0 {
					c.page = "even"
				}
				return []click{c}
			}))
		case 4:
			s = Peek(s, At{}, Policy{}, func([]byte, click) {})
		}
	}
	return s
}

// summary is an aggregate with sets, lists and strings in its accumulator.
func summary() agg.Agg[click, agg.Pair[agg.Set[string], agg.Pair[[]int, agg.Reduced[string]]], agg.Pair[int64, agg.Pair[[]int, string]]] {
	page := func(c click) string { return c.page }
	return agg.Both(agg.Distinct(page), agg.Both(
		agg.TopK(2, score),
		reducedBy(page)))
}

// score is different for most clicks.
func score(c click) (n int) {
	for i, b := range []byte(c.page) {
		n += (i + 1) * int(b)
	}
	return n
}

func reducedBy(f func(click) string) agg.Agg[click, agg.Reduced[string], string] {
	a := agg.Reduce(func(a, b string) string { return max(a, b) }, nil)
	return agg.Agg[click, agg.Reduced[string], string]{
		Name: "greatest", Merge: a.Merge, Result: a.Result, Codec: a.Codec,
		Add: func(r agg.Reduced[string], c click) agg.Reduced[string] { return a.Add(r, strings.Clone(f(c))) },
	}
}

// textCodec writes whatever it is as text: for topics that only the test reads.
type textCodec[T any] struct{}

func (textCodec[T]) Name() string                           { return "text" }
func (textCodec[T]) Append(dst []byte, v T) ([]byte, error) { return fmt.Append(dst, v), nil }
func (textCodec[T]) Decode([]byte) (v T, err error)         { return v, nil }

// byHand is the summary of clicks.
func byHand(all []click) string {
	var pages []string
	var scores []int
	for _, c := range all {
		pages, scores = append(pages, c.page), append(scores, score(c))
	}
	slices.SortFunc(scores, func(a, b int) int { return cmp.Compare(b, a) })
	greatest := slices.Max(pages)
	slices.Sort(pages)
	return fmt.Sprintf("{%d {%v %s}}", len(slices.Compact(pages)), scores[:min(2, len(scores))], greatest)
}

func TestRandomJobsAgreeWithTheModel(t *testing.T) {
	seeds(t, 300, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 5))
		g, m := NewGraph("random"), &model{}
		s := TryMap(From(g, At{}, Policy{}, 0, raw), "TryMap", At{}, Policy{}, parseClick)
		s = randomChain(rng, s, m)
		m.key = func(c click) string { return c.user }
		a := summary()
		if rng.IntN(4) == 0 {
			a.Merge = nil
		}
		o := StoreOptions[click]{Value: clickCodec{}}
		grouped := GroupBy(s, At{}, Policy{}, false, codec.String, m.key)
		windowed := rng.IntN(2) == 0
		spec := window.Tumbling(time.Second).Grace(time.Hour)
		if windowed && a.Merge != nil && rng.IntN(2) == 0 {
			spec = window.Hopping(3*time.Second, time.Second).Grace(time.Hour)
		}
		if windowed {
			WindowsTo(AggregateWindows(Window(grouped, At{}, Policy{}, spec), At{}, "summary", a, o), At{}, Policy{},
				Topic[Win[string], agg.Pair[int64, agg.Pair[[]int, string]]]{Name: "out", Key: winTestCodec{}, Value: textCodec[agg.Pair[int64, agg.Pair[[]int, string]]]{}})
		} else {
			TableTo(Aggregate(grouped, At{}, "summary", a, o), At{}, Policy{},
				Topic[string, agg.Pair[int64, agg.Pair[[]int, string]]]{Name: "out", Key: codec.String, Value: textCodec[agg.Pair[int64, agg.Pair[[]int, string]]]{}})
		}
		plan, err := g.Plan()
		if err != nil {
			t.Fatal(err)
		}
		partitions := 1 + rng.IntN(3)
		w := newWorld(t, seed, plan, int32(partitions))
		w.topics["clicks"] = randomClicks(rng, partitions, 120, false)
		w.run(150)

		groups := make(map[string][]click)
		for _, e := range w.all("clicks") {
			c, err := parseClick(e.value)
			if err != nil {
				continue
			}
			for _, c := range m.of(c) {
				for _, key := range keysOf(m.key(c), e.at, windowed, spec) {
					groups[key] = append(groups[key], c)
				}
			}
		}
		want := make(map[string]string)
		for key, all := range groups {
			want[key] = byHand(all)
		}
		got := make(map[string]string)
		for _, e := range w.all("out") {
			got[string(e.key)] = string(e.value)
		}
		if !maps.Equal(got, want) {
			t.Errorf("windowed %v (%v):\n got %v\nwant %v", windowed, spec, got, want)
		}
		w.checkRebuilt()
	})
}

// keysOf are the keys under which a result is written: one per window.
func keysOf(key string, at record.Timestamp, windowed bool, spec window.Spec) (keys []string) {
	if !windowed {
		return []string{key}
	}
	for start := spec.FirstStart(at); start <= spec.LastStart(at); start += record.Timestamp(spec.Slide.Milliseconds()) {
		b, _ := winTestCodec{}.Append(nil, Win[string]{key, spec.At(start)})
		keys = append(keys, string(b))
	}
	return keys
}
