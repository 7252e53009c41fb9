package crashfs_test

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"millrace/internal/vfs"
	"millrace/internal/vfs/crashfs"
)

// past is a slow model of what a power cut may leave. It keeps whole copies: of
// each file every content since its last sync, of each directory every set of
// names since its last sync. The last copy is what the machine sees; the first
// is what must survive.
type past struct {
	disk  *crashfs.FS
	files map[int][][]byte
	dirs  map[string][]map[string]int // directory, names, file
	made  int
}

var pastDirs = []string{".", "d"} // both durable from the start

func newPast(t *rapid.T) *past {
	p := &past{disk: crashfs.New(), files: map[int][][]byte{}, dirs: map[string][]map[string]int{}}
	if err := p.disk.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	if err := p.disk.SyncAll(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range pastDirs {
		p.dirs[dir] = []map[string]int{{}}
	}
	return p
}

func newest[T any](versions []T) T { return versions[len(versions)-1] }

func (p *past) names(dir string) map[string]int { return newest(p.dirs[dir]) }

func (p *past) rename(dir string, change func(map[string]int)) {
	next := map[string]int{}
	for name, id := range p.names(dir) {
		next[name] = id
	}
	change(next)
	p.dirs[dir] = append(p.dirs[dir], next)
}

func (p *past) pick(t *rapid.T) (dir, name string, id int) {
	dir = rapid.SampledFrom(pastDirs).Draw(t, "dir")
	var names []string
	for name := range p.names(dir) {
		names = append(names, name)
	}
	if len(names) == 0 {
		t.Skip("no file")
	}
	slices.Sort(names)
	name = rapid.SampledFrom(names).Draw(t, "name")
	return dir, name, p.names(dir)[name]
}

func with(t *rapid.T, disk vfs.FS, name string, do func(vfs.File) error) {
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func (p *past) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"create": p.create, "write": p.write, "truncate": p.truncate, "sync": p.sync,
		"remove": p.remove, "rename": p.move, "syncDir": p.syncDir, "syncAll": p.syncAll,
		"": p.check,
	}
}

