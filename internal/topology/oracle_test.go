package topology

import (
	"encoding/binary"
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

// clicks are random clicks in partitions, a little out of order; some are broken.
func randomClicks(rng *rand.Rand, partitions, n int, byKey bool) [][]entry {
	topic := make([][]entry, partitions)
	for i := range n {
		user := fmt.Sprintf("user-%d", rng.IntN(1+rng.IntN(12)))
		if rng.IntN(5) == 0 {
			user += "-with-a-name-that-is-longer-than-a-word"
		}
		e := entry{
			key:   []byte(user),
			value: fmt.Appendf(nil, "%s /%d", user, rng.IntN(40)),
			at:    record.Timestamp(1000 + 40*i - rng.IntN(900)),
		}
		if rng.IntN(20) == 0 {
			e.value = []byte("broken")
		}
		p := rng.IntN(partitions)
		if byKey {
			p = int(record.PartitionFor(e.key, int32(partitions)))
		}
		topic[p] = append(topic[p], e)
	}
	return topic
}

// seeds runs f with some seeds, and prints the one that fails.
func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	for seed := range uint64(n) {
		if t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, seed) }); t.Failed() {
			return
		}
	}
}

func showCount(e entry) string {
	return fmt.Sprintf("%s=%d", e.key, binary.BigEndian.Uint64(e.value))
}

// newest are the last values of a table's topic.
func newest(all []entry) map[string]uint64 {
	m := make(map[string]uint64)
	for _, e := range all {
		m[string(e.key)] = binary.BigEndian.Uint64(e.value)
	}
	return m
}

func TestCountsDoNotDependOnCommits(t *testing.T) {
	seeds(t, 300, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		keyed := seed%2 == 0
		plan, err := countJob(keyed).Plan()
		if err != nil {
			t.Fatal(err)
		}
		partitions := 1 + rng.IntN(4)
		w := newWorld(t, seed, plan, int32(partitions))
		w.topics["clicks"] = randomClicks(rng, partitions, 200, keyed)
		w.run(150)

		want, broken := make(map[string]uint64), 0
		for _, e := range w.all("clicks") {
			if user, _, ok := strings.Cut(string(e.value), " "); ok {
				want[user]++
			} else {
				broken++
			}
		}
		if got := newest(w.all("totals")); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := len(w.all("clicks-dlq")); got != broken {
			t.Errorf("%d dead letters, %d broken clicks", got, broken)
		}
		if n := w.stats().Misplaced; n != 0 {
			t.Errorf("%d records are said to be misplaced", n)
		}
		w.checkRebuilt()
	})
}

var (
	winTopic  = Topic[Win[string], int64]{Name: "windows", Key: winTestCodec{}, Value: codec.Int64}
	lateTopic = Topic[string, click]{Name: "late", Key: codec.String, Value: clickCodec{}}
)

type clickCodec struct{}

func (clickCodec) Name() string { return "click" }
func (clickCodec) Append(dst []byte, c click) ([]byte, error) {
	return append(dst, c.user+" "+c.page...), nil
}
func (clickCodec) Decode(b []byte) (click, error) { return parseClick(b) }

type winTestCodec struct{}

func (winTestCodec) Name() string { return "win" }
func (winTestCodec) Append(dst []byte, w Win[string]) ([]byte, error) {
	return fmt.Appendf(dst, "%s[%d,%d)", w.Key, w.Window.Start, w.Window.End), nil
}
func (winTestCodec) Decode([]byte) (w Win[string], err error) { return w, nil }

func windowJob(keyed bool, spec window.Spec, a agg.Agg[click, int64, int64], emit Emit) *Graph {
	g := NewGraph("windows")
	from := raw
	from.Keyed = keyed
	clicks := TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{Label: "parse"}, Policy{}, parseClick)
	users := GroupBy(clicks, At{Label: "user"}, Policy{}, true, codec.String, func(c click) string { return c.user })
	w := Window(users, At{}, Policy{}, spec)
	To(Late(w), At{}, Policy{}, lateTopic)
	WindowsTo(AggregateWindows(w, At{}, "per-window", a, StoreOptions[click]{Emit: emit, Value: clickCodec{}}), At{}, Policy{}, winTopic)
	return g
}

