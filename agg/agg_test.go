package agg_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/agg"
	"millrace/codec"
)

// checkAgg holds an aggregate against a model over a whole list: in any order,
// cut into any parts that are merged, stored and read again in between, and with
// copies that must not be touched.
func checkAgg[A, R any](t *testing.T, a agg.Agg[string, A, R], model func([]string) R) {
	t.Helper()
	a = a.WithDefaults()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "bb", "ccc", "dd", ""}), 1, 30).Draw(t, "values")
		want := fmt.Sprint(model(slices.Clone(values)))
		var parts []A
		for rest := values; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			acc := a.Init()
			for _, v := range rest[:n] {
				acc = a.Add(acc, v)
			}
			parts = append(parts, stored(t, a.Codec, acc))
			rest = rest[n:]
		}
		parts = rapid.Permutation(parts).Draw(t, "order")
		if got := fmt.Sprint(a.Result(mergeAll(t, a, parts))); got != want {
			t.Fatalf("%s of %q: %s, want %s", a.Name, values, got, want)
		}
		// Merging has not changed its second arguments: it gives the same again.
		if got := fmt.Sprint(a.Result(mergeAll(t, a, parts))); got != want {
			t.Fatalf("%s of %q the second time: %s, want %s", a.Name, values, got, want)
		}
	})
}

func mergeAll[V, A, R any](t *rapid.T, a agg.Agg[V, A, R], parts []A) A {
	acc := a.Init()
	for _, p := range parts {
		acc = a.Merge(acc, p)
	}
	if a.Clone != nil {
		before := fmt.Sprint(a.Result(acc))
		var v V
		a.Add(a.Clone(acc), v)
		if after := fmt.Sprint(a.Result(acc)); after != before {
			t.Fatalf("%s: a change of a clone made %s of %s", a.Name, after, before)
		}
	}
	return acc
}

func stored[T any](t *rapid.T, c codec.Codec[T], v T) T {
	b, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Append([]byte("x"), v)
	if err != nil || string(again) != "x"+string(b) {
		t.Fatalf("%s: %q, then %q, %v", c.Name(), b, again, err)
	}
	back, err := c.Decode(b)
	if err != nil {
		t.Fatalf("%s: %q: %v", c.Name(), b, err)
	}
	return back
}

func length(s string) int    { return len(s) }
func itself(s string) string { return s }

func TestAggregatesAgreeWithTheirModels(t *testing.T) {
	t.Run("count", func(t *testing.T) {
		checkAgg(t, agg.Count[string](), func(all []string) int64 { return int64(len(all)) })
	})
	t.Run("sum", func(t *testing.T) {
		checkAgg(t, agg.Sum(length), sum)
	})
	t.Run("min", func(t *testing.T) { checkAgg(t, agg.Min(itself), slices.Min[[]string]) })
	t.Run("max", func(t *testing.T) { checkAgg(t, agg.Max(itself), slices.Max[[]string]) })
	t.Run("avg", func(t *testing.T) {
		checkAgg(t, agg.Avg(length), func(all []string) float64 { return float64(sum(all)) / float64(len(all)) })
	})
	t.Run("distinct", func(t *testing.T) {
		checkAgg(t, agg.Distinct(itself), func(all []string) int64 {
			slices.Sort(all)
			return int64(len(slices.Compact(all)))
		})
	})
	t.Run("top 3", func(t *testing.T) {
		checkAgg(t, agg.TopK(3, itself), func(all []string) []string {
			slices.Sort(all)
			slices.Reverse(all)
			return all[:min(3, len(all))]
		})
	})
	t.Run("reduce", func(t *testing.T) {
		longer := func(a, b string) string { return max(a, b) }
		checkAgg(t, agg.Reduce(longer, nil), slices.Max[[]string])
	})
	t.Run("both", func(t *testing.T) {
		checkAgg(t, agg.Both(agg.Distinct(itself), agg.Both(agg.Count[string](), agg.TopK(1, length))), func(all []string) agg.Pair[int64, agg.Pair[int64, []int]] {
			n, longest := int64(len(all)), 0
			for _, s := range all {
				longest = max(longest, len(s))
			}
			slices.Sort(all)
			return agg.Pair[int64, agg.Pair[int64, []int]]{First: int64(len(slices.Compact(all))), Second: agg.Pair[int64, []int]{First: n, Second: []int{longest}}}
		})
	})
}

func sum(all []string) (n int) {
	for _, s := range all {
		n += len(s)
	}
	return n
}