func (p *past) create(t *rapid.T) {
	dir := rapid.SampledFrom(pastDirs).Draw(t, "dir")
	name := fmt.Sprint("f", p.made)
	f, err := p.disk.Create(path.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	p.files[p.made] = [][]byte{{}}
	p.rename(dir, func(names map[string]int) { names[name] = p.made })
	p.made++
}

func (p *past) write(t *rapid.T) {
	dir, name, id := p.pick(t)
	off := rapid.Int64Range(0, 9000).Draw(t, "off")
	b := rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(t, "bytes")
	with(t, p.disk, path.Join(dir, name), func(f vfs.File) error {
		_, err := f.Writev([][]byte{b}, off)
		return err
	})
	old := newest(p.files[id])
	next := make([]byte, max(len(old), int(off)+len(b)))
	copy(next, old)
	copy(next[off:], b)
	p.files[id] = append(p.files[id], next)
}

func (p *past) truncate(t *rapid.T) {
	dir, name, id := p.pick(t)
	size := rapid.IntRange(0, 9000).Draw(t, "size")
	with(t, p.disk, path.Join(dir, name), func(f vfs.File) error { return f.Truncate(int64(size)) })
	next := make([]byte, size)
	copy(next, newest(p.files[id]))
	p.files[id] = append(p.files[id], next)
}

func (p *past) sync(t *rapid.T) {
	dir, name, id := p.pick(t)
	with(t, p.disk, path.Join(dir, name), vfs.File.SyncData)
	p.files[id] = p.files[id][len(p.files[id])-1:]
}

func (p *past) remove(t *rapid.T) {
	dir, name, _ := p.pick(t)
	if err := p.disk.Remove(path.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	p.rename(dir, func(names map[string]int) { delete(names, name) })
}

func (p *past) move(t *rapid.T) {
	from, name, id := p.pick(t)
	to, onto, _ := p.pick(t)
	if rapid.Bool().Draw(t, "new name") {
		onto = fmt.Sprint("g", p.made)
		p.made++
	}
	if err := p.disk.Rename(path.Join(from, name), path.Join(to, onto)); err != nil {
		t.Fatal(err)
	}
	if from == to && name == onto {
		return
	}
	if from != to {
		p.rename(from, func(names map[string]int) { delete(names, name) })
	}
	p.rename(to, func(names map[string]int) {
		if from == to {
			delete(names, name)
		}
		names[onto] = id
	})
}

func (p *past) syncDir(t *rapid.T) {
	dir := rapid.SampledFrom(pastDirs).Draw(t, "dir")
	if err := p.disk.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	p.dirs[dir] = p.dirs[dir][len(p.dirs[dir])-1:]
}

func (p *past) syncAll(t *rapid.T) {
	if err := p.disk.SyncAll(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range pastDirs {
		p.dirs[dir] = p.dirs[dir][len(p.dirs[dir])-1:]
		for _, id := range p.names(dir) {
			p.files[id] = p.files[id][len(p.files[id])-1:]
		}
	}
}

func (p *past) check(t *rapid.T) {
	seed := rapid.Uint64().Draw(t, "seed")
	for _, policy := range crashfs.Policies() {
		image := p.disk.Crash(policy, seed)
		for _, dir := range pastDirs {
			p.checkDir(t, image, policy, dir)
		}
		p.checkUsed(t, image)
	}
	p.checkUsed(t, p.disk.Clone())
}

func (p *past) checkDir(t *rapid.T, image *crashfs.FS, policy crashfs.Policy, dir string) {
	names, err := image.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		var may [][][]byte // the pasts of the files that had this name
		for _, entries := range p.dirs[dir] {
			if id, ok := entries[name]; ok {
				may = append(may, p.files[id])
			}
		}
		if len(may) == 0 && !(dir == "." && name == "d") {
			t.Fatalf("%v: %s appeared from nowhere in %s", policy, name, dir)
		}
		if name != "d" {
			p.checkFile(t, image, policy, path.Join(dir, name), may)
		}
	}
	for name := range p.dirs[dir][0] {
		everywhere := !slices.ContainsFunc(p.dirs[dir], func(entries map[string]int) bool { _, ok := entries[name]; return !ok })
		if everywhere && !slices.Contains(names, name) {
			t.Fatalf("%v: synced name %s is lost from %s", policy, name, dir)
		}
	}
}

func (p *past) checkFile(t *rapid.T, image *crashfs.FS, policy crashfs.Policy, name string, may [][][]byte) {
	got, err := image.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(may, func(versions [][]byte) bool { return madeOf(got, versions) }) {
		t.Fatalf("%v: %s holds what was never written there", policy, name)
	}
}

// madeOf tells whether each sector and the size stem from one of the versions.
// With one version, which is a synced file, that is the whole content.
func madeOf(got []byte, versions [][]byte) bool {
	if !slices.ContainsFunc(versions, func(v []byte) bool { return len(v) == len(got) }) {
		return false
	}
	for off := 0; off < len(got); off += 512 {
		end := min(off+512, len(got))
		if !slices.ContainsFunc(versions, func(v []byte) bool {
			sector := make([]byte, 512)
			if off < len(v) {
				copy(sector, v[off:])
			}
			return bytes.Equal(sector[:end-off], got[off:end])
		}) {
			return false
		}
	}
	return true
}

func (p *past) checkUsed(t *rapid.T, image *crashfs.FS) {
	var sum int64
	seen := 0
	for _, dir := range pastDirs {
		names, _ := image.List(dir)
		for _, name := range names {
			info, err := image.Stat(path.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
			seen++
		}
	}
	if used := image.UsedBytes(); used > sum || seen <= 2 && used != sum {
		t.Fatalf("%d bytes used, the files hold %d", used, sum)
	}
}

// TestSyncedSurvivesAndNothingIsInvented: whatever was done, each crash image
// lies between what was synced and what was written.
func TestSyncedSurvivesAndNothingIsInvented(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { t.Repeat(newPast(t).actions()) })
}
