package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var (
	left  = Partition{"left", 0}
	right = Partition{"right", 0}
)

// book writes a history as a broker without faults would let it happen.
type book struct {
	*History
	now  Time
	next map[Partition]int64
}

func newBook() *book {
	return &book{
		History: &History{Committed: map[Partition][]Seen{}, All: map[Partition][]Seen{}},
		next:    map[Partition]int64{},
	}
}

func (b *book) tick() Time { b.now++; return b.now }

func group(writer int) string { return fmt.Sprint("group-", writer) }

// run performs one transaction of two records on each of both partitions, and
// stages an offset.
func (b *book) run(writer, life, seq int, outcome Outcome, effective bool) *Txn {
	t := &Txn{Writer: writer, Life: life, Seq: seq, Outcome: outcome}
	for n := range 4 {
		p := []Partition{left, right}[n%2]
		id := ID{writer, life, seq, n}
		t.Writes = append(t.Writes, Write{id, p, b.next[p]})
		b.All[p] = append(b.All[p], Seen{b.next[p], id})
		b.next[p]++
	}
	t.Staged = []Staged{{group(writer), left, int64(seq + 1)}}
	if outcome != Aborted {
		t.CommitSent = b.tick()
	}
	if outcome != Unknown {
		t.Ended = b.tick()
	}
	for _, p := range []Partition{left, right} {
		b.next[p]++ // the marker
		if effective {
			for _, w := range t.Writes {
				if w.Partition == p {
					b.Committed[p] = append(b.Committed[p], Seen{w.Offset, w.ID})
				}
			}
		}
	}
	b.Txns = append(b.Txns, t)
	return t
}

func (b *book) observe(writer int, offset int64) {
	b.Offsets = append(b.Offsets, Observed{group(writer), left, offset, b.tick(), b.tick()})
}

// read lets two readers see everything that is there.
func (b *book) read() {
	for _, committed := range []bool{false, true} {
		r := Reader{Name: fmt.Sprintf("reader committed=%v", committed), Committed: committed}
		from := b.All
		if committed {
			from = b.Committed
		}
		for _, p := range []Partition{left, right} {
			for _, s := range from[p] {
				r.Polls = append(r.Polls, Poll{p, s, b.tick()})
			}
		}
		b.Readers = append(b.Readers, r)
	}
}

// sound is a history of two writers with every outcome, and its transactions by
// what they are.
type sound struct {
	*book
	committed, aborted, tookEffect, didNot, fenced *Txn
}

func newSound() *sound {
	b := newBook()
	s := &sound{book: b}
	b.run(0, 0, 0, Committed, true)
	b.observe(0, 1)
	s.committed = b.run(1, 0, 0, Committed, true)
	s.aborted = b.run(0, 0, 1, Aborted, false)
	b.observe(0, 1)
	s.tookEffect = b.run(0, 0, 2, Unknown, true)
	s.didNot = b.run(0, 0, 3, Unknown, false)
	s.fenced = b.run(1, 0, 1, Aborted, false)
	s.fenced.Fenced, s.fenced.CommitSent = b.tick(), b.tick()
	b.run(1, 1, 2, Committed, true)
	b.observe(1, 3)
	b.Final = []Observed{{Group: group(0), Partition: left, Offset: 3}, {Group: group(1), Partition: left, Offset: 3}}
	b.read()
	return s
}

// show makes the records of a transaction visible in the places given, in the
// reading and for the running reader.
func (s *sound) show(t *Txn, only ...Partition) {
	for _, w := range t.Writes {
		if slices.Contains(only, w.Partition) {
			s.Committed[w.Partition] = insert(s.Committed[w.Partition], Seen{w.Offset, w.ID})
		}
	}
	s.Readers = nil
	s.read()
}

func (s *sound) hide(t *Txn, only ...Partition) {
	for _, p := range only {
		s.Committed[p] = slices.DeleteFunc(s.Committed[p], func(seen Seen) bool {
			return seen.ID.Writer == t.Writer && seen.ID.Life == t.Life && seen.ID.Txn == t.Seq
		})
	}
	s.Readers = nil
	s.read()
}

func insert(seen []Seen, s Seen) []Seen {
	at, _ := slices.BinarySearchFunc(seen, s, func(a, b Seen) int { return int(a.Offset - b.Offset) })
	return slices.Insert(seen, at, s)
}

// TestSound: nothing is found where nothing is wrong.
func TestSound(t *testing.T) {
	if faults := Check(newSound().History); len(faults) > 0 {
		t.Errorf("%d faults in a sound history, such as %s", len(faults), faults[0])
	}
}

