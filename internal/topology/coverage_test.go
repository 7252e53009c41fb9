package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

// braided makes what several tasks have committed lie between each other in the
// topics, each task's records in their order: as several instances write, and so
// that a read may end within what belongs together.
type braided struct {
	*world
	pipes map[*worker][]send
}

func newBraided(w *world) *braided {
	b := &braided{w, make(map[*worker][]send)}
	w.deliver = func(k *worker, sends []send) { b.pipes[k] = append(b.pipes[k], sends...) }
	return b
}

// flow lets up to n records out of the pipe of some task.
func (b *braided) flow(n int) {
	for range n {
		k := b.tasks[b.rng.IntN(len(b.tasks))]
		if len(b.pipes[k]) > 0 {
			s := b.pipes[k][0]
			b.pipes[k] = b.pipes[k][1:]
			b.add(s.topic, s.to, s.entry)
		}
	}
}

func (b *braided) pending() bool {
	for _, p := range b.pipes {
		if len(p) > 0 {
			return true
		}
	}
	return false
}

// finish lets all reach its end.
func (b *braided) finish() {
	for {
		b.drain()
		if !b.pending() {
			return
		}
		for b.pending() {
			b.flow(100)
		}
	}
}

// reading is the task as an engine gives it to a view.
func (k *worker) reading() Reading {
	r := Reading{Sub: k.sub.ID, Partition: k.partition, Task: k.task, Offsets: make(map[record.TopicPartition]record.Offset)}
	for i, s := range k.sub.Sources {
		if !s.Repartition() {
			r.Offsets[record.TopicPartition{Topic: s.Topic, Partition: k.partition}] = record.Offset(k.committed[i])
		}
	}
	return r
}

// recount counts a user's clicks of the input up to where bound says, by hand.
func (w *world) recount(user string, bound func(Span) record.Offset, c Coverage) (n int64) {
	for p, log := range w.topic("clicks") {
		span := c[record.TopicPartition{Topic: "clicks", Partition: record.Partition(p)}]
		for _, e := range log[:min(int(bound(span)), len(log))] {
			if one, err := parseClick(e.value); err == nil && one.user == user {
				n++
			}
		}
	}
	return n
}

func all(s Span) record.Offset  { return s.All }
func none(s Span) record.Offset { return s.None }

func usersOf(topic [][]entry) (users []string) {
	for _, log := range topic {
		for _, e := range log {
			if c, err := parseClick(e.value); err == nil && !slices.Contains(users, c.user) {
				users = append(users, c.user)
			}
		}
	}
	return users
}

// counts is a job that counts per user, in one of its shapes.
type counts struct {
	plan  *Plan
	store string
	get   func(Task, string) (int64, error)
}

func randomCounts(t *testing.T, rng *rand.Rand, keyed bool) counts {
	g := NewGraph("count")
	from := raw
	from.Keyed = keyed
	clicks := TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{Label: "parse"}, Policy{}, parseClick)
	users := GroupBy(clicks, At{Label: "user"}, Policy{}, true, codec.String, func(c click) string { return c.user })
	a := agg.Count[click]()
	if rng.IntN(2) == 0 {
		a.Merge = nil // each record crosses by itself, before the commit
	}
	c := counts{store: "per-user"}
	if rng.IntN(2) == 0 {
		table := Aggregate(users, At{}, c.store, a, StoreOptions[click]{Value: clickCodec{}})
		c.get = func(in Task, user string) (int64, error) {
			n, _, err := table.View.Get(in, user)
			return n, err
		}
	} else {
		windows := AggregateWindows(Window(users, At{}, Policy{}, window.Tumbling(300*time.Millisecond).Grace(time.Hour)), At{}, c.store, a, StoreOptions[click]{Value: clickCodec{}})
		c.get = func(in Task, user string) (n int64, err error) {
			err = windows.View.Each(in, user, func(u Update[int64]) { n += u.Result })
			return n, err
		}
	}
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	c.plan = plan
	return c
}

// The law: whatever the order of reads, commits, aborts and crashes, a count that
// is shown with a coverage is that of the input up to there, and no other.
func TestCountsAreOfWhatTheyCover(t *testing.T) {
	moved := 0
	seeds(t, 300, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 9))
		keyed := rng.IntN(4) == 0
		job := randomCounts(t, rng, keyed)
		partitions := 1 + rng.IntN(3)
		b := newBraided(newWorld(t, seed, job.plan, int32(partitions)))
		b.topics["clicks"] = randomClicks(rng, partitions, 60, keyed)
		users := usersOf(b.topics["clicks"])
		check := func(exact bool) {
			for _, k := range b.tasks {
				if len(k.sub.Stores) == 0 {
					continue
				}
				c := k.reading().Coverage(job.store)
				for _, user := range users {
					if record.PartitionFor([]byte(user), int32(partitions)) != k.partition {
						continue
					}
					got, err := job.get(k.task, user)
					if want := b.recount(user, all, c); got != want || err != nil {
						t.Fatalf("task %d shows %d clicks of %s, %v; up to %v there are %d", k.partition, got, user, err, c, want)
					}
				}
				for tp, s := range c {
					if s.All != s.None {
						t.Fatalf("%v is covered from %d to %d", tp, s.All, s.None)
					}
					if s.All > 0 && !exact {
						moved++
					}
					if exact && int(s.All) != len(b.topics["clicks"][tp.Partition]) {
						t.Fatalf("at the end %v is covered up to %d of %d", tp, s.All, len(b.topics["clicks"][tp.Partition]))
					}
				}
			}
		}
		for range 150 {
			b.step()
			b.flow(rng.IntN(6))
			check(false)
		}
		b.finish()
		check(true)
	})
	if moved == 0 {
		t.Error("nothing was ever covered before the end: the test shows nothing")
	}
}

