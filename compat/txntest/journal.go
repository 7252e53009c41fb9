package txntest

import (
	"sync"

	"millrace/compat/history"
)

// journal collects what the clients see. Its clock counts: an event that ended
// before another began has the lower number.
type journal struct {
	mu        sync.Mutex
	now       history.Time
	txns      []*history.Txn
	offsets   []history.Observed
	committed int // transactions whose clients were told so
}

func (j *journal) tick() history.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now++
	return j.now
}

// begin notes a transaction, which counts as aborted until its commit is asked
// for. Only its writer changes it.
func (j *journal) begin(t *history.Txn) {
	t.Outcome = history.Aborted
	j.mu.Lock()
	defer j.mu.Unlock()
	j.txns = append(j.txns, t)
}

// asked notes that the commit is about to be asked for.
func (j *journal) asked(t *history.Txn) {
	t.Outcome, t.CommitSent = history.Unknown, j.tick()
}

// done notes that the client was told that the transaction is committed.
func (j *journal) done(t *history.Txn) {
	t.Outcome, t.Said, t.Ended = history.Committed, history.Committed, j.tick()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.committed++
}

// zombie notes what a fenced producer was told when it asked for a commit.
func (j *journal) zombie(t *history.Txn, fenced history.Time, ask func() error) {
	t.Fenced, t.CommitSent = fenced, j.tick()
	if ask() == nil {
		t.Said = history.Committed
	}
}

func (j *journal) observed(o history.Observed) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.offsets = append(j.offsets, o)
}

// progress returns how many transactions are known to be committed, and how many
// offsets were observed.
func (j *journal) progress() (committed, observed int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.committed, len(j.offsets)
}