// TestPlanted plants one violation of each kind, and it must be found.
func TestPlanted(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  Kind
		plant func(*sound)
	}{
		{"a committed transaction is not there", Lost, func(s *sound) { s.hide(s.committed, left, right) }},
		{"a committed transaction is half there", Lost, func(s *sound) { s.hide(s.committed, right) }},
		{"an acknowledged record of an aborted one is gone", Lost, func(s *sound) {
			w := s.aborted.Writes[0]
			s.All[left] = slices.DeleteFunc(s.All[left], func(seen Seen) bool { return seen.ID == w.ID })
		}},
		{"a reader had what is gone", Lost, func(s *sound) {
			polls := &s.Readers[0].Polls
			*polls = append(*polls, Poll{right, Seen{99, ID{Writer: 0, Txn: 9}}, s.tick()})
		}},
		{"a committed offset is gone at the end", Lost, func(s *sound) { s.Final[1].Offset = 1 }},
		{"an aborted transaction is visible", AbortedGot, func(s *sound) { s.show(s.aborted, left, right) }},
		{"one record of an aborted transaction is visible", AbortedGot, func(s *sound) { s.show(s.aborted, left) }},
		{"a fenced producer's transaction is visible", AbortedGot, func(s *sound) { s.show(s.fenced, left, right) }},
		{"a running reader was given an aborted record", AbortedGot, func(s *sound) {
			w := s.aborted.Writes[0]
			polls := &s.Readers[1].Polls
			at := slices.IndexFunc(*polls, func(p Poll) bool { return p.Partition == left && p.Offset > w.Offset })
			*polls = slices.Insert(*polls, at, Poll{left, Seen{w.Offset, w.ID}, s.tick()})
		}},
		{"one partition committed, the other aborted", Torn, func(s *sound) { s.hide(s.tookEffect, right) }},
		{"records aborted, offsets committed", Torn, func(s *sound) { s.hide(s.tookEffect, left, right) }},
		{"records committed, offsets aborted", Torn, func(s *sound) { s.Final[0].Offset = 1 }},
		{"offsets of a transaction that did nothing", Torn, func(s *sound) { s.Final[0].Offset = 4 }},
		{"a record twice in one partition", Duplicate, func(s *sound) {
			s.All[left] = append(s.All[left], Seen{s.next[left], s.committed.Writes[0].ID})
		}},
		{"a record in the other partition", Moved, func(s *sound) {
			s.All[right] = append(s.All[right], Seen{s.next[right], s.committed.Writes[0].ID})
		}},
		{"a record at another offset", Moved, func(s *sound) { s.committed.Writes[0].Offset++ }},
		{"a committed offset goes back", WentBack, func(s *sound) { s.observe(1, 1) }},
		{"an unknown offset was seen and goes back", WentBack, func(s *sound) { s.observe(0, 3); s.observe(0, 1) }},
		{"a committed offset is not seen", WentBack, func(s *sound) { s.Offsets[2].Offset = -1 }},
		{"a reader goes back", WentBack, func(s *sound) {
			s.Readers[1].Polls = append(s.Readers[1].Polls, s.Readers[1].Polls[0])
		}},
		{"an offset before its commit was asked for", Early, func(s *sound) { s.Offsets[0].Offset = 3 }},
		{"a record before its commit was asked for", Early, func(s *sound) { s.Readers[1].Polls[0].At = 0 }},
		{"two records of a transaction swapped", Reordered, func(s *sound) { swap(s.All[left], 0, 1); swap(s.Committed[left], 0, 1) }},
		{"a fenced life's commit behind the next life's", Reordered, func(s *sound) {
			id := ID{1, 0, 1, 0}
			s.Committed[left] = append(s.Committed[left], Seen{s.next[left], id})
		}},
		{"a reader misses a record", Skipped, func(s *sound) { s.Readers[1].Polls = slices.Delete(s.Readers[1].Polls, 1, 2) }},
		{"an offset holds something else now", Changed, func(s *sound) { s.Readers[0].Polls[0].ID.N = 2 }},
		{"the two readings differ", Changed, func(s *sound) { s.Committed[left][0].Offset = 50 }},
		{"a zombie is told that it committed", Zombie, func(s *sound) { s.fenced.Said = Committed }},
		{"a record that nobody sent", Unknowable, func(s *sound) {
			s.All[left] = append(s.All[left], Seen{s.next[left], ID{7, 0, 0, 0}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSound()
			c.plant(s)
			faults := Check(s.History)
			if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == c.want }) {
				t.Errorf("want %s, the checker says %v", c.want, faults)
			}
		})
	}
}

func swap(seen []Seen, i, j int) { seen[i].ID, seen[j].ID = seen[j].ID, seen[i].ID }

// TestRandom: random sound histories have no faults, and random damage to the
// committed reading of one is found every time.
func TestRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := newBook()
		final := map[int]int64{0: -1, 1: -1, 2: -1}
		for seq := range 30 {
			writer, outcome := r.IntN(3), Outcome(r.IntN(3))
			effective := outcome == Committed || outcome == Unknown && r.IntN(2) == 0
			if b.run(writer, 0, seq, outcome, effective); effective {
				final[writer] = int64(seq + 1)
			}
			b.observe(writer, final[writer])
		}
		for writer, offset := range final {
			b.Final = append(b.Final, Observed{Group: group(writer), Partition: left, Offset: offset})
		}
		b.read()
		if faults := Check(b.History); len(faults) > 0 {
			t.Fatalf("seed %d: %d faults in a sound history, such as %s", seed, len(faults), faults[0])
		}
		if len(b.Committed[left]) == 0 {
			continue
		}
		at := r.IntN(len(b.Committed[left]))
		b.Committed[left] = slices.Delete(b.Committed[left], at, at+1)
		if len(Check(b.History)) == 0 {
			t.Fatalf("seed %d: the record at %d is gone, and nothing is found", seed, at)
		}
	}
}
