package crashfs

import (
	"slices"
	"strings"
)

const (
	blockBytes  = 4096
	sectorBytes = 512
)

// inode is a file or a directory: what the machine sees, and beside it what the
// disk holds and may hold.
type inode struct {
	id    uint64 // counts what was made on this disk
	isDir bool
	links int // names that the machine sees
	opens int

	blocks []history[[]byte] // of blockBytes; nil is zeros, a short one ends in zeros
	size   history[int64]

	// Entry slices are sorted and never changed in place: images share them.
	entries []entry
	durable []entry
	pending []dirOp // done, not synced, in order
	lost    []dirOp // done, and marked clean by a sync that failed

	// The newest image that has this inode, and its copy there.
	imageID uint64
	image   *inode
}

func (f *FS) makeLocked(isDir bool) *inode {
	f.made++
	return &inode{id: f.made, isDir: isDir, links: 1}
}

type entry struct {
	name string
	ino  *inode
}

// dirOp removes a name, sets a name, or both at once.
type dirOp struct {
	remove string
	set    string
	ino    *inode // that set names
}

func (op dirOp) apply(entries []entry) []entry {
	out := make([]entry, 0, len(entries)+1)
	for _, e := range entries {
		if e.name != op.remove && e.name != op.set {
			out = append(out, e)
		}
	}
	if op.set == "" {
		return out
	}
	at, _ := slices.BinarySearchFunc(out, op.set, byName)
	return slices.Insert(out, at, entry{name: op.set, ino: op.ino})
}

func byName(e entry, name string) int { return strings.Compare(e.name, name) }

func find(entries []entry, name string) *inode {
	at, found := slices.BinarySearchFunc(entries, name, byName)
	if !found {
		return nil
	}
	return entries[at].ino
}

func (ino *inode) change(op dirOp) {
	ino.entries = op.apply(ino.entries)
	ino.pending = append(append(ino.lost, ino.pending...), op)
	ino.lost = nil
}

func (ino *inode) walk(visit func(*inode)) {
	visit(ino)
	for _, e := range ino.entries {
		e.ino.walk(visit)
	}
}

// sync makes a file's bytes and size durable, or a directory's names.
func (ino *inode) sync() {
	for i := range ino.blocks {
		ino.blocks[i].sync()
	}
	ino.size.sync()
	for _, op := range ino.pending {
		ino.durable = op.apply(ino.durable)
	}
	ino.pending = nil
}

// syncFailed leaves the disk as it was and the page cache as it is, but marked
// clean: no later sync will write what this one did not (Rebello et al., "Can
// Applications Recover from fsync Failures?", USENIX ATC'20). Only another change
// to the block, or to the directory, makes it dirty again, as a whole.
func (ino *inode) syncFailed() {
	for i := range ino.blocks {
		ino.blocks[i].syncFailed()
	}
	ino.size.syncFailed()
	ino.lost, ino.pending = append(ino.lost, ino.pending...), nil
}

func (ino *inode) write(b []byte, off int64) {
	if len(b) == 0 {
		return // else off would extend the file
	}
	for len(b) > 0 {
		at, from := off/blockBytes, int(off%blockBytes)
		n := min(len(b), blockBytes-from)
		for int64(len(ino.blocks)) <= at {
			ino.blocks = append(ino.blocks, history[[]byte]{})
		}
		old := ino.blocks[at].now
		block := make([]byte, max(len(old), from+n))
		copy(block, old)
		copy(block[from:], b[:n])
		ino.blocks[at].set(block)
		b, off = b[n:], off+int64(n)
	}
	if off > ino.size.now {
		ino.size.set(off)
	}
}

func (ino *inode) truncate(sizeBytes int64) {
	for i := range ino.blocks {
		keep := max(0, sizeBytes-int64(i)*blockBytes)
		if old := ino.blocks[i].now; int64(len(old)) > keep {
			ino.blocks[i].set(old[:keep:keep])
		}
	}
	if sizeBytes != ino.size.now {
		ino.size.set(sizeBytes)
	}
}

// read fills b, which must lie within the file.
func (ino *inode) read(b []byte, off int64) {
	for len(b) > 0 {
		at, from := off/blockBytes, int(off%blockBytes)
		part := b[:min(len(b), blockBytes-from)]
		n := 0
		if at < int64(len(ino.blocks)) && from < len(ino.blocks[at].now) {
			n = copy(part, ino.blocks[at].now[from:])
		}
		clear(part[n:])
		b, off = b[len(part):], off+int64(len(part))
	}
}
