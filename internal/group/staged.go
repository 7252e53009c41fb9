package group

import (
	"maps"
	"slices"
	"time"

	"millrace/record"
)

// Offsets that are committed within a transaction are staged: they count when
// the transaction commits, and never when it aborts. They are durable before.

// stagedKey is one position that a producer's open transaction will move.
type stagedKey struct {
	producerID int64
	tp         record.TopicPartition
}

// CheckTxnCommit says whether offsets may be staged by this member, and keeps
// its session alive. A client that tells neither member nor generation is let
// in, as in Kafka: those older than KIP-447 know them not. A rebalance in
// progress does not hinder: who gets the partitions waits for the transaction.
func (g *Group) CheckTxnCommit(now time.Time, memberID, instanceID string, generation int32) error {
	g.begin(now)
	switch {
	case g.state == Dead:
		return ErrDead
	case generation < 0 && memberID == "" && instanceID == "":
		return nil
	}
	m, err := g.current(memberID, instanceID, generation)
	if err != nil {
		return err
	}
	g.touch(m)
	return nil
}

// Stage records an offset that was checked and written, and counts when the
// producer's transaction commits.
func (g *Group) Stage(producerID int64, tp record.TopicPartition, o Offset) {
	if g.staged == nil {
		g.staged = map[stagedKey]Offset{}
	}
	key := stagedKey{producerID, tp}
	g.unstage(key)
	g.staged[key] = o
	g.offsetSizes += o.sizeBytes(tp)
}

func (g *Group) unstage(key stagedKey) {
	if o, ok := g.staged[key]; ok {
		g.offsetSizes -= o.sizeBytes(key.tp)
		delete(g.staged, key)
	}
}

// Settle ends the producer's transaction: its offsets count from now on, or are
// forgotten. Of two commits the one that was written later counts, so an offset
// that was committed outside of the transaction since then stays.
func (g *Group) Settle(producerID int64, commit bool) {
	for key, o := range g.staged {
		if key.producerID != producerID {
			continue
		}
		g.unstage(key)
		if before, known := g.offsets[key.tp]; commit && (!known || before.Position < o.Position) {
			g.SetOffset(key.tp, o)
		}
	}
}

// Unstage forgets what any transaction would do to the position, because its
// tombstone was written.
func (g *Group) Unstage(tp record.TopicPartition) {
	for key := range g.staged {
		if key.tp == tp {
			g.unstage(key)
		}
	}
}

// HasStaged reports whether an open transaction may move the position.
func (g *Group) HasStaged(tp record.TopicPartition) bool {
	for key := range g.staged {
		if key.tp == tp {
			return true
		}
	}
	return false
}

// Positions is all positions that the group has committed or staged, each once,
// in no order.
func (g *Group) Positions() []record.TopicPartition {
	all := slices.Collect(maps.Keys(g.offsets))
	for key := range g.staged {
		if _, committed := g.offsets[key.tp]; !committed && !slices.Contains(all[len(g.offsets):], key.tp) {
			all = append(all, key.tp)
		}
	}
	return all
}

// StagedCount is the number of offsets in open transactions.
func (g *Group) StagedCount() int { return len(g.staged) }
