package txn

import (
	"hash/maphash"

	"millrace/record"
)

// world is one state of the model, comparable, so that it can be looked up.
type world struct {
	records  [3]stored // of the transactional id; the last one is its state
	n        uint8     // of records
	marked   uint8     // partitions whose marker was appended by the present owner
	adopt    bool      // a restart has yet to look for open data that no record names
	logs     [modelPartitions]partitionLog
	clients  [modelClients]client
	txns     [modelTxns]attempt
	begun    uint8
	crashes  uint8
	timeouts uint8
}

// stored is one record: a Txn without what does not change here, and whose
// transaction it was.
type stored struct {
	state           State
	epoch, last     int8
	partitions, cur uint8
	version         Version
}

// partitionLog is what was written to one partition; the first durable events
// survive a crash. What is durable and decided is folded into the results.
type partitionLog struct {
	events     [6]event
	n, durable uint8
	results    [modelTxns]uint8 // outcomes of folded transactions
	base       int8             // newest epoch among them
}

// event is a write of a transaction, or a marker.
type event struct {
	kind  uint8 // 'd', 'c', 'a'
	txn   uint8
	epoch int8
}

type client struct {
	phase phase
	epoch int8
	txn   uint8
	inits uint8
}

type phase uint8

const (
	idle    phase = iota // has no producer
	asking               // its InitProducerID was taken, and is not durable yet
	ready                // may begin
	open                 // in a transaction
	waiting              // for the answer to EndTxn
	stopped              // fenced
)

// attempt is one transaction as its client and an all-knowing observer see it.
type attempt struct {
	owner, wrote            uint8
	epoch                   int8
	commit, sent, delivered uint8 // what EndTxn says, whether it was sent, how often it arrived
	told                    uint8 // the answer: 'c', 'a' or 0
	banned                  bool  // a newer client was told that this one is fenced
}

const noTxn = modelTxns

func newWorld() world {
	var w world
	w.n = 1
	w.records[0] = pack(New(1, 0), noTxn)
	for p := range w.logs {
		w.logs[p].base = None
	}
	for k := range w.txns {
		w.txns[k].epoch = None
	}
	return w
}

var modelSets = func() (sets [1 << modelPartitions][]record.TopicPartition) {
	for mask := range sets {
		for p := range modelPartitions {
			if mask>>p&1 == 1 {
				sets[mask] = append(sets[mask], record.TopicPartition{Topic: "t", Partition: record.Partition(p)})
			}
		}
	}
	return sets
}()

func pack(t Txn, cur uint8) stored {
	s := stored{state: t.State, epoch: int8(t.Producer.Epoch), last: int8(t.LastEpoch), version: t.Version, cur: cur}
	for _, tp := range t.Partitions {
		s.partitions |= 1 << tp.Partition
	}
	return s
}

func (s stored) unpack() Txn {
	return Txn{
		State: s.state, Producer: Producer{1, int16(s.epoch)}, LastEpoch: int16(s.last), PrevID: 1, NextID: None,
		Partitions: modelSets[s.partitions], Version: s.version,
	}
}

func (w *world) last() stored  { return w.records[w.n-1] }
func (w *world) state() Txn    { return w.last().unpack() }
func (w *world) durable() bool { return w.n == 1 }

// store appends a record; false when the model has no room for more unsynced ones.
func (w *world) store(t Txn, cur uint8) bool {
	if int(w.n) == len(w.records) {
		return false
	}
	w.records[w.n] = pack(t, cur)
	w.n++
	return true
}

func (l *partitionLog) append(e event) bool {
	if int(l.n) == len(l.events) {
		return false
	}
	l.events[l.n] = e
	l.n++
	return true
}

// epoch is the newest one that the partition knows of the producer.
func (l *partitionLog) epoch() int8 {
	newest := l.base
	for _, e := range l.events[:l.n] {
		newest = max(newest, e.epoch)
	}
	return newest
}

