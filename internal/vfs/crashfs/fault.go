package crashfs

import (
	"path"
	"slices"
	"sync"
)

// Fault makes operations fail. A failed sync leaves its bytes in the page cache,
// marked clean, and not on the disk. Any other failed operation changes nothing,
// but for the bytes that a short write has written.
type Fault struct {
	Kinds   []Kind // none: each crash point, reads excluded
	Name    string // path.Match pattern for the last element; empty: any
	Nth     int    // the first match that fails, from 1; 0 is 1
	Times   int    // how many fail from there; 0 is one, -1 is all
	Err     error
	Written int64 // bytes that a failing write writes first

	matched, hits int
}

type faultSet struct {
	mu     sync.Mutex // reads match too, and they share the lock of the FS
	faults []*Fault
}

// Inject adds a fault, which belongs to the FS from then on, and gives the
// number of operations that it has failed so far.
func (f *FS) Inject(fault Fault) (hits func() int) {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	added := &fault
	f.faults.faults = append(f.faults.faults, added)
	return func() int {
		f.faults.mu.Lock()
		defer f.faults.mu.Unlock()
		return added.hits
	}
}

// Heal removes all faults.
func (f *FS) Heal() {
	f.faults.mu.Lock()
	defer f.faults.mu.Unlock()
	f.faults.faults = nil
}

func (s *faultSet) match(op Op) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first *Fault
	for _, fault := range s.faults {
		if fault.fires(op) && first == nil {
			first = fault
		}
	}
	return first
}

func (fault *Fault) fires(op Op) bool {
	if !fault.covers(op) {
		return false
	}
	fault.matched++
	nth := fault.matched - max(1, fault.Nth)
	if nth < 0 || fault.Times >= 0 && nth >= max(1, fault.Times) {
		return false
	}
	fault.hits++
	return true
}

func (fault *Fault) covers(op Op) bool {
	if len(fault.Kinds) == 0 && op.Kind > SyncAll || len(fault.Kinds) > 0 && !slices.Contains(fault.Kinds, op.Kind) {
		return false
	}
	if fault.Name == "" {
		return true
	}
	ok, err := path.Match(fault.Name, path.Base(op.Name))
	return ok && err == nil
}
