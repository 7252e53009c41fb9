package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
)

type click struct{ user, page string }

// parseClick reads "user page".
func parseClick(b []byte) (click, error) {
	user, page, ok := strings.Cut(string(b), " ")
	if !ok {
		return click{}, errors.New("no page")
	}
	return click{user, page}, nil
}

var (
	raw    = Topic[[]byte, []byte]{Name: "clicks", Key: codec.Bytes, Value: codec.Bytes}
	totals = Topic[string, int64]{Name: "totals", Key: codec.String, Value: codec.Int64}
)

func countJob(keyed bool) *Graph {
	g := NewGraph("count")
	from := raw
	from.Keyed = keyed
	clicks := TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{Label: "parse"}, Policy{}, parseClick)
	users := GroupBy(clicks, At{Label: "user"}, Policy{}, true, codec.String, func(c click) string { return c.user })
	TableTo(Aggregate(users, At{}, "user-total", agg.Count[click](), StoreOptions[click]{}), At{}, Policy{}, totals)
	return g
}

// sent is what a task has sent, as text.
type sent struct {
	plan  *Sub
	lines []string
}

func (s *sent) Send(sink int, to record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header) {
	line := fmt.Sprintf("%s %d %q=%q @%d", s.plan.Sinks[sink].Topic, to, key, value, ts)
	for _, h := range headers {
		line += fmt.Sprintf(" %s:%s", h.Key, h.Value)
	}
	s.lines = append(s.lines, line)
}

func batchOf(source int, values ...string) *Batch {
	b := &Batch{Source: source}
	for i, v := range values {
		user, _, _ := strings.Cut(v, " ")
		b.Offsets = append(b.Offsets, record.Offset(i))
		b.Timestamps = append(b.Timestamps, record.Timestamp(1000+i))
		b.Keys = append(b.Keys, []byte(user))
		b.Values = append(b.Values, []byte(v))
	}
	return b
}

func newTestTask(t *testing.T, sub *Sub) Task {
	t.Helper()
	upstream := make([]int32, len(sub.Sources))
	for i := range upstream {
		upstream[i] = 1
	}
	task, err := sub.NewTask(TaskConfig{Upstream: upstream, Partitions: upstream, Now: time.UnixMilli(5000)})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestThreadKeyed(t *testing.T) {
	plan, err := countJob(true).Plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Subs) != 1 {
		t.Fatalf("%d sub-topologies", len(plan.Subs))
	}
	task := newTestTask(t, &plan.Subs[0])
	s := &sent{plan: &plan.Subs[0]}
	if err := errors.Join(task.Process(batchOf(0, "ana /", "bob /", "broken", "ana /x"), s), task.Prepare(s)); err != nil {
		t.Fatal(err)
	}
	task.Commit()
	want := `clicks-dlq -1 "broken"="broken" @1002 millrace.error:no page millrace.reason:error millrace.source:clicks/0/2 millrace.stage:TryMap parse
totals -1 "ana"="\x00\x00\x00\x00\x00\x00\x00\x02" @1003
totals -1 "bob"="\x00\x00\x00\x00\x00\x00\x00\x01" @1001`
	if got := strings.Join(s.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if st := task.Stats(); st.Records != 4 || st.DeadLetters[Refusal{"TryMap parse", ReasonError}] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestThreadRepartitioned(t *testing.T) {
	plan, err := countJob(false).Plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Subs) != 2 || plan.Subs[1].Sources[0].Upstream != 0 {
		t.Fatalf("%+v", plan.Subs)
	}
	first := newTestTask(t, &plan.Subs[0])
	s := &sent{plan: &plan.Subs[0]}
	if err := errors.Join(first.Process(batchOf(0, "ana /", "bob /", "ana /x"), s), first.Prepare(s)); err != nil {
		t.Fatal(err)
	}
	first.Commit()
	if len(s.lines) != 3 || !strings.HasPrefix(s.lines[2], `count-user-total-repartition -2 ""="\x03\x00\x00\x00\x01\x06clicks\x00\x03\x00"`) {
		t.Fatalf("%q", s.lines)
	}
	second := newTestTask(t, &plan.Subs[1])
	b := batchOf(0, "\x01\x00\x00\x00\x00\x00\x00\x00\x02", "\x01\x00\x00\x00\x00\x00\x00\x00\x05", "junk")
	b.Keys = [][]byte{[]byte("ana"), []byte("ana"), nil}
	s = &sent{plan: &plan.Subs[1]}
	if err := errors.Join(second.Process(b, s), second.Prepare(s)); err != nil {
		t.Fatal(err)
	}
	want := `count-dlq -1 ""="junk" @1002 millrace.error:not a record of this job: has another program written to its topic? millrace.reason:decode millrace.source:count-user-total-repartition/0/2 millrace.stage:Repartitioned count-user-total-repartition
totals -1 "ana"="\x00\x00\x00\x00\x00\x00\x00\a" @1001`
	if got := strings.Join(s.lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var changes []string
	if err := second.Tables()[0].Changes(func(k, v []byte) { changes = append(changes, fmt.Sprintf("%q=%q", k, v)) }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(changes) != `["ana"="\x00\x00\x00\x00\x00\x00\x00\a"]` {
		t.Errorf("%v", changes)
	}
	second.Abort()
	if n := second.Memory().OpenKeys; n != 0 {
		t.Errorf("%d open keys after the abort", n)
	}
}
