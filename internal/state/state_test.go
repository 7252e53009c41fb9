package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/codec"
	"millrace/record"
)

// anyKeys are strings of all lengths around the limit of short keys, with zero
// bytes, and few enough to repeat.
func anyKeys() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		n := rapid.IntRange(0, 20).Draw(t, "len")
		return strings.Repeat("\x00", n) + rapid.SampledFrom([]string{"", "a", "b", "\xff", "ab"}).Draw(t, "tail")
	})
}

func TestIndexIsAMap(t *testing.T) {
	t.Run("string", func(t *testing.T) { checkIndex(t, anyKeys()) })
	type name string
	t.Run("made from string", func(t *testing.T) {
		checkIndex(t, rapid.Map(anyKeys(), func(s string) name { return name(s) }))
	})
	t.Run("int", func(t *testing.T) { checkIndex(t, rapid.IntRange(0, 300)) })
	t.Run("struct", func(t *testing.T) {
		checkIndex(t, rapid.Map(anyKeys(), func(s string) struct {
			s string
			n int
		} {
			return struct {
				s string
				n int
			}{s, len(s)}
		}))
	})
}

func checkIndex[K comparable](t *testing.T, keys *rapid.Generator[K]) {
	rapid.Check(t, func(t *rapid.T) {
		x, model, cut := newIndex[K](), make(map[K]uint32), new(Cutter)
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			column := rapid.SliceOfN(keys, 0, 300).Draw(t, "keys")
			ids := make([]uint32, len(column))
			x.find(column, ids)
			added := x.added()
			for i, k := range column {
				if _, known := model[k]; !known {
					model[k] = ids[i]
					if !slices.Contains(added, ids[i]) {
						t.Fatalf("%v got the number %d, which is not among the added %v", k, ids[i], added)
					}
				}
				if ids[i] != model[k] {
					t.Fatalf("%v is %d, not %d", k, ids[i], model[k])
				}
			}
			for _, k := range column {
				id, there := model[k]
				if there && rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
					x.remove(id)
					delete(model, k)
					if _, ok := x.lookup(k); ok {
						t.Fatalf("%v was removed and is there", k)
					}
				}
			}
			if rapid.Bool().Draw(t, "trim") {
				x.trim()
			}
			if x.len() != len(model) {
				t.Fatalf("%d keys, not %d", x.len(), len(model))
			}
			numbers := make(map[uint32]bool)
			for k, id := range model {
				if got, ok := x.lookup(k); !ok || got != id || x.key(id, cut) != k {
					t.Fatalf("%v: lookup %d, %v, key %v", k, got, ok, x.key(id, cut))
				}
				numbers[id] = true
			}
			if len(numbers) != len(model) {
				t.Fatalf("%d keys share %d numbers", len(model), len(numbers))
			}
			if rapid.IntRange(0, 3).Draw(t, "reset") == 0 {
				x.reset()
				clear(model)
			}
		}
	})
}

// Long keys are moved together when half of them are gone.
func TestArenaIsTrimmed(t *testing.T) {
	x, cut := newStringIndex(), new(Cutter)
	var keys []string
	for i := range 4000 {
		keys = append(keys, fmt.Sprintf("a-key-that-is-longer-than-a-word-%d", i))
	}
	ids := make([]uint32, len(keys))
	x.find(keys, ids)
	before := x.arena.size
	for _, id := range ids[:3900] {
		x.remove(id)
	}
	x.trim()
	if x.arena.size >= before/2 || len(x.cell) > 1024 {
		t.Errorf("%d bytes of %d, %d cells for 100 keys", x.arena.size, before, len(x.cell))
	}
	for i, k := range keys[3900:] {
		if id, ok := x.lookup(k); !ok || id != ids[3900+i] || x.key(id, cut) != k {
			t.Errorf("%s is %d, %v", k, id, ok)
		}
	}
}