// Behind two hops no single position is exact, but both bounds are.
func TestCountsBehindTwoHopsAreWithinTheirBounds(t *testing.T) {
	seeds(t, 100, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 10))
		g := NewGraph("hops")
		clicks := TryMap(From(g, At{}, Policy{}, 0, raw), "TryMap", At{}, Policy{}, parseClick)
		users := Aggregate(GroupBy(clicks, At{}, Policy{}, false, codec.String, func(c click) string { return c.user }), At{}, "users", agg.Count[click](), StoreOptions[click]{})
		most := Aggregate(GroupBy(ToStream(users), At{}, Policy{}, false, codec.Int64, func(int64) int64 { return 0 }), At{}, "most", agg.Max(func(n int64) int64 { return n }), StoreOptions[int64]{})
		plan, err := g.Plan()
		if err != nil {
			t.Fatal(err)
		}
		partitions := 1 + rng.IntN(3)
		b := newBraided(newWorld(t, seed, plan, int32(partitions)))
		b.topics["clicks"] = randomClicks(rng, partitions, 60, false)
		names := usersOf(b.topics["clicks"])
		key, _ := codec.Int64.Append(nil, 0) // int64s are always written
		check := func() {
			for _, k := range b.tasks {
				if len(k.sub.Stores) == 0 || k.sub.Stores[0].Name != "most" || record.PartitionFor(key, int32(partitions)) != k.partition {
					continue
				}
				got, _, err := most.View.Get(k.task, 0)
				if err != nil {
					t.Fatal(err)
				}
				c := k.reading().Coverage("most")
				var low, high int64
				for _, user := range names {
					low, high = max(low, b.recount(user, all, c)), max(high, b.recount(user, none, c))
				}
				if got < low || got > high {
					t.Fatalf("%d is the most; from %d to %d were expected of %v", got, low, high, c)
				}
			}
		}
		for range 150 {
			b.step()
			b.flow(rng.IntN(6))
			check()
		}
		b.finish()
		check()
	})
}

// Records and markers of a version that did not tell what they cover are read
// on; until a marker tells, nothing is claimed and nothing ruled out.
func TestOldMarkersClaimNothing(t *testing.T) {
	plan, err := countJob(false).Plan()
	if err != nil {
		t.Fatal(err)
	}
	sub := &plan.Subs[1]
	task, err := sub.NewTask(TaskConfig{Upstream: []int32{2}, Now: time.UnixMilli(5000)})
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(0, "\x01\x00\x00\x00\x00\x00\x00\x00\x02", "\x00\x01\x0a\x00")
	b.Keys = [][]byte{[]byte("ana"), nil}
	s := &sent{plan: sub}
	step := func(b *Batch) string {
		if err := errors.Join(task.Process(b, s), task.Prepare(s)); err != nil {
			t.Fatal(err)
		}
		task.Commit()
		return fmt.Sprint(Reading{Task: task}.Coverage("user-total"))
	}
	same(t, "coverage of old records", step(b), fmt.Sprintf("map[clicks-0:{0 %d} clicks-1:{0 %d}]", NoBound, NoBound))

	told := appendMarker(nil, 1, told{covers: covers{{record.TopicPartition{Topic: "clicks", Partition: 1}, Span{7, 7}}}})
	b = batchOf(0, "\x04\x01\x00\x00\x00\x00\x00\x00\x00\x03", string(told))
	b.Keys, b.Offsets = [][]byte{[]byte("ana"), nil}, []record.Offset{2, 3}
	same(t, "coverage when one task has told", step(b), fmt.Sprintf("map[clicks-0:{0 %d} clicks-1:{7 7}]", NoBound))
	same(t, "what was refused", len(s.lines)-1, 1) // two results of ana, no dead letter

	// A start from old progress knows as little.
	old := task.AppendProgress(nil)[:4]
	old[0] = oldProgressVersion
	if task, err = sub.NewTask(TaskConfig{Upstream: []int32{2}, Now: time.UnixMilli(5000)}); err != nil {
		t.Fatal(err)
	}
	if err := task.LoadProgress(old); err != nil {
		t.Fatal(err)
	}
	same(t, "coverage after old progress", fmt.Sprint(Reading{Task: task}.Coverage("user-total")), fmt.Sprintf("map[clicks-0:{0 %d} clicks-1:{0 %d}]", NoBound, NoBound))
}

// What belongs to a commit upstream that is not whole is held back, and a commit
// claims only what is before it.
func TestHalfACommitIsHeldBack(t *testing.T) {
	plan, err := countJob(false).Plan()
	if err != nil {
		t.Fatal(err)
	}
	task, err := plan.Subs[1].NewTask(TaskConfig{Upstream: []int32{2}, Now: time.UnixMilli(5000)})
	if err != nil {
		t.Fatal(err)
	}
	s := &sent{plan: &plan.Subs[1]}
	b := batchOf(0, "\x04\x01\x00\x00\x00\x00\x00\x00\x00\x03")
	b.Keys = [][]byte{[]byte("ana")}
	b.Offsets[0] = 40
	if err := errors.Join(task.Process(b, s), task.Prepare(s)); err != nil {
		t.Fatal(err)
	}
	first, some := task.(Holder).Held(0)
	if len(s.lines) > 0 || !some || first != 40 || task.Memory().OpenBytes == 0 {
		t.Errorf("%q were sent, held %v from %d", s.lines, some, first)
	}
	task.Commit()
	task.Abort()
	if _, some := task.(Holder).Held(0); some {
		t.Error("an abort keeps what is read again")
	}
}
