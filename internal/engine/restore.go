package engine

import (
	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
)

// store brings one store's entries on disk to the end of its changelog, and
// returns the last commit record; nil when the changelog has none.
func (s *starter) store(u *unit, t *task, spec topology.StoreSpec) (*taskStore, *commitRecord, error) {
	part, err := s.in.db.Part(spec.Name, t.p)
	if err != nil {
		return nil, nil, err
	}
	tp := record.TopicPartition{Topic: spec.Changelog, Partition: t.p}
	topicID, span := s.in.layout.facts[spec.Changelog].ID, s.spans[tp]
	at, has, err := part.Position()
	if err != nil {
		return nil, nil, err
	}
	todo, err := planRestore(spec, tp, at, has, topicID, span, s.in.options.Now())
	if err != nil {
		return nil, nil, err
	}
	if todo.clear {
		s.in.options.Logger.Warn("state on disk is dropped and restored from the changelog", "job", s.in.options.Plan.App, "state", spec.Name, "partition", t.p, "why", todo.why)
		if err := part.Clear(); err != nil {
			return nil, nil, err
		}
		at = store.Position{}
	}
	to := span.Stable
	if s.in.options.faults.restoreOneShort {
		to = max(todo.from, to-3) // the marker, the commit record, and one more
	}
	r := &restorer{starter: s, unit: u, part: part, at: at, next: todo.from}
	r.at.TopicID, r.at.LeaderEpoch = topicID, -1
	u.total.Add(int64(max(0, to-todo.from)))
	if err := s.in.reader.Read(u.ctx, tp, todo.from, to, r.take); err != nil {
		return nil, nil, err
	}
	if err := r.flush(); err != nil {
		return nil, nil, err
	}
	ts := &taskStore{spec: spec, part: part, changelog: tp, topicID: topicID, lane: t.out.sender.Lane(tp), next: max(r.next, to)}
	if r.at.Commit == nil {
		return ts, nil, nil
	}
	c, err := decodeCommit(r.at.Commit)
	return ts, c, err
}

// restorer writes changelog records to disk, with the position, in batches, so
// that a crash goes on from there.
type restorer struct {
	starter *starter
	unit    *unit
	part    *store.Part
	at      store.Position // of the last flush, with the newest commit record
	next    record.Offset
	batch   *store.Flush
}

// restoreBatchBytes is written at once.
const restoreBatchBytes = 1 << 20

func (r *restorer) take(c *client.Columns) error {
	if err := r.unit.ctx.Err(); err != nil {
		return err // it was given away
	}
	if r.batch == nil {
		r.batch = r.starter.in.db.NewFlush()
	}
	w := r.batch.To(r.part)
	for i, key := range c.Keys {
		switch value := c.Values[i]; {
		case isCommitKey(key):
			r.at.Commit = append([]byte(nil), value...)
		case value == nil:
			w.Delete(key)
		default:
			w.Put(key, value)
		}
	}
	r.unit.done.Add(int64(c.Next - r.next))
	r.next = c.Next
	faults := &r.starter.in.options.faults
	if r.batch.SizeBytes() < restoreBatchBytes && !faults.smallBatches {
		return nil
	}
	faults.reach(duringRestore)
	return r.flush()
}

func (r *restorer) flush() error {
	if r.batch == nil {
		return nil
	}
	r.at.Next, r.at.AppliedAt = r.next, r.starter.in.options.Now()
	r.batch.SetPosition(r.part, r.at)
	b := r.batch
	r.batch = nil
	return b.Apply()
}