// Equal hashes must not make equal keys: all keys get one hash.
func TestIndexWithOneHash(t *testing.T) {
	x := newStringIndex()
	x.s0, x.s1 = 0, 0
	keys := []string{"\x00\x00", "\x00\x00\x00", "", strings.Repeat("a", 40), strings.Repeat("a", 39) + "b"}
	probes := make([]probe, len(keys))
	for i, k := range keys {
		probes[i] = x.probe(k)
		probes[i].hash = 7
	}
	for i, k := range keys {
		if id := x.slow(k, &probes[i]); id != uint32(i) {
			t.Errorf("%q is %d", k, id)
		}
	}
	for i, k := range keys {
		if id := x.slow(k, &probes[i]); id != uint32(i) {
			t.Errorf("%q is %d again", k, id)
		}
	}
}

func countTable(b Backing) *Keyed[string, int64] {
	return NewKeyed(Spec[string, int64]{Name: "counts", Key: codec.String, Value: codec.Int64, Init: func() int64 { return 0 }, Backing: b})
}

func bump(t testing.TB, table *Keyed[string, int64], keys ...string) {
	t.Helper()
	ids := make([]uint32, len(keys))
	if err := table.Rows(keys, ids); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		o, err := table.Change(id, 1)
		if err != nil {
			t.Fatal(err)
		}
		o.Value++
	}
}

// memDisk is a Backing and a Writer.
type memDisk struct {
	entries map[string][]byte
	empty   bool
	err     error
}

func newDisk() *memDisk { return &memDisk{entries: make(map[string][]byte), empty: true} }

