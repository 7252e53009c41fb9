package crashfs

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
)

// Kind is a kind of operation.
type Kind uint8

// The kinds up to SyncAll are crash points; the others change nothing and are
// there for faults.
const (
	Create Kind = iota
	Write
	Truncate
	Rename
	Remove
	Mkdir
	SyncData
	SyncDir
	SyncAll
	Open
	Read // of an open file or a whole one
	List
	Stat
)

var kindNames = [...]string{"create", "write", "truncate", "rename", "remove", "mkdir", "syncdata", "syncdir", "syncall", "open", "read", "list", "stat"}

func (k Kind) String() string { return kindNames[k] }

// Syncs tells whether the kind makes something durable.
func (k Kind) Syncs() bool { return k == SyncData || k == SyncDir || k == SyncAll }

// Op is one operation. N counts the crash points of this FS from 1.
type Op struct {
	N     int
	Kind  Kind
	Name  string // the new name of a rename
	From  string // the old name of a rename
	Off   int64  // of a write
	Bytes int64  // of a write; the new size of a truncate
}

func (op Op) String() string {
	switch op.Kind {
	case Write:
		return fmt.Sprintf("%d write %s [%d,%d)", op.N, op.Name, op.Off, op.Off+op.Bytes)
	case Truncate:
		return fmt.Sprintf("%d truncate %s to %d", op.N, op.Name, op.Bytes)
	case Rename:
		return fmt.Sprintf("%d rename %s to %s", op.N, op.From, op.Name)
	}
	return fmt.Sprintf("%d %v %s", op.N, op.Kind, op.Name)
}

// maxTrace bounds the operations that are kept for the report of a failure.
const maxTrace = 4096

type trace struct {
	count  int
	ops    []Op // the newest; at most 2*maxTrace
	errors map[int]error
}

func (t *trace) add(op Op) Op {
	t.count++
	op.N = t.count
	if len(t.ops) == 2*maxTrace {
		t.ops = append(t.ops[:0], t.ops[maxTrace:]...)
	}
	t.ops = append(t.ops, op)
	return op
}

func (t *trace) failed(op Op, err error) {
	if t.errors == nil {
		t.errors = map[int]error{}
	}
	t.errors[op.N] = err
}

// Ops is how many crash points there were.
func (f *FS) Ops() int {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.trace.count
}

// Trace is the newest operations, one a line, with the errors they gave.
func (f *FS) Trace() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out strings.Builder
	for _, op := range f.trace.ops[max(0, len(f.trace.ops)-maxTrace):] {
		out.WriteString(op.String())
		if err := f.trace.errors[op.N]; err != nil {
			fmt.Fprintf(&out, ": %v", err)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// Tree is every name with its size, one a line, for the report of a failure.
func (f *FS) Tree() string {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out strings.Builder
	f.root.print(&out, "")
	return out.String()
}

// Hash is the same for two disks on which the machine sees the same names and
// bytes, so that a test need not look at an image twice.
func (f *FS) Hash(seed maphash.Seed) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var h maphash.Hash
	h.SetSeed(seed)
	f.root.hash(&h)
	return h.Sum64()
}

func (ino *inode) hash(h *maphash.Hash) {
	for _, e := range ino.entries {
		h.WriteString(e.name)
		h.WriteByte('/') // in no name
		maphash.WriteComparable(h, e.ino.size.now)
		maphash.WriteComparable(h, e.ino.isDir)
		for i := range e.ino.blocks {
			// Zeros at the end of a block are the same as no bytes.
			block := bytes.TrimRight(e.ino.blocks[i].now, "\x00")
			maphash.WriteComparable(h, len(block))
			h.Write(block)
		}
		e.ino.hash(h)
	}
	h.WriteByte('.') // the end of a directory
}

func (ino *inode) print(out *strings.Builder, dir string) {
	for _, e := range ino.entries {
		if e.ino.isDir {
			fmt.Fprintf(out, "%s%s/\n", dir, e.name)
			e.ino.print(out, dir+e.name+"/")
		} else {
			fmt.Fprintf(out, "%s%s %d\n", dir, e.name, e.ino.size.now)
		}
	}
}