// open is the transaction whose data has no marker behind it, or noTxn.
func (l *partitionLog) open() (txn uint8, epoch int8) {
	txn = noTxn
	for _, e := range l.events[:l.n] {
		if e.kind == 'd' {
			txn, epoch = e.txn, e.epoch
		} else {
			txn = noTxn
		}
	}
	return txn, epoch
}

// outcome is what became of a transaction's data here: 'c', 'a', 'o' while it
// is open, 0 without data, '!' when the log tells two things.
func (l *partitionLog) outcome(txn uint8) uint8 {
	result := l.results[txn]
	pending := false
	for _, e := range l.events[:l.n] {
		switch {
		case e.kind == 'd' && e.txn == txn:
			pending = true
		case e.kind != 'd' && pending:
			if result != 0 && result != e.kind {
				return '!'
			}
			result, pending = e.kind, false
		}
	}
	if pending && result == 0 {
		return 'o'
	}
	if pending {
		return '!'
	}
	return result
}

// fold takes what nothing can change any more out of the events.
func (l *partitionLog) fold() {
	decided := uint8(0)
	for i, e := range l.events[:l.durable] {
		if e.kind != 'd' {
			decided = uint8(i) + 1
		}
	}
	if decided == 0 {
		return
	}
	was := partitionLog{events: l.events, n: decided, durable: decided, results: l.results, base: l.base}
	for k := range l.results {
		l.results[k] = was.outcome(uint8(k))
	}
	l.base = was.epoch()
	l.events = [len(l.events)]event{}
	copy(l.events[:], was.events[decided:l.n])
	l.n -= decided
	l.durable -= decided
}

func (l *partitionLog) has(txn, within uint8) bool {
	if l.results[txn] != 0 {
		return true
	}
	for _, e := range l.events[:within] {
		if e.kind == 'd' && e.txn == txn {
			return true
		}
	}
	return false
}

// seenSet holds the 64-bit hashes of worlds. Among 10 million of them two fall
// together by chance once in 400,000 runs, and then a world is not visited.
type seenSet struct {
	seed  maphash.Seed
	slots []uint64 // open addressing; 0 is free
	count int
}

func newSeenSet() seenSet { return seenSet{seed: maphash.MakeSeed(), slots: make([]uint64, 1<<16)} }

// add reports whether w is new.
func (s *seenSet) add(w *world) bool {
	if s.count > len(s.slots)/2 {
		old := s.slots
		s.slots = make([]uint64, 2*len(old))
		for _, h := range old {
			if h != 0 {
				s.slots[s.place(h)] = h
			}
		}
	}
	h := max(s.hash(w), 1)
	i := s.place(h)
	if s.slots[i] == h {
		return false
	}
	s.slots[i] = h
	s.count++
	return true
}

// hash is the same for worlds that differ only in which client or partition is
// called the first.
func (s *seenSet) hash(w *world) uint64 {
	mirrored := *w
	mirrored.swapPartitions()
	h := min(maphash.Comparable(s.seed, *w), maphash.Comparable(s.seed, mirrored))
	mirrored.swapClients()
	h = min(h, maphash.Comparable(s.seed, mirrored))
	mirrored.swapPartitions()
	return min(h, maphash.Comparable(s.seed, mirrored))
}

func (w *world) swapPartitions() {
	w.logs[0], w.logs[1] = w.logs[1], w.logs[0]
	w.marked = swapBits(w.marked)
	for i := range w.records {
		w.records[i].partitions = swapBits(w.records[i].partitions)
	}
	for k := range w.txns {
		w.txns[k].wrote = swapBits(w.txns[k].wrote)
	}
}

func swapBits(mask uint8) uint8 { return mask>>1 | mask&1<<1 }

func (w *world) swapClients() {
	w.clients[0], w.clients[1] = w.clients[1], w.clients[0]
	for k := range w.txns[:w.begun] {
		w.txns[k].owner ^= 1
	}
}

func (s *seenSet) place(h uint64) uint64 {
	mask := uint64(len(s.slots) - 1)
	i := h & mask
	for s.slots[i] != 0 && s.slots[i] != h {
		i = (i + 1) & mask
	}
	return i
}