func (d *memDisk) Put(k, v []byte) { d.entries[string(k)] = slices.Clone(v) }
func (d *memDisk) Delete(k []byte) { delete(d.entries, string(k)) }
func (d *memDisk) DeleteRange(from, to []byte) {
	for k := range d.entries {
		if k >= string(from) && k < string(to) {
			delete(d.entries, k)
		}
	}
}
func (d *memDisk) Get(k []byte) ([]byte, bool, error) {
	v, ok := d.entries[string(k)]
	return v, ok, d.err
}
func (d *memDisk) Scan(from, to []byte, yield func(k, v []byte) bool) error {
	var keys []string
	for k := range d.entries {
		if k >= string(from) && (to == nil || k < string(to)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !yield([]byte(k), d.entries[k]) {
			break
		}
	}
	return d.err
}
func (d *memDisk) Empty() bool { return d.empty }

func (d *memDisk) text() string {
	var all []string
	for k, v := range d.entries {
		all = append(all, fmt.Sprintf("%s=%x", k, v[7:]))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// I1 and I4: whatever is flushed, evicted and closed inside an open transaction,
// the disk gets nothing of it.
func TestDiskNeverLeads(t *testing.T) {
	d := newDisk()
	table := countTable(d)
	bump(t, table, "ana", "bob", "ana")
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	table.Flushed()
	table.Evict(0)
	if d.text() != "" {
		t.Fatalf("open values on disk: %s", d.text())
	}
	table.Commit()
	bump(t, table, "ana", "cat")
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	table.Evict(0)
	if got := d.text(); got != "ana=02 bob=01" {
		t.Fatalf("on disk: %s", got)
	}
	table.Flushed()
	table.Evict(0)
	table.Abort()
	for key, want := range map[string]int64{"ana": 2, "bob": 1, "cat": 0} {
		if got, ok, err := table.Get(key); got != want || ok != (want > 0) || err != nil {
			t.Errorf("%s: %d, %v, %v", key, got, ok, err)
		}
	}
	bump(t, table, "bob")
	if v, _, _ := table.Get("bob"); v != 2 {
		t.Errorf("bob was evicted and came back as %d", v-1)
	}
	if v, _, _ := table.Committed("bob"); v != 1 {
		t.Errorf("committed: %d", v)
	}
}

// What is committed while a flush is under way is in the next one.
func TestCommitDuringFlush(t *testing.T) {
	d := newDisk()
	table := countTable(d)
	bump(t, table, "ana", "bob")
	table.Commit()
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	bump(t, table, "ana")
	table.Commit()
	table.Flushed()
	table.Evict(0)
	if v, _, _ := table.Get("ana"); v != 2 {
		t.Fatalf("a dirty entry was evicted: %d", v)
	}
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	if got := d.text(); got != "ana=02 bob=01" {
		t.Errorf("on disk: %s", got)
	}
}

func TestMemoryIsAccountedAndGivenBack(t *testing.T) {
	d := newDisk()
	table := countTable(d)
	var keys []string
	for i := range 20_000 {
		keys = append(keys, fmt.Sprintf("user-%d-with-a-long-name", i))
	}
	bump(t, table, keys...)
	if table.OpenKeys() != len(keys) || table.OpenBytes() == 0 {
		t.Errorf("open: %d keys, %d bytes", table.OpenKeys(), table.OpenBytes())
	}
	table.Commit()
	full := table.CacheBytes()
	if full < int64(len(keys)*50) || full > int64(len(keys)*400) {
		t.Errorf("%d bytes for %d keys", full, len(keys))
	}
	if table.DirtyBytes() == 0 {
		t.Error("nothing is dirty")
	}
	table.Evict(full / 2)
	if table.Len() != len(keys) {
		t.Errorf("dirty entries were evicted: %d left", table.Len())
	}
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	table.Flushed()
	// The first half is used again, so the second half is older.
	for range 4 {
		bump(t, table, keys[:5000]...)
		table.Commit()
	}
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	table.Flushed()
	table.Evict(full / 3)
	if got := table.CacheBytes(); got > full/2 {
		t.Errorf("%d bytes after an eviction to %d", got, full/3)
	}
	if table.DirtyBytes() != 0 {
		t.Errorf("%d dirty bytes after a flush", table.DirtyBytes())
	}
	if _, here := table.keys.lookup(keys[0]); !here {
		t.Error("a key that was just used was evicted before older ones")
	}
	for i, want := range map[int]int64{0: 5, 19_999: 1} {
		if v, _, err := table.Get(keys[i]); v != want || err != nil {
			t.Errorf("key %d: %d, %v", i, v, err)
		}
	}
}

var errDisk = errors.New("the disk is gone")

func TestDiskErrorsAreReported(t *testing.T) {
	d := newDisk()
	d.empty, d.err = false, errDisk
	table := countTable(d)
	if err := table.Rows([]string{"ana"}, make([]uint32, 1)); !errors.Is(err, errDisk) {
		t.Errorf("Rows: %v", err)
	}
	if _, _, err := table.Committed("bob"); !errors.Is(err, errDisk) {
		t.Errorf("Committed: %v", err)
	}
	// What could not be read is read again, and not taken for new.
	d.err = nil
	d.entries["ana"], _ = codec.Int64.Append(nil, 7)
	if bump(t, table, "ana"); table.Len() != 1 {
		t.Errorf("%d keys", table.Len())
	}
	if v, _, err := table.Get("ana"); v != 8 || err != nil {
		t.Errorf("ana: %d, %v", v, err)
	}
	d.entries["eve"] = []byte("four")
	table = countTable(d)
	if err := table.Rows([]string{"eve"}, make([]uint32, 1)); !errors.Is(err, ErrDamaged) {
		t.Errorf("Rows: %v", err)
	}
	if err := table.Restore([]byte("eve"), []byte("short")); !errors.Is(err, ErrDamaged) {
		t.Errorf("Restore: %v", err)
	}
	if err := table.Restore([]byte("eve"), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("Restore of a tombstone: %v", err)
	}
}

func TestSlicesLieInTheOrderOfTime(t *testing.T) {
	starts := []record.Timestamp{noStart, -5, -1, 0, 1, 255, 256, 1 << 40, 1<<63 - 1}
	for i := 1; i < len(starts); i++ {
		a, b := appendStart(nil, starts[i-1]), appendStart(nil, starts[i])
		if string(a) >= string(b) || decodeStart(b) != starts[i] {
			t.Errorf("%d is %x, %d is %x", starts[i-1], a, starts[i], b)
		}
	}
}

func TestWindowsAreFoundOnDisk(t *testing.T) {
	d := newDisk()
	for _, start := range []record.Timestamp{0, 60_000, 61_000} {
		for _, key := range []string{"ana", "bob", ""} {
			v, _ := codec.Int64.Append(nil, int64(start)+int64(len(key)))
			d.entries[string(appendStart(nil, start))+key] = v
		}
	}
	d.empty = false
	table, err := NewWindows(Spec[string, int64]{Name: "w", Key: codec.String, Value: codec.Int64, Init: func() int64 { return 0 }, Backing: d})
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, s := range table.Between(0, 61_000) {
		err := s.Each(func(k string, n int64) error {
			found = append(found, fmt.Sprintf("%d/%s=%d", s.Start, k, n))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(found); got != "[0/=0 0/ana=3 0/bob=3 60000/=60000 60000/ana=60003 60000/bob=60003]" {
		t.Error(got)
	}
	table.Drop(60_000)
	var gone []string
	if err := table.Changes(func(k, v []byte) { gone = append(gone, fmt.Sprintf("%s %v", k[8:], v == nil)) }); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(gone); got != "[ true ana true bob true]" {
		t.Errorf("tombstones: %s", got)
	}
	table.Commit()
	if err := table.Flush(d); err != nil {
		t.Fatal(err)
	}
	if len(d.entries) != 6 {
		t.Errorf("%d entries on disk", len(d.entries))
	}
	if table.Slice(0) != nil {
		t.Error("a dropped slice is there again")
	}
}

func FuzzShortKey(f *testing.F) {
	f.Add("", "a")
	f.Add("abcdefgh", "abcdefgi")
	f.Add("\x00", "\x00\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, cut := newStringIndex(), new(Cutter)
		ids := make([]uint32, 2)
		x.find([]string{a, b}, ids)
		if (ids[0] == ids[1]) != (a == b) || x.key(ids[0], cut) != a || x.key(ids[1], cut) != b {
			t.Errorf("%q and %q: %d, %d", a, b, ids[0], ids[1])
		}
	})
}

// FuzzRestore: a foreign record in a changelog is an error, not a panic.
func FuzzRestore(f *testing.F) {
	f.Add([]byte("12345678ana"), []byte("87654321"), true)
	f.Fuzz(func(t *testing.T, key, value []byte, windowed bool) {
		if windowed {
			w, err := NewWindows(Spec[string, int64]{Name: "w", Key: codec.String, Value: codec.Int64, Init: func() int64 { return 0 }})
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Restore(key, value)
			w.Commit()
			return
		}
		_ = countTable(nil).Restore(key, value)
	})
}

func benchKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("u%d", i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys
}

// cpu is the processor time that this process has used: on a busy machine it
// tells more than the clock.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProbe finds and changes one key of a table, in batches of 1024, which
// commit every 16 of them.
func BenchmarkProbe(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table, keys, ids := countTable(nil), benchKeys(n), make([]uint32, 1024)
			for at := 0; at < n; at += 1000 {
				if err := table.Rows(keys[at:at+1000], ids[:1000]); err != nil {
					b.Fatal(err)
				}
			}
			rng := rand.New(rand.NewPCG(3, 4))
			batch := make([][]string, 64)
			for i := range batch {
				for range 1024 {
					batch[i] = append(batch[i], keys[rng.IntN(n)])
				}
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			start, records := cpu(), 0
			defer func() { b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(records), "cpu-ns/record") }()
			defer func() { b.ReportMetric(float64(table.CacheBytes())/float64(n), "B/key") }()
			for at := 0; at < b.N; at += 1024 {
				records += 1024
				if err := table.Rows(batch[at>>10&63], ids); err != nil {
					b.Fatal(err)
				}
				for _, id := range ids {
					o, err := table.Change(id, 1)
					if err != nil {
						b.Fatal(err)
					}
					o.Value++
				}
				if at>>10&15 == 15 {
					table.Commit()
				}
			}
		})
	}
}
