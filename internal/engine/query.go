package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// ErrUnknownStore means that the plan has no store of that name.
var ErrUnknownStore = errors.New("the job has no store of that name")

// AwayError says that the task with the asked-for key does not run here now.
type AwayError struct {
	Sub       int
	Partition record.Partition
	// Peer is the instance that has it; the zero Peer while it moves, is restored,
	// or has stopped.
	Peer client.Peer
}

func (e *AwayError) Error() string {
	where := "is being restored or moved"
	if e.Peer.Endpoint != "" {
		where = "runs on " + e.Peer.Endpoint
	}
	return fmt.Sprintf("task %d of sub-topology %d %s", e.Partition, e.Sub, where)
}

// Read calls f with the task that keeps key, in the bytes of the store's key
// codec. While f runs no task steps, so its tables stand still: f must be short,
// and read what is committed only.
//
// Errors: ErrUnknownStore, *AwayError, and f's.
func (e *Engine) Read(store string, key []byte, f func(topology.Reading) error) error {
	sub := e.subOf(store)
	if sub == nil {
		return fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	status := e.Status()
	e.tables.RLock()
	defer e.tables.RUnlock()
	away := &AwayError{Sub: sub.ID}
	in := e.tables.of
	if in == nil {
		return away
	}
	away.Partition = record.PartitionFor(key, tasksOf(sub, in.layout.facts))
	for _, t := range in.running() {
		if t.sub.ID == sub.ID && t.p == away.Partition {
			return f(in.reading(t, status.CommittedAt))
		}
	}
	for _, p := range status.Peers {
		if slices.ContainsFunc(sub.Sources, func(s topology.Source) bool { return slices.Contains(p.Partitions[s.Topic], away.Partition) }) {
			away.Peer = p
		}
	}
	return away
}

// ReadEach calls f with each task here that has the store, as [Engine.Read] does.
func (e *Engine) ReadEach(store string, f func(topology.Reading) error) error {
	sub := e.subOf(store)
	if sub == nil {
		return fmt.Errorf("%w: %q", ErrUnknownStore, store)
	}
	status := e.Status()
	e.tables.RLock()
	defer e.tables.RUnlock()
	in := e.tables.of
	if in == nil {
		return nil
	}
	for _, t := range in.running() {
		if t.sub.ID == sub.ID {
			if err := f(in.reading(t, status.CommittedAt)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) subOf(store string) *topology.Sub {
	for i := range e.options.Plan.Subs {
		sub := &e.options.Plan.Subs[i]
		if slices.ContainsFunc(sub.Stores, func(s topology.StoreSpec) bool { return s.Name == store }) {
			return sub
		}
	}
	return nil
}

// reading is a task with its position in the job's input.
func (in *instance) reading(t *task, committedAt time.Time) topology.Reading {
	r := topology.Reading{
		Sub: t.sub.ID, Partition: t.p, Tasks: int(tasksOf(t.sub, in.layout.facts)), Task: t.step,
		Offsets: make(map[record.TopicPartition]record.Offset), CommittedAt: committedAt,
	}
	for _, i := range t.inputs {
		if !t.sub.Sources[i.source].Repartition() {
			r.Offsets[i.tp] = max(i.committed, i.start)
		}
	}
	return r
}

// waiting lets readers at the tables while the loop waits for the cluster.
func (in *instance) waiting(f func() error) error {
	in.engine.tables.Unlock()
	defer in.engine.tables.Lock()
	return f()
}
