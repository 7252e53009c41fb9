package topology

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

var words = Topic[string, string]{Name: "words", Key: codec.String, Value: codec.String}

func (s *sent) text() string { return strings.Join(s.lines, "\n") }

// runOne gives the records to a job's only task, and returns what it sends.
func runOne(t *testing.T, g *Graph, values ...string) (*sent, Task, error) {
	t.Helper()
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Subs) != 1 {
		t.Fatalf("%d sub-topologies", len(plan.Subs))
	}
	task := newTestTask(t, &plan.Subs[0])
	s := &sent{plan: &plan.Subs[0]}
	err = task.Process(batchOf(0, values...), s)
	return s, task, err
}

var errOdd = errors.New("odd")

// fragile maps a word to itself; "bad" fails, "worse" panics.
func fragile(v string) (string, error) {
	switch v {
	case "bad":
		return "", errOdd
	case "worse":
		panic("very odd")
	}
	return v, nil
}

func TestPolicies(t *testing.T) {
	dlq := func(value, why, reason string, row int, topic string) string {
		return fmt.Sprintf(`%s -1 %q=%q @%d millrace.error:%s millrace.reason:%s millrace.source:words/0/%d millrace.stage:TryMap fragile`, topic, value, value, 1000+row, why, reason, row)
	}
	for name, c := range map[string]struct {
		policy  Policy
		want    []string
		skipped int64
		err     string
	}{
		"dead letter": {policy: Policy{}, want: []string{
			dlq("bad", "odd", ReasonError, 1, "words-dlq"), dlq("worse", "panic: very odd", ReasonPanic, 2, "words-dlq"),
		}},
		"dead letter of its own": {policy: Policy{Topic: "broken"}, want: []string{
			dlq("bad", "odd", ReasonError, 1, "broken"), dlq("worse", "panic: very odd", ReasonPanic, 2, "broken"),
		}},
		"skip": {policy: Policy{Action: Skip}, skipped: 2},
		"stop": {policy: Policy{Action: Stop}, err: `stage "TryMap fragile" refused words/0/1: error: odd`},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewGraph("policies")
			To(TryMap(From(g, At{}, Policy{}, 0, words), "TryMap", At{Label: "fragile"}, c.policy, fragile), At{}, Policy{}, Topic[string, string]{Name: "out", Key: codec.String, Value: codec.String})
			s, task, err := runOne(t, g, "good", "bad", "worse", "fine")
			if c.err != "" {
				var stage *StageError
				if err == nil || err.Error() != c.err || !errors.Is(err, errOdd) || !errors.As(err, &stage) || stage.Offset != 1 {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := append(c.want, `out -1 "good"="good" @1000`, `out -1 "fine"="fine" @1003`)
			same(t, name, s.text(), strings.Join(want, "\n"))
			task.Commit()
			if n := task.Stats().Skipped; n != c.skipped {
				t.Errorf("%d skipped, want %d", n, c.skipped)
			}
		})
	}
}

func TestRetryCallsAgain(t *testing.T) {
	calls := make(map[string]int)
	flaky := func(v string) (string, error) {
		calls[v]++
		if calls[v] <= len(v) {
			return "", errOdd
		}
		return v, nil
	}
	g := NewGraph("retries")
	To(TryMap(From(g, At{}, Policy{}, 0, words), "TryMap", At{}, Policy{Retries: 2}, flaky), At{}, Policy{}, Topic[string, string]{Name: "out", Key: codec.String, Value: codec.String})
	s, _, err := runOne(t, g, "a", "bb", "ccc", "d")
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(calls, map[string]int{"a": 2, "bb": 3, "ccc": 3, "d": 2}) {
		t.Errorf("%v", calls)
	}
	for _, part := range []string{`out -1 "a"`, `out -1 "bb"`, `out -1 "d"`, `words-dlq -1 "ccc"`} {
		if !strings.Contains(s.text(), part) {
			t.Errorf("%q is missing in\n%s", part, s.text())
		}
	}
}

