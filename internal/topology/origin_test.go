package topology

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
)

// Work that was aborted runs again, cut into other batches, and with functions
// that fail now and then: each value has the key that it had the first time, and
// no other has.
func TestRepeatedWorkHasTheSameKeys(t *testing.T) {
	type call struct{ key, value string }
	var calls []call
	failing := true
	g := NewGraph("keys")
	parts := FlatMap(From(g, At{}, Policy{}, 0, words), "FlatMap", At{}, Policy{}, func(v string, emit func(string)) {
		for part := range strings.SplitSeq(v, ",") {
			emit(part)
		}
	})
	liked := Filter(parts, At{}, Policy{}, func(v string) bool { return v != "no" })
	paid := TryMapFrom(liked, At{}, Policy{Retries: 1}, func(from Origin, v string) (string, error) {
		calls = append(calls, call{from.String(), v})
		if failing = !failing; failing && v == "b" {
			return "", errors.New("not this time")
		}
		return v, nil
	})
	To(paid, At{}, Policy{}, Topic[string, string]{Name: "paid", Key: codec.String, Value: codec.String})
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	task, out := newTestTask(t, &plan.Subs[0]), &sent{plan: &plan.Subs[0]}
	input := []string{"a,b", "no,c", "b", "d,no,b,b"}
	run := func(sizes ...int) []call {
		calls = nil
		first := 0
		for _, n := range sizes {
			b := batchOf(0, input[first:first+n]...)
			for i := range b.Offsets {
				b.Offsets[i] = record.Offset(40 + first + i)
			}
			if err := task.Process(b, out); err != nil {
				t.Fatal(err)
			}
			first += n
		}
		task.Abort()
		slices.SortFunc(calls, func(a, b call) int { return strings.Compare(a.key, b.key) })
		return slices.Compact(calls) // but for calls that were tried again
	}
	want := []call{
		{"words/0/40/0", "a"}, {"words/0/40/1", "b"}, {"words/0/41/0", "c"}, {"words/0/42/0", "b"},
		{"words/0/43/0", "d"}, {"words/0/43/1", "b"}, {"words/0/43/2", "b"},
	}
	same(t, "the keys", run(4), want)
	same(t, "the keys of the repetition", run(1, 2, 1), want)
	same(t, "the keys of another", run(1, 1, 1, 1), want)
}

// What a table has made has no place in a topic.
func TestRecordsOfTablesHaveNoOffset(t *testing.T) {
	var from []Origin
	g := NewGraph("derived")
	source := words
	source.Keyed = true
	byWord := GroupBy(From(g, At{}, Policy{}, 0, source), At{}, Policy{}, true, codec.String, func(v string) string { return v })
	counts := Aggregate(byWord, At{}, "counts", agg.Count[string](), StoreOptions[string]{})
	told := TryMapFrom(ToStream(counts), At{}, Policy{}, func(o Origin, n int64) (int64, error) {
		from = append(from, o)
		return n, nil
	})
	To(told, At{}, Policy{}, Topic[string, int64]{Name: "told", Key: codec.String, Value: codec.Int64})
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	task, out := newTestTask(t, &plan.Subs[0]), &sent{plan: &plan.Subs[0]}
	if err := task.Process(batchOf(0, "a", "b"), out); err != nil {
		t.Fatal(err)
	}
	if err := task.Prepare(out); err != nil {
		t.Fatal(err)
	}
	if len(from) == 0 {
		t.Fatal("the function was not called")
	}
	for _, o := range from {
		if o.Offset != -1 || o.Seq != 0 {
			t.Errorf("%v has a place", o)
		}
	}
}
