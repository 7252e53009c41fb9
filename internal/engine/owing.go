package engine

import (
	"fmt"
	"time"

	"millrace/record"
)

// owing is what was taken from the inputs and is not committed yet. It outlives
// sessions: a record that one has taken waits on while the next one begins. It
// belongs to the goroutine of the engine's loop.
type owing struct {
	upTo map[record.TopicPartition]record.Offset // taken below; a partition that owes nothing is not in it
}

// StalledError means that records were taken from the inputs, and nothing was
// committed for longer than the transaction timeout. By then the brokers have
// given the transaction up, so this is no slow commit: their disk is full, a
// coordinator is away, or the group does not come to rest. The job tries on.
type StalledError struct {
	Waited time.Duration // of the record that was taken first
	Err    error         // why the last transaction was not committed; nil: the first one hangs
}

func (e *StalledError) Error() string {
	s := fmt.Sprintf("records were taken %v ago, and nothing was committed since", e.Waited.Round(time.Second))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *StalledError) Unwrap() error { return e.Err }

// owe notes that records of a partition were taken, up to next.
func (e *Engine) owe(tp record.TopicPartition, next record.Offset) {
	if len(e.owing.upTo) == 0 {
		e.setOwed(e.options.Now())
		e.owing.upTo = make(map[record.TopicPartition]record.Offset)
	}
	e.owing.upTo[tp] = max(next, e.owing.upTo[tp])
}

// settled is for a commit: of what was taken before, nothing waits.
func (e *Engine) settled() {
	if len(e.owing.upTo) > 0 {
		clear(e.owing.upTo)
		e.setOwed(time.Time{})
	}
}

// acquit drops what this instance does not owe any more without a commit of its
// own: partitions that others have now, or that a fault has stopped, which is said
// as such, and offsets that turned out to be committed. It must know its partitions.
func (in *instance) acquit() {
	owing := in.engine.owing.upTo
	if len(owing) == 0 {
		return
	}
	for tp, upTo := range owing {
		u := in.units[unitKey{in.layout.groupOf(tp.Topic), tp.Partition}]
		if u == nil || u.phase == failedPhase || u.phase == runningPhase && in.reached(tp, upTo) {
			delete(owing, tp)
		}
	}
	if len(owing) == 0 {
		in.engine.setOwed(time.Time{})
	}
}

// reached says that every task that reads tp has committed up to an offset.
func (in *instance) reached(tp record.TopicPartition, upTo record.Offset) bool {
	for _, s := range in.inputs[tp] {
		if s.input.position() < upTo {
			return false
		}
	}
	return true
}

func (e *Engine) setOwed(since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.owedSince, e.mu.refused = since, nil
}

// refused notes why a transaction was not committed, for [StalledError].
func (e *Engine) refused(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if why != nil {
		e.mu.refused = why
	}
}

// owed is how long the record waits for its commit that was taken first.
func (e *Engine) owed() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.owedLocked()
}

func (e *Engine) owedLocked() time.Duration {
	if e.mu.owedSince.IsZero() {
		return 0
	}
	return max(0, e.options.Now().Sub(e.mu.owedSince))
}

// stalledLocked is nil while commits come, or have nothing to commit.
func (e *Engine) stalledLocked() error {
	if waited := e.owedLocked(); waited > e.options.TransactionTimeout {
		return &StalledError{Waited: waited, Err: e.mu.refused}
	}
	return nil
}
