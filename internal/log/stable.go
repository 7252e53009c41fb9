package log

import (
	"cmp"
	"slices"
	"time"

	"millrace/record"
)

// unstable is a transaction that readers at read_committed do not pass.
type unstable struct {
	producer int64
	first    record.Offset // of the transaction
	sinceMs  int64         // when that was appended, by our clock
	marker   record.Offset // that ended it; undecided without one
}

const undecided = record.Offset(-1)

// unstableSet is what holds the last stable offset back, by first offset: open
// transactions, and those whose marker readers cannot see yet, because a power
// cut may still take it back.
type unstableSet struct {
	txns  []unstable
	ended int // of them, those that have a marker
}

// begin adds an open transaction. It begins behind all others.
func (s *unstableSet) begin(u unstable) { s.txns = append(s.txns, u) }

// end gives the transaction that begins at first its marker.
func (s *unstableSet) end(first, marker record.Offset) {
	i, found := slices.BinarySearchFunc(s.txns, first, func(u unstable, first record.Offset) int { return cmp.Compare(u.first, first) })
	if found && s.txns[i].marker == undecided {
		s.txns[i].marker = marker
		s.ended++
	}
}

// settle drops the transactions whose marker lies below highWatermark, and gives
// the last stable offset.
func (s *unstableSet) settle(highWatermark record.Offset, planted faults) record.Offset {
	if s.ended > 0 {
		before := len(s.txns)
		s.txns = slices.DeleteFunc(s.txns, func(u unstable) bool {
			return u.marker != undecided && (u.marker < highWatermark || planted.earlyMarkers)
		})
		s.ended -= before - len(s.txns)
	}
	if len(s.txns) == 0 || planted.stableAhead {
		return highWatermark
	}
	return min(highWatermark, s.txns[0].first)
}

// without is what the last stable offset is once the transaction that begins at
// first has ended and all others have not: behind, when there is no other.
func (s *unstableSet) without(first, behind record.Offset) record.Offset {
	for _, u := range s.txns {
		if u.first != first && u.marker == undecided {
			return u.first
		}
	}
	return behind
}

// drop forgets the transaction that begins at first.
func (s *unstableSet) drop(first record.Offset) {
	s.txns = slices.DeleteFunc(s.txns, func(u unstable) bool { return u.first == first })
}

// sort puts transactions in order that were not added in it.
func (s *unstableSet) sort() {
	slices.SortFunc(s.txns, func(a, b unstable) int { return cmp.Compare(a.first, b.first) })
}

// oldest is the open transaction that began first.
func (s *unstableSet) oldest() (unstable, bool) {
	for _, u := range s.txns {
		if u.marker == undecided {
			return u, true
		}
	}
	return unstable{}, false
}

// transition is what an append does to the open transactions. The zero value
// does nothing.
type transition struct {
	begins, ends  bool
	txn           unstable      // that begins
	first, marker record.Offset // of the one that ends
}

func (s *unstableSet) apply(t transition) {
	if t.begins {
		s.begin(t.txn)
	}
	if t.ends {
		s.end(t.first, t.marker)
	}
}

// LastStableOffset is the first offset that a reader at read_committed does not
// see: the high watermark, or the start of the oldest transaction that is open or
// whose marker is not below the high watermark. It never goes back. A log start
// that has passed an open transaction takes it along.
func (l *Log) LastStableOffset() record.Offset {
	return max(record.Offset(l.stable.Load()), l.StartOffset())
}

// OldestOpenTxn is the open transaction that began first. since is when; after a
// restart, when its producer appended last. ok is false when none is open.
func (l *Log) OldestOpenTxn() (producerID int64, first record.Offset, since time.Time, ok bool) {
	l.tail.Lock()
	defer l.tail.Unlock()
	u, ok := l.tail.unstable.oldest()
	if !ok {
		return 0, 0, time.Time{}, false
	}
	return u.producer, u.first, time.UnixMilli(u.sinceMs), true
}

// WatchStable is Watch for the last stable offset.
func (l *Log) WatchStable(w *Waiter, seen record.Offset) bool {
	l.stableWaiters.add(w)
	if l.LastStableOffset() > seen || l.stopped() != nil {
		l.stableWaiters.remove(w)
		return false
	}
	return true
}