// expectWindows is the naive model: per record and window, by the watermark of
// the record's own partition.
func expectWindows(topic [][]entry, spec window.Spec, final bool) (counts map[string]uint64, late int) {
	least := record.Timestamp(1 << 62)
	counted := make(map[Win[string]]uint64)
	for _, log := range topic {
		mark := record.Timestamp(-1)
		for _, e := range log {
			mark = max(mark, e.at)
			user, _, ok := strings.Cut(string(e.value), " ")
			if !ok {
				continue
			}
			inTime := false
			for start := record.Timestamp(0); start <= e.at; start += record.Timestamp(spec.Slide.Milliseconds()) {
				w := spec.At(start)
				if e.at < w.End && mark < spec.CloseAt(w) {
					counted[Win[string]{user, w}]++
					inTime = true
				}
			}
			if !inTime {
				late++
			}
		}
		least = min(least, mark)
	}
	counts = make(map[string]uint64)
	for k, n := range counted {
		if !final || spec.CloseAt(k.Window) <= least {
			b, _ := winTestCodec{}.Append(nil, k)
			counts[string(b)] = n
		}
	}
	return counts, late
}

func windowSpecOf(rng *rand.Rand) window.Spec {
	slide := time.Duration(1+rng.IntN(5)) * 200 * time.Millisecond
	spec := window.Tumbling(slide)
	if rng.IntN(2) == 0 {
		spec = window.Hopping(slide+time.Duration(rng.IntN(8))*100*time.Millisecond, slide)
	}
	return spec.Grace(time.Duration(rng.IntN(4)) * 150 * time.Millisecond).Keep(time.Duration(rng.IntN(2)) * time.Second)
}

func TestWindowsDoNotDependOnCommits(t *testing.T) {
	seeds(t, 400, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 3))
		keyed := rng.IntN(2) == 0
		spec := windowSpecOf(rng)
		a := agg.Count[click]()
		if rng.IntN(4) == 0 && spec.Size == spec.Slide {
			a.Merge = nil // every record crosses to its key's partition
		}
		emit := []Emit{EmitChanges, EmitFinal, EmitBoth}[rng.IntN(3)]
		plan, err := windowJob(keyed, spec, a, emit).Plan()
		if err != nil {
			t.Fatal(err)
		}
		partitions := 1 + rng.IntN(3)
		w := newWorld(t, seed, plan, int32(partitions))
		w.topics["clicks"] = randomClicks(rng, partitions, 150, keyed)
		w.run(200)

		if emit == EmitFinal {
			// A keyed task sees the watermark of its own partition only.
			want, _ := expectWindows(w.topics["clicks"], spec, true)
			if keyed {
				want = make(map[string]uint64)
				for _, log := range w.topics["clicks"] {
					one, _ := expectWindows([][]entry{log}, spec, true)
					maps.Copy(want, one)
				}
			}
			var text []string
			for k, n := range want {
				text = append(text, fmt.Sprintf("%s=%d", k, n))
			}
			slices.Sort(text)
			same(t, fmt.Sprintf("finals of %v, keyed %v", spec, keyed), lines(w.all("windows"), showCount), text)
		} else {
			want, _ := expectWindows(w.topics["clicks"], spec, false)
			if got := newest(w.all("windows")); !maps.Equal(got, want) {
				t.Errorf("%v, keyed %v, emit %v:\n got %v\nwant %v", spec, keyed, emit, got, want)
			}
		}
		_, late := expectWindows(w.topics["clicks"], spec, false)
		if got := len(w.all("late")); got != late {
			t.Errorf("%d late records, want %d", got, late)
		}
		w.checkRebuilt()
	})
}
