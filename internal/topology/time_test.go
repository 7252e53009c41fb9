package topology

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

// tick moves the wall clock of all tasks and commits those that want to.
func (w *world) tick(d time.Duration) (due int) {
	w.now = w.now.Add(d)
	for _, k := range w.tasks {
		if k.task.Tick(w.now) {
			due++
			k.commit()
		}
	}
	return due
}

// note that all partitions are read to their ends.
func (w *world) readEmpty() {
	for _, k := range w.tasks {
		for i, s := range k.sub.Sources {
			if !s.Repartition() {
				if err := k.task.Process(&Batch{Source: i, Partition: k.partition, AtEnd: true}, k); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

func (w *world) click(p record.Partition, at record.Timestamp, user string) {
	w.add("clicks", p, entry{key: []byte(user), value: []byte(user + " /"), at: at})
}

func finalsOf(t *testing.T, spec window.Spec, wallClock bool, partitions int32) *world {
	t.Helper()
	g := NewGraph("windows")
	users := GroupBy(TryMap(From(g, At{}, Policy{}, 0, raw), "TryMap", At{}, Policy{}, parseClick), At{}, Policy{}, false, codec.String, func(c click) string { return c.user })
	w := Window(users, At{}, Policy{}, spec)
	To(Late(w), At{}, Policy{}, lateTopic)
	WindowsTo(AggregateWindows(w, At{}, "per-window", agg.Count[click](), StoreOptions[click]{Emit: EmitFinal, WallClock: wallClock}), At{}, Policy{}, winTopic)
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	return newWorld(t, 1, plan, partitions)
}

// settle lets records and then markers reach the end.
func (w *world) settle() {
	w.draining = false
	w.drain()
	w.drain()
}

var tenSeconds = window.Tumbling(10 * time.Second)

func TestIdlePartitionStepsAside(t *testing.T) {
	w := finalsOf(t, tenSeconds, false, 2)
	w.click(0, 1_000, "ana")
	w.click(0, 25_000, "ana")
	w.settle()
	same(t, "finals while partition 1 has told no time", len(w.all("windows")), 0)
	st := w.tasks[3].task.Stats()
	same(t, "who holds the watermark", st.HeldBy, "task 1 of windows-per-window-repartition")
	same(t, "the watermark", st.Watermark, record.NoTimestamp)
	if w.readEmpty(); w.tick(time.Second) != 0 {
		t.Error("something is due after a second")
	}
	if w.tick(10*time.Second) == 0 {
		t.Error("nothing is due although both partitions are idle")
	}
	w.settle()
	// Both are idle now: the watermark stays where the active one had brought it.
	same(t, "finals when all are idle", len(w.all("windows")), 0)
	w.click(0, 26_000, "ana")
	w.settle()
	same(t, "finals when partition 1 is idle", lines(w.all("windows"), showCount), "[ana[0,10000)=1]")

	// It wakes up with an old record: its window is closed, which is no secret.
	w.click(1, 2_000, "bob")
	w.settle()
	if n := len(w.all("windows-dlq")); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	if st := w.stats(); st.Late != 1 || st.DeadLetters[Refusal{"Aggregate per-window", ReasonLate}] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSlowPartitionIsNotIdle(t *testing.T) {
	w := finalsOf(t, tenSeconds, false, 2)
	w.click(0, 25_000, "ana")
	w.click(1, 1_000, "bob")
	w.click(1, 26_000, "bob")
	first := func() {
		for _, k := range w.tasks {
			if k.sub.ID == 0 && k.read[0] < 1+int(1-k.partition) { // partition 1 is not read to its end
				k.process(1)
				k.commit()
			}
		}
	}
	w.draining = true
	first()
	w.tick(time.Second)
	w.tick(time.Minute)
	w.click(0, 27_000, "ana") // partition 0 goes on
	first()
	for _, k := range w.tasks {
		if k.sub.ID == 1 {
			for k.process(9) {
			}
			k.commit()
		}
	}
	same(t, "finals", len(w.all("windows")), 0)
	w.settle()
	same(t, "finals", lines(w.all("windows"), showCount), "[bob[0,10000)=1]")
}

func TestWallClockClosesWindows(t *testing.T) {
	w := finalsOf(t, tenSeconds.Grace(2*time.Second), true, 2)
	w.click(0, 1_000, "ana")
	w.click(1, 4_000, "bob")
	w.settle()
	w.readEmpty()
	w.tick(time.Second)
	w.tick(6 * time.Second) // idle since the last tick
	w.settle()
	same(t, "finals at once", len(w.all("windows")), 0)
	w.tick(time.Second) // the tasks downstream have heard: event time goes on from 4 s
	w.tick(7 * time.Second)
	w.settle()
	same(t, "finals at 11 s", len(w.all("windows")), 0)
	w.tick(time.Second)
	w.settle()
	same(t, "finals at 12 s", lines(w.all("windows"), showCount), "[ana[0,10000)=1 bob[0,10000)=1]")
	if w.tick(time.Second) != 0 {
		t.Error("something is due for ever")
	}
}

func TestHostileTimesCloseNothing(t *testing.T) {
	w := finalsOf(t, tenSeconds, false, 1)
	now := record.TimestampOf(w.now)
	w.click(0, 1_000, "ana")
	for i, at := range []record.Timestamp{-1, noMark, 1<<63 - 1, lastTime, now + 3_600_001} {
		w.click(0, at, fmt.Sprintf("evil-%d", i))
	}
	w.click(0, 2_000, "ana")
	w.click(0, 12_000, "ana")
	w.settle()
	same(t, "finals", lines(w.all("windows"), showCount), "[ana[0,10000)=2]")
	refused := w.stats().DeadLetters
	if len(refused) != 1 || refused[Refusal{"Window tumbling 10s", ReasonTimestamp}] != 5 {
		t.Errorf("%v", refused)
	}
	if n := len(w.all("clicks-dlq")); n != 5 {
		t.Errorf("%d dead letters", n)
	}
}

// The time of a click is in the click, and its record's says nothing. Disorder
// keeps the watermark back.
func TestEventTime(t *testing.T) {
	type timed struct {
		user string
		at   record.Timestamp
	}
	read := func(b []byte) (c timed, err error) {
		if _, err := fmt.Sscan(string(b), &c.user, &c.at); err != nil {
			return c, errors.New("no time")
		}
		return c, nil
	}
	g := NewGraph("timed")
	clicks := TryMap(From(g, At{}, Policy{}, 0, raw), "TryMap", At{}, Policy{}, read)
	at := EventTime(clicks, At{}, Policy{}, 3_000, func(c timed) record.Timestamp { return c.at })
	w := Window(GroupBy(at, At{}, Policy{}, false, codec.String, func(c timed) string { return c.user }), At{}, Policy{}, tenSeconds)
	late := MapValues(Late(w), "MapValues", At{}, Policy{}, func(c timed) string { return fmt.Sprint(c.at) })
	To(late, At{}, Policy{}, Topic[string, string]{Name: "late", Key: codec.String, Value: codec.String})
	WindowsTo(AggregateWindows(w, At{}, "per-window", agg.Count[timed](), StoreOptions[timed]{Emit: EmitFinal}), At{}, Policy{}, winTopic)
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	world := newWorld(t, 1, plan, 1)
	for _, at := range []int{1_000, 12_000, 9_000, 13_000, 8_000, 14_000} {
		world.add("clicks", 0, entry{value: fmt.Appendf(nil, "ana %d", at), at: -1})
	}
	world.settle()
	same(t, "finals", lines(world.all("windows"), showCount), "[ana[0,10000)=2]")
	same(t, "late", lines(world.all("late"), func(e entry) string { return string(e.value) }), "[8000]")
	same(t, "times of the results", world.all("windows")[0].at, record.Timestamp(9_999))
}

// A merge waits for the slower of two topics.
func TestMergedTopicsShareAWatermark(t *testing.T) {
	g := NewGraph("merged")
	other := raw
	other.Name = "other"
	both := Merge(At{}, From(g, At{}, Policy{}, 0, raw), From(g, At{}, Policy{}, 0, other))
	w := Window(GroupBy(TryMap(both, "TryMap", At{}, Policy{}, parseClick), At{}, Policy{}, false, codec.String, func(c click) string { return c.user }), At{}, Policy{}, tenSeconds)
	WindowsTo(AggregateWindows(w, At{}, "per-window", agg.Count[click](), StoreOptions[click]{Emit: EmitFinal}), At{}, Policy{}, winTopic)
	plan, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	world := newWorld(t, 1, plan, 2)
	for p := range record.Partition(2) {
		world.click(p, 1_000, "ana")
		world.click(p, 30_000, "ana")
		world.add("other", p, entry{value: []byte("ana /"), at: 5_000})
	}
	world.settle()
	same(t, "finals", len(world.all("windows")), 0)
	for p := range record.Partition(2) {
		world.add("other", p, entry{value: []byte("ana /"), at: 11_000})
	}
	world.settle()
	same(t, "finals", lines(world.all("windows"), showCount), "[ana[0,10000)=4]")
}

// A marker costs one record per partition, and only when something has changed.
func TestMarkersOnlyWhenChanged(t *testing.T) {
	w := finalsOf(t, tenSeconds, false, 3)
	w.click(0, 1_000, "ana")
	w.settle()
	markers := func() (n int) {
		for _, e := range w.all("windows-per-window-repartition") {
			if e.key == nil {
				n++
			}
		}
		return n
	}
	same(t, "markers", markers(), 3)
	w.settle()
	same(t, "markers after empty commits", markers(), 3)
	w.click(0, 900, "ana")
	w.settle()
	same(t, "markers after an older record, which moves the input", markers(), 6)
}

func TestProgressOfAnotherShapeIsRefused(t *testing.T) {
	w := finalsOf(t, tenSeconds, false, 2)
	k := w.tasks[len(w.tasks)-1]
	good := k.task.AppendProgress(nil)
	for name, b := range map[string][]byte{
		"empty": {}, "version": append([]byte{9}, good[1:]...), "cut off": good[:len(good)-1], "longer": append(good, 0),
		"of another task": w.tasks[0].task.AppendProgress(nil),
	} {
		if err := k.task.LoadProgress(b); !errors.Is(err, ErrProgress) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := k.task.LoadProgress(good); err != nil {
		t.Error(err)
	}
}

func FuzzLoadProgress(f *testing.F) {
	plan, err := windowJob(false, tenSeconds, agg.Count[click](), EmitFinal).Plan()
	if err != nil {
		f.Fatal(err)
	}
	task, err := plan.Subs[1].NewTask(TaskConfig{Upstream: []int32{2}, Now: time.UnixMilli(0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(task.AppendProgress(nil))
	f.Add([]byte{1, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := task.LoadProgress(b); err == nil && len(b) == 0 {
			t.Error("nothing was accepted")
		}
	})
}

func FuzzRepartitionRecord(f *testing.F) {
	plan, err := windowJob(false, tenSeconds, agg.Count[click](), EmitBoth).Plan()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("ana"), []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte(nil), appendMarker(nil, 1, told{reading: reading{mark: 5}}))
	f.Add([]byte("x"), []byte{kindPlain, 1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		task, err := plan.Subs[1].NewTask(TaskConfig{Upstream: []int32{2}, Now: time.UnixMilli(0)})
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(0, "")
		b.Keys[0], b.Values[0] = key, value
		s := &sent{plan: &plan.Subs[1]}
		if err := errors.Join(task.Process(b, s), task.Prepare(s)); err != nil {
			t.Error(err)
		}
		task.Commit()
	})
}

// A window that is over leaves the changelog by tombstones, so that compaction
// alone bounds it: what is left are the windows that are kept.
func TestExpiredWindowsLeaveTheChangelog(t *testing.T) {
	spec := tenSeconds.Grace(5 * time.Second).Keep(time.Minute)
	w := finalsOf(t, spec, false, 1)
	const clicks = 1000
	for i := range record.Timestamp(clicks) {
		w.click(0, i*10_000, fmt.Sprint("user-", i%7))
		if i%10 == 0 {
			w.settle()
		}
	}
	w.settle()
	w.settle()
	keeper := w.tasks[len(w.tasks)-1]
	newest := make(map[string]bool)
	for _, e := range keeper.changelogs[0] {
		if newest[string(e.key)] = true; e.value == nil {
			delete(newest, string(e.key))
		}
	}
	const kept = 1 + (5+60)/10 + 1 // the present one, those within grace and Keep, and the one that ends with them
	if n := len(newest); n == 0 || n > kept {
		t.Errorf("of %d windows the changelog has %d keys: %d at most are kept", clicks, n, kept)
	}
}