// A dead letter that is read again and dies again tells of its last death, and
// keeps the headers of its first life.
func TestDeadLetterKeepsHeaders(t *testing.T) {
	g := NewGraph("headers")
	TryMap(From(g, At{}, Policy{}, 0, words), "TryMap", At{Label: "fragile"}, Policy{}, fragile)
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(0, "bad")
	b.Headers = [][]record.Header{{{Key: "trace", Value: []byte("7")}, {Key: HeaderError, Value: []byte("an older one")}}}
	s := &sent{plan: &plan.Subs[0]}
	if err := newTestTask(t, &plan.Subs[0]).Process(b, s); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.text(), "trace:7 millrace.error:odd") || strings.Contains(s.text(), "an older one") {
		t.Error(s.text())
	}
}

func TestNullsAreDeadLetters(t *testing.T) {
	g := NewGraph("nulls")
	To(From(g, At{Label: "words"}, Policy{}, 0, words), At{}, Policy{}, Topic[string, string]{Name: "out", Key: codec.String, Value: codec.String})
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(0, "a", "b", "", "d")
	b.Keys[0], b.Values[1] = nil, nil
	s := &sent{plan: &plan.Subs[0]}
	if err := newTestTask(t, &plan.Subs[0]).Process(b, s); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"error:the key is null", "error:the value is null", `out -1 ""=""`, `out -1 "d"="d"`} {
		if strings.Count(s.text(), part) != 1 {
			t.Errorf("%q is not once in\n%s", part, s.text())
		}
	}
}

// A panic in an aggregate leaves no trace of its record, and the others count.
func TestPanicInAggregate(t *testing.T) {
	touchy := agg.Count[click]()
	add := touchy.Add
	touchy.Add = func(n int64, c click) int64 {
		if c.page == "/boom" {
			panic("boom")
		}
		return add(n, c)
	}
	touchy.Result = func(n int64) int64 {
		if n == 3 {
			panic("three")
		}
		return n
	}
	g := NewGraph("touchy")
	from := raw
	from.Keyed = true
	users := GroupBy(TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{}, Policy{}, parseClick), At{}, Policy{}, true, codec.String, func(c click) string { return c.user })
	TableTo(Aggregate(users, At{}, "total", touchy, StoreOptions[click]{}), At{}, Policy{}, totals)
	s, task, err := runOne(t, g, "ana /", "bob /boom", "ana /boom", "cat /", "cat /", "cat /")
	if err == nil {
		err = task.Prepare(s)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := `clicks-dlq -1 "bob"="bob /boom" @1001 millrace.error:panic: boom millrace.reason:panic millrace.source:clicks/0/1 millrace.stage:Aggregate total
clicks-dlq -1 "ana"="ana /boom" @1002 millrace.error:panic: boom millrace.reason:panic millrace.source:clicks/0/2 millrace.stage:Aggregate total
touchy-dlq -1 "cat"="\x00\x00\x00\x00\x00\x00\x00\x03" @1005 millrace.error:panic: three millrace.reason:panic millrace.source:touchy-total-changelog/0/-1 millrace.stage:Aggregate total
totals -1 "ana"="\x00\x00\x00\x00\x00\x00\x00\x01" @1000`
	same(t, "sent", s.text(), want)
	var keys []string
	if err := task.Tables()[0].Changes(func(k, _ []byte) { keys = append(keys, string(k)) }); err != nil {
		t.Fatal(err)
	}
	same(t, "changed keys", keys, []string{"ana", "cat"})
}

// countWords is a job of all stateless operators.
func TestStatelessOperators(t *testing.T) {
	g := NewGraph("stateless")
	var peeked []string
	out := func(name record.Topic) Topic[string, string] {
		return Topic[string, string]{Name: name, Key: codec.String, Value: codec.String}
	}
	all := Peek(From(g, At{}, Policy{}, 0, words), At{}, Policy{}, func(k, v string) { peeked = append(peeked, k+":"+v) })
	long := Filter(all, At{}, Policy{}, func(v string) bool { return len(v) > 3 })
	split := FlatMap(long, "FlatMap", At{}, Policy{}, func(v string, emit func(string)) {
		for _, part := range strings.Split(v, ",") {
			emit(part)
			if part == "oops" {
				panic("after two emits")
			}
		}
	})
	b := Branch(split, At{}, Policy{}, []func(string) bool{
		func(v string) bool { return strings.HasPrefix(v, "a") },
		func(v string) bool { return strings.HasPrefix(v, "b") },
	})
	To(b[0], At{}, Policy{}, out("as"))
	upper := MapValues(b[1], "MapValues", At{}, Policy{}, strings.ToUpper)
	swapped := Map(b[2], At{}, Policy{}, func(k, v string) (string, string) { return v, k })
	To(Merge(At{}, upper, swapped), At{}, Policy{}, out("rest"))
	s, _, err := runOne(t, g, "a1,b1,c1", "no", "x,oops,y", "b2,a2")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "peeked", peeked, []string{"a1,b1,c1:a1,b1,c1", "no:no", "x,oops,y:x,oops,y", "b2,a2:b2,a2"})
	want := `words-dlq -1 "x,oops,y"="x,oops,y" @1002 millrace.error:panic: after two emits millrace.reason:panic millrace.source:words/0/2 millrace.stage:FlatMap
as -1 "a1,b1,c1"="a1" @1000
as -1 "b2,a2"="a2" @1003
rest -1 "a1,b1,c1"="B1" @1000
rest -1 "b2,a2"="B2" @1003
rest -1 "c1"="a1,b1,c1" @1000`
	same(t, "sent", s.text(), want)
}

