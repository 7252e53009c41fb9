package agg_test

import (
	"fmt"

	"millrace/agg"
	"millrace/codec"
)

// of is the result of an aggregate over some values, in two halves that are
// merged as two partitions are.
func of[V, A, R any](a agg.Agg[V, A, R], values ...V) R {
	a = a.WithDefaults()
	left, right := a.Init(), a.Init()
	for i, v := range values {
		if i%2 == 0 {
			left = a.Add(left, v)
		} else {
			right = a.Add(right, v)
		}
	}
	return a.Result(a.Merge(left, right))
}

func letters(s string) int { return len(s) }

func ExampleCount() {
	fmt.Println(of(agg.Count[string](), "to", "be", "or"))
	// Output: 3
}

func ExampleSum() {
	fmt.Println(of(agg.Sum(letters), "to", "be", "not"))
	// Output: 7
}

func ExampleMin() {
	fmt.Println(of(agg.Min(letters), "question", "be", "not"))
	// Output: 2
}

func ExampleMax() {
	fmt.Println(of(agg.Max(letters), "question", "be", "not"))
	// Output: 8
}

func ExampleAvg() {
	fmt.Println(of(agg.Avg(letters), "to", "be", "question"))
	// Output: 4
}

// What is left out is filled in: a codec for the accumulator, and the zero value
// to begin with.
func ExampleAgg_WithDefaults() {
	a := agg.Agg[string, int64, int64]{
		Name:   "length",
		Add:    func(n int64, s string) int64 { return n + int64(len(s)) },
		Result: func(n int64) int64 { return n },
	}.WithDefaults()
	fmt.Println(a.Add(a.Init(), "to be"), a.Codec.Name())
	// Output: 5 int64
}

func ExamplePairOf() {
	c := agg.PairOf(codec.Int64, codec.String)
	b, err := c.Append(nil, agg.Pair[int64, string]{First: 2, Second: "be"})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.Decode(b))
	// Output: {2 be} <nil>
}

func ExampleListOf() {
	c := agg.ListOf(codec.String)
	b, err := c.Append(nil, []string{"to", "be"})
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(c.Decode(b))
	// Output: [to be] <nil>
}
