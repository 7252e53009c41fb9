package topology

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"millrace/agg"
	"millrace/codec"
	"millrace/record"
	"millrace/window"
)

// benchClick is a click as a job would have it: its strings are views.
type benchClick struct {
	user, page string
	at         int64
}

var errNotClick = errors.New("not a click")

// scanClick reads {"user_id":"…","timestamp":…,"page":"…"}: about what a fast
// parser of the job does.
func scanClick(b []byte) (c benchClick, err error) {
	const head, mid = len(`{"user_id":"`), len(`","timestamp":`)
	if len(b) < head+mid || string(b[:head]) != `{"user_id":"` {
		return c, errNotClick
	}
	end := bytes.IndexByte(b[head:], '"')
	if end < 0 || len(b) < head+end+mid || string(b[head+end:head+end+mid]) != `","timestamp":` {
		return c, errNotClick
	}
	c.user = unsafe.String(&b[head], end)
	i := head + end + mid
	for ; i < len(b) && b[i]-'0' < 10; i++ {
		c.at = c.at*10 + int64(b[i]-'0')
	}
	if i+11 > len(b) || string(b[i:i+9]) != `,"page":"` {
		return c, errNotClick
	}
	rest := b[i+9:]
	if end = bytes.IndexByte(rest, '"'); end <= 0 {
		return c, errNotClick
	}
	c.page = unsafe.String(&rest[0], end)
	return c, nil
}

// benchBatches are clicks of the given number of users, as fetches bring them.
func benchBatches(users, records, size int) (all []*Batch) {
	rng := rand.New(rand.NewPCG(1, 1))
	for at := 0; at < records; at += size {
		b := &Batch{}
		block := make([]byte, 0, size*80)
		for i := range size {
			start := len(block)
			user := fmt.Sprintf("u%06d", rng.IntN(users))
			block = fmt.Appendf(block, `{"user_id":"%s","timestamp":%d,"page":"/home"}`, user, 1_700_000_000_000+at+i)
			b.Offsets = append(b.Offsets, record.Offset(at+i))
			b.Timestamps = append(b.Timestamps, record.Timestamp(1_700_000_000_000+int64(at+i)))
			b.Keys = append(b.Keys, nil)
			b.Values = append(b.Values, block[start:len(block):len(block)])
		}
		all = append(all, b)
	}
	return all
}

type discard struct{ sends, bytes int }

func (d *discard) Send(_ int, _ record.Partition, key, value []byte, _ record.Timestamp, _ []record.Header) {
	d.sends++
	d.bytes += len(key) + len(value)
}

func benchGraph(keyed, windowed bool) *Graph {
	g := NewGraph("bench")
	from := raw
	from.Keyed = keyed
	clicks := TryMap(From(g, At{}, Policy{}, 0, from), "TryMap", At{Label: "scan"}, Policy{}, scanClick)
	users := GroupBy(clicks, At{Label: "user"}, Policy{}, true, codec.String, func(c benchClick) string { return c.user })
	if windowed {
		w := Window(users, At{}, Policy{}, window.Tumbling(time.Minute).Grace(5*time.Second))
		WindowsTo(AggregateWindows(w, At{}, "per-minute", agg.Count[benchClick](), StoreOptions[benchClick]{}), At{}, Policy{}, winTopic)
		return g
	}
	TableTo(Aggregate(users, At{}, "user-total", agg.Count[benchClick](), StoreOptions[benchClick]{}), At{}, Policy{}, totals)
	return g
}

// cpu is the processor time that this process has used: on a busy machine it
// tells more than the clock.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStep is one record through parse, group and count; commits every
// 100,000 records are not counted.
func BenchmarkStep(b *testing.B) {
	for _, keyed := range []bool{true, false} {
		for _, windowed := range []bool{false, true} {
			for _, users := range []int{10_000, 1_000_000} {
				b.Run(fmt.Sprintf("keyed=%v/windowed=%v/users=%d", keyed, windowed, users), func(b *testing.B) {
					benchmarkStep(b, benchGraph(keyed, windowed), users)
				})
			}
		}
	}
}

func benchmarkStep(b *testing.B, g *Graph, users int) {
	plan, err := g.Plan()
	if err != nil {
		b.Fatal(err)
	}
	task, err := plan.Subs[0].NewTask(TaskConfig{Now: time.UnixMilli(1_800_000_000_000)})
	if err != nil {
		b.Fatal(err)
	}
	batches := benchBatches(users, max(200_000, users), 8192)
	out := &discard{}
	commit := func() {
		if err := task.Prepare(out); err != nil {
			b.Fatal(err)
		}
		task.Commit()
	}
	var used time.Duration
	round := func(count bool) (records int) {
		for i, batch := range batches {
			start := cpu()
			if err := task.Process(batch, out); err != nil {
				b.Fatal(err)
			}
			if count {
				used += cpu() - start
			}
			if i%12 == 11 {
				b.StopTimer()
				commit()
				b.StartTimer()
			}
			records += batch.Len()
			for j := range batch.Timestamps {
				batch.Timestamps[j] += record.Timestamp(len(batches) * 8192) // time goes on
			}
		}
		return records
	}
	round(false)
	commit()
	b.ReportAllocs()
	b.ResetTimer()
	records := 0
	for records < b.N {
		records += round(true)
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(records), "cpu-ns/record")
}

// BenchmarkPrepare is one dirty key of a commit: result, its encoding, and the
// changelog record.
func BenchmarkPrepare(b *testing.B) {
	const users = 10_000
	plan, err := benchGraph(true, false).Plan()
	if err != nil {
		b.Fatal(err)
	}
	task, err := plan.Subs[0].NewTask(TaskConfig{Now: time.UnixMilli(1_800_000_000_000)})
	if err != nil {
		b.Fatal(err)
	}
	batches, out := benchBatches(users, users, 8192), &discard{}
	b.ReportAllocs()
	var used time.Duration
	keys := 0
	for b.Loop() {
		b.StopTimer()
		for _, batch := range batches {
			if err := task.Process(batch, out); err != nil {
				b.Fatal(err)
			}
		}
		keys += task.Memory().OpenKeys
		start := cpu()
		b.StartTimer()
		if err := task.Prepare(out); err != nil {
			b.Fatal(err)
		}
		if err := task.Tables()[0].Changes(func(k, v []byte) { out.bytes += len(k) + len(v) }); err != nil {
			b.Fatal(err)
		}
		task.Commit()
		used += cpu() - start
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(keys), "cpu-ns/key")
}

// BenchmarkScan is the parser alone.
func BenchmarkScan(b *testing.B) {
	batch := benchBatches(10_000, 8192, 8192)[0]
	i, start := 0, cpu()
	defer func() { b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(b.N), "cpu-ns/record") }()
	for b.Loop() {
		if _, err := scanClick(batch.Values[i&8191]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
