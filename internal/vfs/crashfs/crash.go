package crashfs

import (
	"fmt"
	"math/rand/v2"
)

// Keep says how much of what was not synced is on the disk after the crash.
type Keep uint8

const (
	KeepNone Keep = iota
	KeepSome      // each for itself by chance, and any of its unsynced versions
	KeepAll
)

func (k Keep) String() string { return [...]string{"none", "some", "all"}[k] }

// Policy is one way in which a power cut treats what was not synced.
type Policy struct {
	Blocks Keep
	Torn   bool // KeepSome decides for each 512-byte sector, not for each 4 KiB block
	Sizes  Keep // all sizes and no blocks: zeros; all blocks and no sizes: the bytes are out of reach
	Names  Keep // entries of directories
}

func (p Policy) String() string {
	torn := ""
	if p.Torn {
		torn = " sectors"
	}
	return fmt.Sprintf("blocks=%v%s sizes=%v names=%v", p.Blocks, torn, p.Sizes, p.Names)
}

// Policies are the ones to try at each crash point: the two ends, the ways in
// which bytes, sizes and names part, and chance in all of them.
func Policies() []Policy {
	return []Policy{
		{Blocks: KeepNone, Sizes: KeepNone, Names: KeepNone},
		{Blocks: KeepAll, Sizes: KeepAll, Names: KeepAll},
		{Blocks: KeepSome, Sizes: KeepSome, Names: KeepSome},
		{Blocks: KeepSome, Torn: true, Sizes: KeepSome, Names: KeepSome},
		{Blocks: KeepSome, Torn: true, Sizes: KeepAll, Names: KeepAll},
		{Blocks: KeepNone, Sizes: KeepAll, Names: KeepAll},
		{Blocks: KeepAll, Sizes: KeepNone, Names: KeepAll},
		{Blocks: KeepAll, Sizes: KeepAll, Names: KeepNone},
	}
}

// Crash is what the disk may hold if the power is cut now. The same policy and
// seed on the same disk give the same image. The image is a disk of its own, all
// of it durable, without locks, faults and hooks.
func (f *FS) Crash(p Policy, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := crash{Policy: p, seed: seed, id: f.nextImageLocked()}
	c.rng = rand.New(&c.source)
	return c.disk(f, c.image)
}

// Clone is the disk and its page cache as they are: what a killed process leaves.
// Locks, faults and hooks stay behind.
func (f *FS) Clone() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := crash{id: f.nextImageLocked()}
	return c.disk(f, c.twin)
}

func (f *FS) nextImageLocked() uint64 {
	f.images++
	return f.images
}

type crash struct {
	Policy
	seed   uint64
	source rand.PCG
	rng    *rand.Rand
	id     uint64
}

func (c *crash) disk(f *FS, copied func(*inode) *inode) *FS {
	image := &FS{root: copied(f.root), made: f.made, capacity: f.capacity, images: c.id}
	image.countLocked(image.root)
	return image
}

// countLocked counts names and bytes below ino, in an FS that nobody else has yet.
func (f *FS) countLocked(ino *inode) {
	if ino.links++; ino.links > 1 {
		return
	}
	f.used += ino.size.now
	for _, e := range ino.entries {
		f.countLocked(e.ino)
	}
}

// once gives an inode that has two names, after a torn rename, one copy.
func (c *crash) once(ino *inode) (copied *inode, isNew bool) {
	if ino.imageID != c.id {
		ino.imageID, ino.image = c.id, &inode{id: ino.id, isDir: ino.isDir}
		isNew = true
	}
	return ino.image, isNew
}

func (c *crash) image(ino *inode) *inode {
	out, isNew := c.once(ino)
	c.source.Seed(c.seed, ino.id) // not by name: some names are random
	switch {
	case !isNew:
	case ino.isDir:
		out.entries = c.entries(c.names(ino), c.image)
		out.durable = out.entries
	default:
		c.content(ino, out)
	}
	return out
}

func (c *crash) names(ino *inode) []entry {
	names := ino.durable
	for _, op := range ino.pending {
		if c.Names == KeepAll || c.Names == KeepSome && c.rng.Uint64()&1 == 0 {
			names = op.apply(names)
		}
	}
	return names
}

func (c *crash) entries(names []entry, copied func(*inode) *inode) []entry {
	out := make([]entry, len(names))
	for i, e := range names {
		out[i] = entry{name: e.name, ino: copied(e.ino)}
	}
	return out
}

func (c *crash) content(ino, out *inode) {
	size := ino.size.afterCrash(c.Sizes, c.rng)
	out.size.now = size
	if len(ino.blocks) == 0 {
		return
	}
	out.blocks = make([]history[[]byte], min(int64(len(ino.blocks)), (size+blockBytes-1)/blockBytes))
	for i := range out.blocks {
		block := c.block(&ino.blocks[i])
		inside := min(int64(len(block)), size-int64(i)*blockBytes)
		out.blocks[i].now = block[:inside:inside]
	}
}

func (c *crash) block(h *history[[]byte]) []byte {
	if c.Blocks != KeepSome || !c.Torn || !h.dirty {
		return h.afterCrash(c.Blocks, c.rng)
	}
	longest := len(h.now)
	for _, version := range h.older {
		longest = max(longest, len(version))
	}
	torn := make([]byte, longest)
	for at := 0; at < longest; at += sectorBytes {
		if version := h.afterCrash(KeepSome, c.rng); at < len(version) {
			copy(torn[at:min(at+sectorBytes, longest)], version[at:])
		}
	}
	return torn
}

// twin copies an inode with its unsynced past.
func (c *crash) twin(ino *inode) *inode {
	out, isNew := c.once(ino)
	if !isNew {
		return out
	}
	out.entries = c.entries(ino.entries, c.twin)
	out.durable = c.entries(ino.durable, c.twin)
	out.pending, out.lost = c.ops(ino.pending), c.ops(ino.lost)
	out.blocks = make([]history[[]byte], len(ino.blocks))
	for i := range ino.blocks {
		out.blocks[i] = ino.blocks[i].clone()
	}
	out.size = ino.size.clone()
	return out
}

func (c *crash) ops(ops []dirOp) []dirOp {
	out := make([]dirOp, len(ops))
	for i, op := range ops {
		out[i] = op
		if op.ino != nil {
			out[i].ino = c.twin(op.ino)
		}
	}
	return out
}