func TestThroughAndTableStream(t *testing.T) {
	g := NewGraph("chain")
	mid := Topic[string, string]{Name: "mid", Key: codec.String, Value: codec.String, Keyed: true}
	byFirst := Map(From(g, At{}, Policy{}, 0, words), At{}, Policy{}, func(_, v string) (string, string) { return v[:1], v })
	again := Through(byFirst, At{}, Policy{}, mid)
	counts := Aggregate(GroupBy(again, At{}, Policy{}, true, codec.String, func(v string) string { return v[:1] }), At{}, "first", agg.Count[string](), StoreOptions[string]{})
	// How many letters have been seen how often: a table of a table.
	often := Filter(ToStream(counts), At{}, Policy{}, func(n int64) bool { return n >= 2 })
	TableTo(Aggregate(GroupBy(often, At{}, Policy{}, false, codec.Int64, func(n int64) int64 { return n }), At{}, "often", agg.Count[int64](), StoreOptions[int64]{}), At{}, Policy{}, Topic[int64, int64]{Name: "often", Key: codec.Int64, Value: codec.Int64})
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Subs) != 3 || !plan.Subs[1].Sources[0].Keyed || plan.Subs[2].Sources[0].Upstream != 1 {
		t.Fatalf("%+v", plan.Subs)
	}
	w := newWorld(t, 1, plan, 2)
	for _, v := range []string{"ab", "ac", "bb", "a", "b", "c"} {
		w.add("words", 0, entry{key: []byte("k"), value: []byte(v), at: 1})
	}
	w.drain()
	got := newest(w.all("often"))
	same(t, "letters by how often", got, map[string]uint64{"\x00\x00\x00\x00\x00\x00\x00\x02": 1, "\x00\x00\x00\x00\x00\x00\x00\x03": 1})
}

// A false declaration is counted.
func TestMisplacedIsCounted(t *testing.T) {
	plan, err := countJob(true).Plan()
	if err != nil {
		t.Fatal(err)
	}
	task, err := plan.Subs[0].NewTask(TaskConfig{Partitions: []int32{4}, Now: time.UnixMilli(5000)})
	if err != nil {
		t.Fatal(err)
	}
	s := &sent{plan: &plan.Subs[0]}
	for user := range 20 {
		b := batchOf(0, fmt.Sprintf("user-%d /", user))
		b.Partition = 3
		if err := task.Process(b, s); err != nil {
			t.Fatal(err)
		}
	}
	task.Commit()
	if n := task.Stats().Misplaced; n < 10 || n == 20 {
		t.Errorf("%d of 20 random users are said to be misplaced in one of four partitions", n)
	}
}