func TestRetractTakesBack(t *testing.T) {
	a := agg.Both(agg.Count[string](), agg.Both(agg.Sum(length), agg.Avg(length))).WithDefaults()
	acc := a.Init()
	for _, v := range []string{"a", "bbb", "cc"} {
		acc = a.Add(acc, v)
	}
	for _, v := range []string{"bbb", "a"} {
		acc = a.Retract(acc, v)
	}
	if got := fmt.Sprint(a.Result(acc)); got != "{1 {2 2}}" {
		t.Error(got)
	}
	if agg.Both(agg.Count[string](), agg.Distinct(itself)).Retract != nil {
		t.Error("a set cannot take back")
	}
}

func TestEdges(t *testing.T) {
	nan := agg.Min(func(f float64) float64 { return f })
	acc := nan.Add(nan.Add(nan.WithDefaults().Init(), 1), math.NaN())
	if !math.IsNaN(nan.Result(acc)) {
		t.Errorf("NaN is not the least: %v", nan.Result(acc))
	}
	if got := agg.TopK(0, itself).Name; got != "top-1" {
		t.Errorf("top 0 is %s", got)
	}
	if got := agg.Avg(length).Result(agg.Mean{}); got != 0 {
		t.Errorf("mean of nothing: %v", got)
	}
	long := fmt.Sprintf("%0200d", 7)
	pair := agg.PairOf(codec.String, codec.String)
	b, err := pair.Append(nil, agg.Pair[string, string]{First: long, Second: long})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := pair.Decode(b); err != nil || p.First != long || p.Second != long {
		t.Errorf("a long part: %v, %v", p, err)
	}
}

// FuzzDecode: bytes that no codec of ours has written are an error or a value
// that can be stored, never a panic.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x03\x01ab\x02cd"))
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"))
	a := agg.Both(agg.Distinct(itself), agg.Both(agg.Min(itself), agg.Both(agg.Avg(length), agg.TopK(2, length)))).WithDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := a.Codec.Decode(b)
		if err != nil {
			return
		}
		again, err := a.Codec.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Codec.Decode(again); err != nil {
			t.Errorf("%x became %x: %v", b, again, err)
		}
	})
}

func ExampleBoth() {
	type Sale struct{ Cents int }
	a := agg.Both(agg.Count[Sale](), agg.Avg(func(s Sale) int { return s.Cents })).WithDefaults()
	acc := a.Init()
	for _, s := range []Sale{{100}, {250}} {
		acc = a.Add(acc, s)
	}
	fmt.Println(a.Result(acc).First, a.Result(acc).Second)
	// Output: 2 175
}

func ExampleTopK() {
	a := agg.TopK(2, func(n int) int { return n })
	var acc []int
	for _, n := range []int{3, 9, 4, 9, 1} {
		acc = a.Add(acc, n)
	}
	fmt.Println(a.Result(acc))
	// Output: [9 9]
}

func ExampleReduce() {
	longest := agg.Reduce(func(a, b string) string {
		if len(b) > len(a) {
			return b
		}
		return a
	}, nil).WithDefaults()
	acc := longest.Init()
	for _, s := range []string{"a", "ccc", "bb"} {
		acc = longest.Add(acc, s)
	}
	fmt.Println(longest.Result(acc))
	// Output: ccc
}

func ExampleDistinct() {
	pages := agg.Distinct(func(page string) string { return page }).WithDefaults()
	acc := pages.Init()
	for _, p := range []string{"/", "/cart", "/"} {
		acc = pages.Add(acc, p)
	}
	fmt.Println(pages.Result(acc))
	// Output: 2
}

// An aggregate of one's own: the first and the last time that a key was seen.
func ExampleAgg() {
	type span struct{ First, Last int64 }
	seen := agg.Agg[int64, span, int64]{
		Name: "span",
		Init: func() span { return span{math.MaxInt64, math.MinInt64} },
		Add:  func(s span, at int64) span { return span{min(s.First, at), max(s.Last, at)} },
		Merge: func(a, b span) span {
			return span{min(a.First, b.First), max(a.Last, b.Last)}
		},
		Result: func(s span) int64 { return s.Last - s.First },
	}.WithDefaults()
	acc := seen.Init()
	for _, at := range []int64{20, 5, 12} {
		acc = seen.Add(acc, at)
	}
	fmt.Println(seen.Result(acc), seen.Codec.Name())
	// Output: 15 json
}
