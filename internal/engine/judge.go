package engine

import (
	"fmt"
	"time"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
)

// verdict is what the group's offsets say about a task after a transaction whose
// outcome was not known, when nothing of it can change any more.
type verdict int8

const (
	// dropped: nothing was committed. The tables stand where they stood.
	dropped verdict = iota
	// moved: Kafka is ahead of the tables, because the transaction was committed
	// after all or another instance had the partition. The changelog brings it.
	moved
)

// judge holds the offsets that the group has now against those that the task's
// committed tables reflect.
func judge(reflects, committed map[record.TopicPartition]record.Offset) verdict {
	for tp, offset := range reflects {
		if committed[tp] != offset {
			return moved
		}
	}
	return dropped
}

// restoring is how a store's part is brought to the end of its changelog.
type restoring struct {
	clear bool          // drop what is there first
	from  record.Offset // read the changelog from here
	why   string        // of clear, for the log
}

// planRestore decides it. An error means that neither the entries nor the
// changelog alone can be believed, and that a person has to look.
func planRestore(s topology.StoreSpec, tp record.TopicPartition, at store.Position, has bool, topicID [16]byte, span client.Span, now time.Time) (restoring, error) {
	empty := restoring{from: span.Start}
	windowed := !s.Window.IsZero() // such a changelog loses its old end, by retention
	switch {
	case !has:
		if span.Start > 0 && !windowed {
			return empty, truncated(s, tp, 0, span.Start)
		}
		return empty, nil
	case at.TopicID != topicID || at.Next > span.Stable:
		empty.clear, empty.why = true, "the changelog is not the one that the entries came from"
		if span.Stable > 0 && at.TopicID == topicID {
			return empty, &ChangelogError{TopicPartition: tp, Store: s.Name, Detail: fmt.Sprintf(
				"the entries on disk reflect it up to offset %d, and it ends at %d: the cluster has lost records", at.Next, span.Stable)}
		}
		return empty, nil
	case now.Sub(at.AppliedAt) > tombstonesLast:
		empty.clear, empty.why = true, fmt.Sprintf("the entries are from %v: tombstones since then may be gone from the changelog", at.AppliedAt.UTC())
		if span.Start > 0 && !windowed {
			return empty, truncated(s, tp, at.Next, span.Start)
		}
		return empty, nil
	case at.Next < span.Start && !windowed:
		return empty, truncated(s, tp, at.Next, span.Start)
	}
	return restoring{from: max(at.Next, span.Start)}, nil
}

// tombstonesLast is Kafka's default of delete.retention.ms, with a margin: after
// that long a changelog may have forgotten that a key was deleted.
const tombstonesLast = 23 * time.Hour

// ChangelogError says that a changelog and the state on disk contradict each
// other in a way that only a person can decide: nothing was changed.
type ChangelogError struct {
	record.TopicPartition
	Store  string
	Detail string
}

func (e *ChangelogError) Error() string {
	return fmt.Sprintf("state %q, changelog %s: %s. Nothing was changed; to give the state up and count anew, reset the job (millrace jobs reset)",
		e.Store, e.TopicPartition, e.Detail)
}

func truncated(s topology.StoreSpec, tp record.TopicPartition, at, start record.Offset) error {
	return &ChangelogError{TopicPartition: tp, Store: s.Name, Detail: fmt.Sprintf(
		"it begins at offset %d, but records from offset %d on are needed: somebody has deleted them", start, at)}
}

// MismatchError is the engine's permanent check of itself: the entries of a
// store reflect another input offset than the one that the group has committed.
type MismatchError struct {
	Store     string
	Input     record.TopicPartition
	State     record.Offset // -1: the changelog has no commit record
	Committed record.Offset // -1: the group has no commit
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("state %q reflects %s up to offset %s, but the group has committed offset %s: the task does not run. "+
		"If the state is new in this job, or its name has changed, or offsets were set by hand, reset the job (millrace jobs reset)",
		e.Store, e.Input, offsetText(e.State), offsetText(e.Committed))
}

func offsetText(o record.Offset) string {
	if o < 0 {
		return "none"
	}
	return fmt.Sprint(int64(o))
}

// RecreatedError says that an input topic is not the one that state reflects:
// its offsets mean other records now.
type RecreatedError struct{ Topic record.Topic }

func (e *RecreatedError) Error() string {
	return fmt.Sprintf("topic %q was deleted and created anew since its records were counted: reset the job to count the new one (millrace jobs reset)", string(e.Topic))
}

// ChangedError says that a store was written by another form of the job.
type ChangedError struct {
	Store    string
	Was, Now string // what its entries are
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("state %q was written with other types or another window than the job has now (it has %s, the job %s): "+
		"give the changed operator a new name, or reset the job (millrace jobs reset)", e.Store, e.Was, e.Now)
}

// checkState is step 6 of a start: each store reflects exactly what the group
// has committed. c is nil when the changelog has no commit record; ids are those of
// the topics that the task reads, also through others.
func checkState(s topology.StoreSpec, c *commitRecord, committed map[record.TopicPartition]record.Offset, p record.Partition, ids map[record.Topic][16]byte) error {
	state := make(map[record.TopicPartition]record.Offset)
	if c != nil {
		if now := formOf(s); c.spec != now.hash() {
			return &ChangedError{Store: s.Name, Was: c.form.String(), Now: now.String()}
		}
		for _, in := range c.inputs {
			if id := ids[in.topic]; id != in.topicID {
				return &RecreatedError{Topic: in.topic}
			}
			state[record.TopicPartition{Topic: in.topic, Partition: p}] = in.offset
		}
		for _, o := range c.origins {
			if id, read := ids[o.topic]; read && id != o.topicID {
				return &RecreatedError{Topic: o.topic}
			}
		}
	}
	for tp, offset := range committed {
		at, known := state[tp]
		if !known {
			at = -1
		}
		if at != offset {
			return &MismatchError{Store: s.Name, Input: tp, State: at, Committed: offset}
		}
	}
	return nil
}
