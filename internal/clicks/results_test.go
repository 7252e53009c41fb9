package clicks

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/record"
)

// TestRankingIsThatOfASort compares the incremental ranking with a sort of
// everything, for few names and many, so that names enter, leave and tie.
func TestRankingIsThatOfASort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]int{1, 5, 900, 1000, 1001, 3000}).Draw(t, "names")
		skew := rapid.Float64Range(1.01, 3).Draw(t, "skew")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		zipf := rand.NewZipf(random, skew, 10, uint64(names-1))
		counted := newTable(&budget{maxBytes: 1 << 30})
		slow := make(map[string]int64)
		for range rapid.IntRange(0, 6000).Draw(t, "clicks") {
			name := fmt.Sprint("user_", zipf.Uint64())
			counted.add(name)
			slow[name]++
		}
		var want []Count
		for name, clicks := range slow {
			want = append(want, Count{name, clicks})
		}
		slices.SortFunc(want, compareRank)
		for _, n := range []int{1, 10, MaxTop} {
			got := first(counted.ranked(), n)
			if !slices.Equal(got, want[:min(n, len(want))]) {
				t.Fatalf("the first %d are\n%v, want\n%v", n, got, want[:min(n, len(want))])
			}
		}
	})
}

func clicksOf(partition record.Partition, first, n int) *chunk {
	c := &chunk{partition: partition, next: record.Offset(first + n)}
	for i := first; i < first+n; i++ {
		c.clicks = append(c.clicks, Click{User: fmt.Sprintf("user_%d", i%7), Page: "/", At: record.Timestamp(i)})
	}
	return c
}

// TestAnswersAreExactAtTheirPosition reads while counting goes on: whatever
// position an answer names, its count is exactly that of the events below it.
func TestAnswersAreExactAtTheirPosition(t *testing.T) {
	r := newResults(1<<30, time.Time{})
	const chunks, size = 300, 70
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				totals := r.totals()
				if int64(totals.AsOf.Offsets[0]+totals.AsOf.Offsets[1]) != totals.Clicks {
					t.Errorf("%d clicks as of %v", totals.Clicks, totals.AsOf.Offsets)
					return
				}
				clicks, _, _, asOf := r.user("user_3")
				if want := int64(asOf.Offsets[0]+asOf.Offsets[1]) / 7; clicks != want {
					t.Errorf("user_3 has %d clicks as of %v, want %d", clicks, asOf.Offsets, want)
					return
				}
			}
		})
	}
	for i := range chunks {
		r.apply(clicksOf(record.Partition(i%2), i/2*size, size), time.Time{})
	}
	close(stop)
	readers.Wait()
	if got := r.totals().Clicks; got != chunks*size {
		t.Errorf("counted %d, want %d", got, chunks*size)
	}
}

func TestWatermarkIsTheLeastOfThePartitions(t *testing.T) {
	r := newResults(1<<30, time.Time{})
	if !r.totals().AsOf.Watermark.IsZero() {
		t.Error("a watermark before the first event")
	}
	r.apply(&chunk{partition: 0, next: 1, clicks: []Click{{User: "a", Page: "/", At: 9000}}}, time.Time{})
	r.apply(&chunk{partition: 1, next: 2, clicks: []Click{{User: "a", Page: "/", At: 5000}, {User: "a", Page: "/", At: 1000}}}, time.Time{})
	r.apply(&chunk{partition: 2, next: 1, dead: []DeadLetter{{Reason: NoValue, Events: 1}}}, time.Time{})
	if got, want := r.totals().AsOf.Watermark, record.Timestamp(5000).Time(); !got.Equal(want) {
		t.Errorf("the watermark is %v, want %v", got, want)
	}
}

func TestBudgetKeepsTotalsExact(t *testing.T) {
	r := newResults(2*entryOverheadBytes+20, time.Time{})
	one := func(user, page string) {
		r.apply(&chunk{clicks: []Click{{User: user, Page: page}}}, time.Time{})
	}
	for range 3 {
		one("ana", "/")
		one("bob", "/")
		one("ana", "/new")
	}
	totals := r.totals()
	if totals.Clicks != 9 || totals.Users != 1 || totals.Pages != 1 || totals.UntrackedUserClicks != 3 || totals.UntrackedPageClicks != 3 {
		t.Errorf("totals are %+v", totals)
	}
	if clicks, known, complete, _ := r.user("ana"); clicks != 6 || !known || !complete {
		t.Errorf("ana: %d %v %v", clicks, known, complete)
	}
	if _, known, complete, _ := r.user("bob"); known || complete {
		t.Errorf("bob: known %v, complete %v; nobody can tell", known, complete)
	}
	r.reset(time.Time{})
	if totals := r.totals(); totals.Clicks != 0 || totals.UntrackedUserClicks != 0 || r.memoryBytes() != 0 {
		t.Errorf("after a reset: %+v", totals)
	}
}

// TestMemoryBudgetHolds compares the accounted bytes with the heap.
func TestMemoryBudgetHolds(t *testing.T) {
	for _, length := range []int{8, 40, 200} {
		before := heapBytes()
		b := &budget{maxBytes: 1 << 40}
		counted := newTable(b)
		for i := range 200_000 {
			counted.add(fmt.Sprintf("%0*d", length, i))
		}
		heap := heapBytes() - before
		if heap > b.usedBytes {
			t.Errorf("names of %d bytes: %d bytes accounted, %d on the heap", length, b.usedBytes, heap)
		}
		runtime.KeepAlive(counted)
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestDeadLettersKeepTheNewest(t *testing.T) {
	d := newDeadLetters()
	for i := range 2*MaxDeadLetters + 7 {
		d.add(DeadLetter{Offset: record.Offset(i), Events: 1, Reason: Reasons()[i%2]})
	}
	letters := d.newest(MaxDeadLetters + 1)
	if len(letters) != MaxDeadLetters || letters[0].Offset != 2*MaxDeadLetters+6 || letters[len(letters)-1].Offset != MaxDeadLetters+7 {
		t.Errorf("%d letters from %d to %d", len(letters), letters[0].Offset, letters[len(letters)-1].Offset)
	}
	if got := d.reasons(); got[NoValue] != MaxDeadLetters+4 || got[InvalidUTF8] != MaxDeadLetters+3 {
		t.Errorf("by reason: %v", got)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, users := range []int{100, 1_000_000} {
		b.Run(fmt.Sprint(users, " users"), func(b *testing.B) {
			r := newResults(1<<40, time.Time{})
			random := rand.New(rand.NewPCG(1, 2))
			c := &chunk{}
			for range chunkRecords {
				c.clicks = append(c.clicks, Click{Page: "/"})
			}
			names := make([]string, users)
			for i := range names {
				names[i] = fmt.Sprintf("user_%d", i)
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range c.clicks {
					c.clicks[i].User = names[random.IntN(users)]
				}
				r.apply(c, time.Time{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/chunkRecords, "ns/click")
		})
	}
}
