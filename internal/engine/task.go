package engine

import (
	"fmt"
	"time"

	"millrace/internal/client"
	"millrace/internal/state"
	"millrace/internal/store"
	"millrace/internal/topology"
	"millrace/record"
)

// task is one sub-topology on one partition: the pure step, its place on disk,
// and where it stands in Kafka. It is stepped by one goroutine at a time.
type task struct {
	options *Options
	sub     *topology.Sub
	p       record.Partition
	step    topology.Task
	out     *output
	inputs  []*input
	stores  []*taskStore
	origins []origin

	pending []topology.Batch // polled, to be processed next
	last    *commitRecord    // of the last commit that is known; nil: none
	open    *commitRecord    // of the commit that is under way
	changed bool             // takes part in the open transaction
	err     error            // of the last step
	flushed time.Time        // when the disk was last brought up to date
	behind  bool             // something was committed since
}

// input is one source partition of a task.
type input struct {
	tp          record.TopicPartition
	source      int // index into Sub.Sources
	topicID     [16]byte
	next        record.Offset // processed up to here, in the open transaction
	claim       record.Offset // what its commit may claim: next, or where the step holds records back
	leaderEpoch int32
	committed   record.Offset // as of the last known commit; -1: none
	start       record.Offset // where reading begins when there is no commit
	high        record.Offset // end of the log as of the last fetch
}

// taskStore is one store of a task: the table in memory, the part on disk and
// the changelog in Kafka.
type taskStore struct {
	spec      topology.StoreSpec
	table     state.Table
	part      *store.Part
	changelog record.TopicPartition
	topicID   [16]byte
	lane      *client.Lane
	next      record.Offset // behind the last record of a known commit
}

func (t *task) String() string { return fmt.Sprintf("task %d of sub-topology %d", t.p, t.sub.ID) }

// take notes what was polled from one of the inputs.
func (t *task) take(in *input, c *client.Columns) {
	t.changed = t.changed || c.Next > in.next
	in.next, in.leaderEpoch, in.high = c.Next, c.LeaderEpoch, c.HighWatermark
	t.pending = append(t.pending, topology.Batch{
		Source:     in.source,
		Partition:  c.Partition,
		Offsets:    c.Offsets,
		Timestamps: c.Timestamps,
		Keys:       c.Keys,
		Values:     c.Values,
		Headers:    c.Headers,
		Next:       c.Next,
		AtEnd:      c.AtEnd(),
	})
}

// process steps through what was taken.
func (t *task) process() {
	for i := range t.pending {
		if t.err = t.step.Process(&t.pending[i], t.out); t.err != nil {
			break
		}
	}
	clear(t.pending)
	t.pending = t.pending[:0]
}

// prepare sends all that the commit needs: outputs, one changelog record per
// changed key, and the commit record.
func (t *task) prepare() {
	if t.err = t.step.Prepare(t.out); t.err != nil {
		return
	}
	for _, s := range t.stores {
		t.err = s.table.Changes(func(key, value []byte) {
			if isCommitKey(key) {
				t.err = fmt.Errorf("state %q: the key %q is Millrace's own", s.spec.Name, key)
				return
			}
			s.lane.Send(key, value, record.NoTimestamp, nil)
		})
		if t.err != nil {
			return
		}
	}
	t.open = &commitRecord{origins: t.origins, progress: t.step.AppendProgress(nil)}
	for _, in := range t.inputs {
		in.claim = t.claim(in)
		t.open.inputs = append(t.open.inputs, inputMark{topic: in.tp.Topic, topicID: in.topicID, offset: in.claim, leaderEpoch: in.leaderEpoch})
	}
	for _, s := range t.stores {
		s.lane.Send(commitKey, t.open.of(s.spec).append(nil), record.NoTimestamp, nil)
	}
}

// openKeys counts the keys that the open transaction has changed in tables.
func (t *task) openKeys() (n int) {
	for _, s := range t.stores {
		n += s.table.OpenKeys()
	}
	return n
}

// claim is up to where the open transaction has all of an input in it.
func (t *task) claim(in *input) record.Offset {
	if h, ok := t.step.(topology.Holder); ok {
		if first, some := h.Held(in.source); some {
			return first
		}
	}
	return in.next
}

// of is the record for one store.
func (c *commitRecord) of(spec topology.StoreSpec) *commitRecord {
	own := *c
	own.form = formOf(spec)
	return &own
}

// positions adds what the group is to commit for this task.
func (t *task) positions(all map[record.TopicPartition]client.Position) {
	for i, in := range t.inputs {
		p := client.Position{Offset: in.claim, LeaderEpoch: in.leaderEpoch}
		if i == 0 && len(t.stores) == 0 && len(t.open.progress) <= client.MaxNoteBytes {
			p.Note = t.open.progress // there is no changelog to carry it
		}
		all[in.tp] = p
	}
}

// commit moves the tables: the transaction is known to be committed.
func (t *task) commit() {
	t.step.Commit()
	t.last, t.open = t.open, nil
	t.changed, t.behind = false, true
	for _, in := range t.inputs {
		in.committed = in.claim
	}
	for _, s := range t.stores {
		s.next = max(s.next, s.lane.Next())
	}
	t.out.bytes, t.out.sent = 0, 0
}

// abort drops what is open. The inputs are where they were; the caller rewinds.
func (t *task) abort() {
	t.step.Abort()
	t.open, t.changed, t.err = nil, false, nil
	clear(t.pending)
	t.pending = t.pending[:0]
	for _, in := range t.inputs {
		in.next = in.position()
	}
	t.out.bytes, t.out.sent = 0, 0
}

// position is where reading goes on after what is committed.
func (in *input) position() record.Offset {
	if in.committed < 0 {
		return in.start
	}
	return in.committed
}

// position is where the committed entries of a store stand in its changelog.
func (t *task) position(s *taskStore, now time.Time) store.Position {
	at := store.Position{Next: s.next, TopicID: s.topicID, LeaderEpoch: -1, AppliedAt: now}
	if t.last != nil {
		at.Commit = t.last.of(s.spec).append(nil)
	}
	return at
}

// flush writes what is committed and not on disk, with the positions it
// reflects, as one batch.
func (t *task) flush(db *store.DB, now time.Time) error {
	if len(t.stores) == 0 {
		return nil
	}
	f := db.NewFlush()
	for _, s := range t.stores {
		if err := s.table.Flush(f.To(s.part)); err != nil {
			f.Drop()
			return fmt.Errorf("%v: flush state %q: %w", t, s.spec.Name, err)
		}
		f.SetPosition(s.part, t.position(s, now))
	}
	if err := f.Apply(); err != nil {
		return fmt.Errorf("%v: %w", t, err)
	}
	for _, s := range t.stores {
		s.table.Flushed()
	}
	t.flushed, t.behind = now, false
	return nil
}
