package broker

import (
	"context"
	"sync"
	"time"

	"millrace/internal/txn"
	"millrace/record"
)

// liveTxn is one transactional id with its lock and its place in the log. All
// fields of mu belong to who holds the lock.
type liveTxn struct {
	id    string
	shard *txnShard

	mu struct {
		sync.Mutex
		txn     txn.Txn
		written written       // its newest record, whose sync every answer waits for
		settled chan struct{} // closed when the markers of a Prepared state are written; nil in the others
		gone    bool          // expired: look it up again
		began   int64         // sync rounds when the transaction began
		open    []openTxn     // what the start found open of this producer, until adopt
	}
}

func newLiveTxn(s *txnShard, id string, t txn.Txn) *liveTxn {
	lt := &liveTxn{id: id, shard: s}
	lt.mu.txn = t
	return lt
}

// store makes next the state of the id: its record is appended, and its answer
// must wait for written. A Prepared state gets its markers. The caller holds mu.
func (lt *liveTxn) store(next txn.Txn) error {
	err := lt.storeLater(next, true)
	if err == nil && next.State.Prepared() {
		lt.finishLater()
	}
	return err
}

// storeLater is store, and leaves it to the caller to start a sync unless urgent,
// and to have a Prepared state finished.
func (lt *liveTxn) storeLater(next txn.Txn, urgent bool) error {
	if lt.shard.x.b.cfg.txnFaults.noPrepare && next.State.Prepared() {
		lt.become(next)
		return nil
	}
	a, err := lt.shard.append(txnRecord(lt.id, next), urgent)
	if err != nil {
		return err
	}
	lt.mu.written = written{Appended: a, any: true}
	lt.become(next)
	return nil
}

// prepare stores a decision, whose sync the caller starts. If here, the caller has
// the markers written, too.
func (lt *liveTxn) prepare(next txn.Txn, here bool) error {
	err := lt.storeLater(next, false)
	if err == nil && !here {
		lt.finishLater()
	}
	return err
}

// become brings the rest of the broker up to date with a stored state.
func (lt *liveTxn) become(next txn.Txn) {
	x := lt.shard.x
	if next.State == txn.Ongoing && lt.mu.txn.State != txn.Ongoing {
		lt.mu.began = x.b.store.SyncRounds()
	}
	lt.mu.txn = next
	x.mu.Lock()
	if next.State == txn.Ongoing {
		x.mu.ongoing[lt] = next.StartedAt + record.Timestamp(next.TimeoutMs)
	} else {
		delete(x.mu.ongoing, lt)
	}
	x.mu.Unlock()
	if next.State.Prepared() {
		lt.mu.settled = make(chan struct{})
	}
}

// take carries a step out. An error that comes with a step to store is passed on
// when that is done.
func (lt *liveTxn) take(step txn.Step, decided error) error {
	if step.Store {
		if err := lt.store(step.Next); err != nil {
			return err
		}
	}
	return decided
}

// forget removes the id with a tombstone.
func (lt *liveTxn) forget() error {
	if _, err := lt.shard.append(offsetsRecord{key: txnKey(lt.id)}, false); err != nil {
		return err
	}
	lt.mu.txn.State, lt.mu.gone = txn.Dead, true
	s := lt.shard
	s.mu.Lock()
	delete(s.mu.ids, lt.id)
	s.mu.Unlock()
	s.x.ids.Add(-1)
	return nil
}

// settlePatience is how long a request waits for the markers of the transaction
// before. Beyond it the client is told to ask again.
const settlePatience = 2 * time.Second

// wait returns when what a step has stored is durable. It starts the sync if
// nobody has.
func (lt *liveTxn) wait(w written) error {
	b := lt.shard.x.b
	b.store.SyncHere(lt.shard.log)
	return w.wait(b)
}

// do locks the id and calls step, again when the markers are written that a step
// had to wait for (ErrConcurrent). It returns what must be durable before the
// client may know.
func (lt *liveTxn) do(ctx context.Context, step func() error) (written, error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for {
		lt.mu.Lock()
		if lt.mu.gone {
			lt.mu.Unlock()
			return written{}, errIDGone
		}
		err := step()
		w, settled := lt.mu.written, lt.mu.settled
		lt.mu.Unlock()
		if err != txn.ErrConcurrent || settled == nil {
			return w, err
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return w, err
		}
	}
}

// lockSettled is do for who goes on holding the lock: it returns with the lock,
// or with the reason why not.
func (lt *liveTxn) lockSettled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for {
		lt.mu.Lock()
		settled := lt.mu.settled
		switch {
		case lt.mu.gone:
			lt.mu.Unlock()
			return errIDGone
		case settled == nil:
			return nil
		}
		lt.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return txn.ErrConcurrent
		}
	}
}
