package txntest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"millrace/compat/history"
)

// How often a transaction is something else than begun, written and committed.
const (
	abortedShare = 0.15 // given up by its client
	delayedShare = 0.05 // left open for a while, often beyond its timeout
	zombieShare  = 0.05 // its producer is fenced by a newer one, and tries to commit
	renewedShare = 0.05 // its producer is closed behind it, and a new one opened
	hastyShare   = 0.1  // its client waits a moment for the answer to its commit
	lateShare    = 0.2  // requests of the transaction before it come in the middle
)

// hastyWithin is the longest that a hasty client waits: about what a commit takes.
const hastyWithin = 8 * time.Millisecond

// callWithin bounds each call of a library, from above their own timeouts.
const callWithin = 45 * time.Second

// writer is one transactional id with its own random numbers.
type writer struct {
	number     int
	library    Library
	addr       string
	timeout    time.Duration // of its transactions
	partitions []history.Partition
	journal    *journal
	random     *rand.Rand
	counts     *counts

	producer Producer
	life     int // of producer
	txns     int // transactions begun
	done     atomic.Int64
}

// counts says what the writers did, for the floor of a run.
type counts struct {
	committed, unknown, aborted, delayed, zombies, late, lives, acknowledged atomic.Int64

	mu       sync.Mutex
	accepted error // the first late request that a broker accepted
}

func (c *counts) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = cmp.Or(c.accepted, err)
}

func (c *counts) wrong() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}

func (w *writer) transactionalID() string { return fmt.Sprintf("txntest-%d", w.number) }
func (w *writer) group() string           { return fmt.Sprintf("txntest-group-%d", w.number) }

// run performs transactions until ctx ends. What goes wrong costs the producer
// and never the writer: the next life fences what the last one left.
func (w *writer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if w.producer == nil && !w.open(ctx) {
			continue
		}
		if err := w.transaction(ctx); err != nil || w.chance(renewedShare) {
			w.close()
		}
	}
	w.close()
}

// open makes the next life's producer, and says whether it could.
func (w *writer) open(ctx context.Context) bool {
	call, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	p, err := w.library.Open(call, w.addr, w.transactionalID(), w.timeout)
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
		return false
	}
	w.producer, w.life = p, w.life+1
	w.counts.lives.Add(1)
	return true
}

func (w *writer) close() {
	if w.producer != nil {
		w.producer.Close()
		w.producer = nil
	}
}

func (w *writer) chance(share float64) bool { return w.random.Float64() < share }

// transaction performs one transaction to whatever end, and returns an error
// when its producer cannot be used any more.
func (w *writer) transaction(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	t := &history.Txn{Writer: w.number, Life: w.life, Seq: w.txns}
	w.txns++
	w.journal.begin(t)
	if err := w.fill(ctx, t); err != nil {
		w.counts.aborted.Add(1)
		return err
	}
	switch {
	case w.chance(abortedShare):
		w.counts.aborted.Add(1)
		return w.producer.Abort(ctx)
	case w.chance(zombieShare):
		return w.fence(ctx, t)
	}
	if w.chance(hastyShare) {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(w.random.Int64N(int64(hastyWithin))))
		defer cancel()
	}
	w.journal.asked(t)
	if err := w.producer.Commit(ctx); err != nil {
		w.counts.unknown.Add(1)
		return err
	}
	w.journal.done(t)
	w.counts.committed.Add(1)
	w.done.Add(1)
	return nil
}

// fill begins a transaction, sends records to several partitions, and stages an
// offset, in two parts with now and then a long pause between.
func (w *writer) fill(ctx context.Context, t *history.Txn) error {
	if err := w.producer.Begin(ctx); err != nil {
		return err
	}
	if err := w.send(ctx, t); err != nil {
		return err
	}
	if s, ok := w.producer.(straggler); ok && w.chance(lateShare) {
		if err := w.late(ctx, s); err != nil {
			return err
		}
	}
	if w.chance(delayedShare) {
		w.counts.delayed.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(w.random.Int64N(int64(3 * w.timeout / 2)))):
		}
	}
	// The input is the writer's own count: an offset that only rises.
	staged := history.Staged{Group: w.group(), Partition: w.partitions[0], Offset: int64(w.txns)}
	t.Staged = append(t.Staged, staged)
	if err := w.producer.Stage(ctx, staged); err != nil {
		return err
	}
	if w.chance(0.5) {
		return w.send(ctx, t)
	}
	return nil
}

// send sends one to three records to each of two to four partitions.
func (w *writer) send(ctx context.Context, t *history.Txn) error {
	from := len(t.Writes)
	var records []Record
	for _, at := range w.random.Perm(len(w.partitions))[:2+w.random.IntN(3)] {
		for range 1 + w.random.IntN(3) {
			p := w.partitions[at]
			id := history.ID{Writer: t.Writer, Life: t.Life, Txn: t.Seq, N: len(t.Writes)}
			t.Writes = append(t.Writes, history.Write{ID: id, Partition: p, Offset: -1})
			records = append(records, Record{p, encode(id, p)})
		}
	}
	offsets, err := w.producer.Send(ctx, records)
	for i, offset := range offsets {
		if t.Writes[from+i].Offset = offset; offset >= 0 {
			w.counts.acknowledged.Add(1)
		}
	}
	return err
}

// late lets requests of the last transaction arrive in the middle of this one.
// Their record counts as a transaction of its own, which must not be visible.
func (w *writer) late(ctx context.Context, s straggler) error {
	t := &history.Txn{Writer: w.number, Life: w.life, Seq: w.txns}
	w.txns++
	p := w.partitions[w.random.IntN(len(w.partitions))]
	id := history.ID{Writer: t.Writer, Life: t.Life, Txn: t.Seq}
	t.Writes = []history.Write{{ID: id, Partition: p, Offset: -1}}
	w.journal.begin(t)
	w.counts.late.Add(1)
	err := s.Late(ctx, Record{p, encode(id, p)})
	if err != nil {
		w.counts.note(err)
	}
	return err
}

// fence opens the next life while this one's transaction is open, and lets the
// fenced producer ask for its commit, which must not succeed.
func (w *writer) fence(ctx context.Context, t *history.Txn) error {
	old := w.producer
	if !w.open(ctx) {
		return fmt.Errorf("writer %d: no next life", w.number)
	}
	w.counts.zombies.Add(1)
	w.counts.aborted.Add(1)
	w.journal.zombie(t, w.journal.tick(), func() error { return old.Commit(ctx) })
	old.Close()
	return nil
}
