package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"millrace/record"
)

const benchKeys = 1_000_000

func benchKey(i int) []byte { return fmt.Appendf(nil, "u%09d", i) }

// openBench is a store with benchKeys entries of 8 bytes in one part, as a
// restore leaves it.
func openBench(b *testing.B, cache int64) (*DB, *Part) {
	d, err := Open(b.TempDir(), Options{CacheBytes: cache, MemTableBytes: 4 << 20})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	p, err := d.Part("a", 0)
	if err != nil {
		b.Fatal(err)
	}
	order := rand.New(rand.NewPCG(1, 2)).Perm(benchKeys)
	for chunk := range slices.Chunk(order, 20_000) {
		f := d.NewFlush()
		for _, i := range chunk {
			f.To(p).Put(benchKey(i), []byte("12345678"))
		}
		f.SetPosition(p, Position{Next: record.Offset(1)})
		if err := f.Apply(); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.db.Flush(); err != nil {
		b.Fatal(err)
	}
	for d.db.Metrics().Compact.NumInProgress > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	return d, p
}

// cpu is the processor time of this process: on a busy machine the better measure.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGet reads keys at random from a store whose blocks do not fit into
// the cache: of a million keys, filters and index take 1.5 MiB.
func BenchmarkGet(b *testing.B) {
	for _, cache := range []int64{3 << 19, 3 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("cache=%dKiB", cache>>10), func(b *testing.B) {
			_, p := openBench(b, cache)
			r, err := p.NewReader()
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(3, 4))
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if _, ok, err := r.Get(benchKey(rng.IntN(benchKeys))); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
