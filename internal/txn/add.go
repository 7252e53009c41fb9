package txn

import (
	"slices"

	"millrace/record"
)

// AddRequest brings partitions into the transaction, and begins it if there is
// none.
type AddRequest struct {
	Producer   Producer
	Partitions []record.TopicPartition
	Version    Version
}

// AddPartitions is what AddPartitionsToTxn and AddOffsetsToTxn do by request,
// and a write by a client of V2 without one.
func (t Txn) AddPartitions(now record.Timestamp, r AddRequest) (Step, error) {
	switch err := t.check(r.Producer); {
	case err != nil:
		return Step{}, err
	case t.State.Prepared():
		return Step{}, ErrConcurrent
	}
	partitions := t.with(r.Partitions)
	if t.State == Ongoing && len(partitions) == len(t.Partitions) {
		return t.unchanged(), nil
	}
	next := t.become(Ongoing, now)
	if t.State != Ongoing {
		next.StartedAt = now
	}
	next.Partitions, next.Version = partitions, r.Version
	return next.stored(), nil
}

// with is the partitions of the transaction and those added.
func (t Txn) with(added []record.TopicPartition) []record.TopicPartition {
	if !slices.ContainsFunc(added, func(tp record.TopicPartition) bool { return !t.Has(tp) }) {
		return t.Partitions
	}
	all := slices.Concat(t.Partitions, added)
	slices.SortFunc(all, ComparePartitions)
	return slices.Compact(all)
}

// Verify says whether the producer may write to the partition, which must have
// been added before (V1).
func (t Txn) Verify(p Producer, tp record.TopicPartition) error {
	switch err := t.check(p); {
	case err != nil:
		return err
	case t.State.Prepared():
		return ErrConcurrent
	case t.State != Ongoing || !t.Has(tp):
		return ErrNotAdded
	}
	return nil
}