// A topic of mapped changes is made as that of the table would be.
func TestCompactedTopicsKnowTheirWindow(t *testing.T) {
	spec := window.Tumbling(time.Minute).Keep(time.Hour)
	g := NewGraph("sinks")
	users := GroupBy(TryMap(From(g, At{}, Policy{}, 0, raw), "TryMap", At{}, Policy{}, parseClick), At{}, Policy{}, false, codec.String, func(c click) string { return c.user })
	text := func(name record.Topic, compacted bool) Topic[string, string] {
		return Topic[string, string]{Name: name, Key: codec.String, Value: codec.String, Compacted: compacted}
	}
	minutes := AggregateWindows(Window(users, At{}, Policy{}, spec), At{}, "minutes", agg.Count[click](), StoreOptions[click]{})
	changes := WindowChanges(minutes, At{}, Policy{}, func(k string, _ Update[int64]) string { return k })
	To(changes, At{}, Policy{}, text("compacted", true))
	To(changes, At{}, Policy{}, text("plain", false))
	WindowsTo(minutes, At{}, Policy{}, winTopic)
	TableTo(Aggregate(users, At{}, "totals", agg.Count[click](), StoreOptions[click]{}), At{}, Policy{}, totals)
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	sinks := make(map[record.Topic]Sink)
	for _, sub := range plan.Subs {
		for _, s := range sub.Sinks {
			sinks[s.Topic] = s
		}
	}
	for _, want := range []Sink{
		{"compacted", SinkTable, spec}, {"plain", SinkOutput, window.Spec{}}, {"windows", SinkTable, spec},
		{"totals", SinkTable, window.Spec{}}, {"clicks-dlq", SinkDeadLetter, window.Spec{}},
	} {
		if sinks[want.Topic] != want {
			t.Errorf("%+v, want %+v", sinks[want.Topic], want)
		}
	}
	lines := plan.Fingerprint()
	for _, part := range []string{"source clicks\n", "store totals key=string value=count as int64 window=none\n", "window=tumbling 1m0s, kept 1h0m0s\n", "repartition sinks-minutes-repartition\n"} {
		if !strings.Contains(lines, part) {
			t.Errorf("%q is missing in\n%s", part, lines)
		}
	}
}

// What a commit will tell a watcher takes memory too, which grows with the changed
// keys: an engine that did not know of it would not commit in time.
func TestOpenMemoryCountsWhatAWatcherWillBeTold(t *testing.T) {
	open := func(watched bool) int64 {
		g := NewGraph("count")
		from := raw
		from.Keyed = true
		clicks := TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{Label: "parse"}, Policy{}, parseClick)
		users := GroupBy(clicks, At{Label: "user"}, Policy{}, true, codec.String, func(c click) string { return c.user })
		table := Aggregate(users, At{}, "user-total", agg.Count[click](), StoreOptions[click]{})
		if watched {
			table.View.Watch(func() Observer[string, int64] { return nil })
		}
		plan, err := g.Plan()
		if err != nil {
			t.Fatal(err)
		}
		task := newTestTask(t, &plan.Subs[0])
		if err := task.Process(batchOf(0, "ana /", "bob /", "ana /"), &sent{plan: &plan.Subs[0]}); err != nil {
			t.Fatal(err)
		}
		return task.Memory().OpenBytes
	}
	const change = 40 // a key, two results, and whether it is new
	if without, with := open(false), open(true); with != without+2*change {
		t.Errorf("two changed keys take %d bytes watched and %d bytes unwatched", with, without)
	}
}

// A large transaction must not make the next one look large: an engine would
// commit for ever.
func TestOpenMemoryEndsWithTheTransaction(t *testing.T) {
	for name, g := range map[string]*Graph{
		"keyed": countJob(true), "pre-aggregated": countJob(false),
		"windowed": windowJob(false, tenSeconds, agg.Count[click](), EmitFinal),
	} {
		plan, err := g.Plan()
		if err != nil {
			t.Fatal(err)
		}
		task, s := newTestTask(t, &plan.Subs[0]), &sent{plan: &plan.Subs[0]}
		var many []string
		for i := range 3000 {
			many = append(many, fmt.Sprintf("user-%d /", i))
		}
		if err := task.Process(batchOf(0, many...), s); err != nil {
			t.Fatal(err)
		}
		large := task.Memory()
		if large.OpenKeys < 3000 || large.OpenBytes < 3000*16 {
			t.Errorf("%s: %+v with 3000 open keys", name, large)
		}
		if err := task.Prepare(s); err != nil {
			t.Fatal(err)
		}
		task.Commit()
		if m := task.Memory(); m.OpenKeys != 0 || m.OpenBytes != 0 {
			t.Errorf("%s: %+v after the commit", name, m)
		}
		if err := task.Process(batchOf(0, "ana /"), s); err != nil {
			t.Fatal(err)
		}
		if m := task.Memory(); m.OpenKeys != 1 || m.OpenBytes > large.OpenBytes/100 {
			t.Errorf("%s: %+v with one open key", name, m)
		}
	}
}
