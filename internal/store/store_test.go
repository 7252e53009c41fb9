package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"millrace/internal/state"
	"millrace/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	_ state.Backing = (*Reader)(nil)
	_ state.Writer  = PartWriter{}
)

func openAt(t *testing.T, fs vfs.FS) *DB {
	t.Helper()
	d, err := Open("state", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func partOf(t *testing.T, d *DB, name string, p record.Partition) *Part {
	t.Helper()
	part, err := d.Part(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return part
}

func entries(t *testing.T, p *Part) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := p.Scan(nil, nil, func(key, value []byte) bool {
		all[string(key)] = string(value)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPartsDoNotMix(t *testing.T) {
	d := openAt(t, vfs.NewMem())
	parts := []*Part{partOf(t, d, "a", 0), partOf(t, d, "a", 1), partOf(t, d, "ab", 0), partOf(t, d, "a", 256)}
	f := d.NewFlush()
	for i, p := range parts {
		f.To(p).Put([]byte("k"), fmt.Appendf(nil, "%d", i))
		f.To(p).Put([]byte{}, []byte{}) // an empty key and an empty value are legal
		f.SetPosition(p, Position{Next: record.Offset(10 + i)})
	}
	must(t, f.Apply())
	must(t, parts[1].Clear())
	for i, p := range parts {
		position, ok, err := p.Position()
		must(t, err)
		if i == 1 {
			if got := entries(t, p); len(got) != 0 || ok {
				t.Errorf("a cleared part has %v at %v", got, position)
			}
			continue
		}
		if got := entries(t, p); len(got) != 2 || got["k"] != fmt.Sprint(i) || position.Next != record.Offset(10+i) {
			t.Errorf("part %d holds %v at %d", i, got, position.Next)
		}
	}
	must(t, d.Close())
}

func TestReaderSeesAFlush(t *testing.T) {
	d := openAt(t, vfs.NewMem())
	p := partOf(t, d, "a", 0)
	r, err := p.NewReader()
	must(t, err)
	f := d.NewFlush()
	for i := range 10 {
		f.To(p).Put([]byte{byte(i)}, []byte{byte(i)})
	}
	f.To(p).Delete([]byte{3})
	f.To(p).DeleteRange([]byte{5}, []byte{7})
	f.To(p).Put([]byte{6}, []byte{66})
	must(t, f.Apply())
	for key, want := range map[byte]byte{2: 2, 3: 0, 5: 0, 6: 66, 7: 7} {
		value, ok, err := r.Get([]byte{key})
		must(t, err)
		if ok != (want != 0) || ok && value[0] != want {
			t.Errorf("key %d is %v, %v; want %d", key, value, ok, want)
		}
	}
	var seen []byte
	must(t, r.Scan([]byte{2}, []byte{8}, func(key, _ []byte) bool {
		seen = append(seen, key[0])
		return true
	}))
	if string(seen) != "\x02\x04\x06\x07" {
		t.Errorf("a scan from 2 to 8 saw %v", seen)
	}
	if !r.Empty() {
		t.Error("the part was empty when the reader was made")
	}
	must(t, d.Close())
}

func TestPositionComesBackWhole(t *testing.T) {
	fs := vfs.NewMem()
	d := openAt(t, fs)
	want := Position{Next: 77, TopicID: [16]byte{1, 15: 9}, LeaderEpoch: -1, AppliedAt: time.UnixMilli(1_700_000_000_123), Commit: []byte("commit")}
	f := d.NewFlush()
	f.SetPosition(partOf(t, d, "a", 3), want)
	must(t, f.Apply())
	instance := d.Instance()
	must(t, d.Close())
	d = openAt(t, fs)
	got, ok, err := partOf(t, d, "a", 3).Position()
	must(t, err)
	if !ok || got.Next != want.Next || got.TopicID != want.TopicID || got.LeaderEpoch != -1 || !got.AppliedAt.Equal(want.AppliedAt) || string(got.Commit) != "commit" {
		t.Errorf("got %+v", got)
	}
	if d.Instance() != instance || len(instance) != 16 {
		t.Errorf("the instance was %q, is %q", instance, d.Instance())
	}
	must(t, d.Close())
}

func TestSecondProcessIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	d := openAt(t, fs)
	if _, err := Open("state", Options{FS: fs}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	must(t, d.Close())
	must(t, openAt(t, fs).Close())
}

func write(t *testing.T, fs vfs.FS, name, text string) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = io.WriteString(f, text)
	must(t, err)
	must(t, f.Close())
}

func TestNewerFormatIsRefusedAndNamed(t *testing.T) {
	fs := vfs.NewMem()
	must(t, openAt(t, fs).Close())
	write(t, fs, "state/format", "millrace-state 7\n")
	_, err := Open("state", Options{FS: fs})
	var format *FormatError
	if !errors.As(err, &format) || format.Found != 7 || !strings.Contains(err.Error(), "version 7") {
		t.Errorf("got %v", err)
	}
	write(t, fs, "state/format", formatLine(formatVersion))
	must(t, openAt(t, fs).Close()) // the refusal has given the lock back
}

// TestDamagedDatabaseIsSetAside breaks each file of a database in turn. Whatever
// is broken, it opens again: with what was there, or empty and with a word about it.
func TestDamagedDatabaseIsSetAside(t *testing.T) {
	build := func() *vfs.MemFS {
		fs := vfs.NewMem()
		d := openAt(t, fs)
		p := partOf(t, d, "a", 0)
		for i := range 3 {
			f := d.NewFlush()
			for k := range 200 {
				f.To(p).Put(fmt.Appendf(nil, "%d-%d", i, k), []byte(strings.Repeat("v", 50)))
			}
			f.SetPosition(p, Position{Next: record.Offset(i + 1)})
			must(t, f.Apply())
			must(t, d.db.Flush())
		}
		must(t, d.Close())
		return fs
	}
	names, err := build().List("state/db")
	must(t, err)
	aside := 0
	for _, name := range names {
		for _, how := range []string{"removed", "garbage", "empty"} {
			fs := build()
			switch how {
			case "removed":
				must(t, fs.Remove("state/db/"+name))
			case "garbage":
				write(t, fs, "state/db/"+name, strings.Repeat("garbage!", 40))
			case "empty":
				write(t, fs, "state/db/"+name, "")
			}
			d := openAt(t, fs)
			p := partOf(t, d, "a", 0)
			if d.SetAside() != nil {
				aside++
				if got := entries(t, p); len(got) != 0 {
					t.Errorf("%s %s: %d entries after it was set aside", name, how, len(got))
				}
			}
			position, _, err := p.Position() // read, or reported as damage
			var damage *DamageError
			if err != nil && !errors.As(err, &damage) {
				t.Errorf("%s %s: %v", name, how, err)
			}
			if position.Next > 3 {
				t.Errorf("%s %s: position %d was never written", name, how, position.Next)
			}
			_ = d.Close() // of damaged files it may complain; it must give the lock back
			must(t, openAt(t, fs).Close())
		}
	}
	if aside < 3 {
		t.Errorf("only %d of the damages were noticed at the start", aside)
	}
}

// TestCrashLeavesACommittedPrefix cuts the power at random moments between
// flushes. What comes back is the state after some flush, with its position,
// never a mixture; a first creation that was cut is opened again too.
func TestCrashLeavesACommittedPrefix(t *testing.T) {
	behind, survived := 0, 0
	for seed := range uint64(150) {
		after, flushes := crashBetweenFlushes(t, seed, false)
		next, wrong := checkPrefix(t, seed, after)
		for _, difference := range wrong {
			t.Error(difference)
		}
		if next < flushes {
			behind++
		}
		survived += next
	}
	if behind == 0 || survived == 0 {
		t.Errorf("%d runs lost something and %d kept something: the crash is not at work", behind, survived)
	}
}

// TestPositionsApartAreNoticed plants the bug that the one batch is for.
func TestPositionsApartAreNoticed(t *testing.T) {
	for seed := range uint64(150) {
		after, _ := crashBetweenFlushes(t, seed, true)
		if _, wrong := checkPrefix(t, seed, after); len(wrong) > 0 {
			return
		}
	}
	t.Error("positions that reach the disk before the entries were not noticed")
}

// crashBetweenFlushes writes the number of each flush to two parts, as entry
// and as position, and cuts the power. With apart the positions go first.
func crashBetweenFlushes(t *testing.T, seed uint64, apart bool) (after vfs.FS, flushes int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	d := openAt(t, fs)
	parts := []*Part{partOf(t, d, "a", 0), partOf(t, d, "b", 0)}
	flushes = rng.IntN(30)
	for i := range flushes {
		f := d.NewFlush()
		for _, p := range parts {
			f.SetPosition(p, Position{Next: record.Offset(i + 1)})
		}
		if apart {
			must(t, f.Apply())
			must(t, d.db.Flush()) // Persist does not wait: the cut could come first each time
			f = d.NewFlush()
		}
		for _, p := range parts {
			for range 20 {
				f.To(p).Put(fmt.Appendf(nil, "%d", rng.IntN(50)), fmt.Appendf(nil, "%d", i+1))
			}
			f.To(p).Put([]byte("newest"), fmt.Appendf(nil, "%d", i+1))
		}
		must(t, f.Apply())
		switch rng.IntN(8) {
		case 0:
			must(t, d.Persist()) // which may be under way when the power is cut
		case 1:
			must(t, d.db.Flush())
		}
	}
	after = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	must(t, d.Close())
	return after, flushes
}

func checkPrefix(t *testing.T, seed uint64, fs vfs.FS) (next int, wrong []string) {
	t.Helper()
	d := openAt(t, fs)
	var positions []record.Offset
	for _, name := range []string{"a", "b"} {
		p := partOf(t, d, name, 0)
		position, _, err := p.Position()
		must(t, err)
		positions = append(positions, position.Next)
		got := entries(t, p)
		if newest := got["newest"]; position.Next > 0 && newest != fmt.Sprint(position.Next) {
			wrong = append(wrong, fmt.Sprintf("seed %d: store %s says flush %s at position %d", seed, name, newest, position.Next))
		}
		if position.Next == 0 && len(got) > 0 {
			wrong = append(wrong, fmt.Sprintf("seed %d: store %s has %d entries and no position", seed, name, len(got)))
		}
	}
	if positions[0] != positions[1] {
		wrong = append(wrong, fmt.Sprintf("seed %d: one flush, two positions: %v", seed, positions))
	}
	must(t, d.Close())
	return int(positions[0]), wrong
}
