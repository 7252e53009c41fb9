package engine

import (
	"fmt"
	"time"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// State is what the job as a whole does on this instance.
type State string

const (
	Starting  State = "starting"  // not in the group yet
	Restoring State = "restoring" // some tasks run not yet
	Active    State = "running"
	Degraded  State = "degraded" // something is wrong that may heal; see Err
	Failed    State = "failed"   // over; see Err
	Stopped   State = "stopped"
)

// ErrProgress means that what is stored of a task is not of this job's shape: its
// input has another number of partitions, or was created anew with one.
var ErrProgress = topology.ErrProgress

// Status is a snapshot for health and the console.
type Status struct {
	State       State
	Since       time.Time
	Err         error // why it is degraded or failed; which brokers do not answer while it is starting
	Tasks       []TaskStatus
	Peers       []client.Peer // the group, this instance included
	Self        string        // transactional id of this instance: which of Peers it is
	CommittedAt time.Time     // of the last commit
}

// TaskStatus is one unit's tasks: partition p of topics that are read together.
type TaskStatus struct {
	Topics    []record.Topic
	Partition record.Partition
	State     string // restoring, running, failed
	Restored  int64  // changelog offsets passed, of
	RestoreTo int64  // those to be passed
	Err       error
	Lag       int64 // records
	Stats     []topology.Stats
}

// Status is the newest snapshot.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.mu.status
	if s.State != Active {
		return s
	}
	// The loop may hang in a commit, so it is the asking that finds out.
	if err := e.stalledLocked(); err != nil {
		s.State, s.Err = Degraded, err
	} else if e.mu.troubled != nil {
		s.State, s.Err = Degraded, e.mu.troubled
	}
	return s
}

func (e *Engine) set(s State, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.status.State != s {
		e.mu.status.Since = e.options.Now()
	}
	e.mu.status.State, e.mu.status.Err = s, err
	if s != Active && s != Restoring {
		e.mu.status.Tasks = nil
	}
}

func (e *Engine) failed(err error) error {
	e.set(Failed, err)
	return err
}

// trouble notes that the disk refuses, or, with nil, that it takes again.
func (e *Engine) trouble(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil && e.mu.troubled == nil {
		e.options.Logger.Warn("state does not reach the disk: the job goes on, a restart would replay more", "job", e.options.Plan.App, "err", err)
	}
	e.mu.troubled = err
}

func (e *Engine) committed(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.status.CommittedAt = at
}

// publish makes a snapshot about ten times a second.
func (in *instance) publish() {
	now := in.options.Now()
	if now.Sub(in.published) < publishInterval && !in.republish {
		return
	}
	in.published, in.republish = now, false
	state, failure := Active, error(nil)
	var tasks []TaskStatus
	for g, group := range in.layout.groups {
		for p := range in.layout.partitionsOf(g) {
			u := in.units[unitKey{g, record.Partition(p)}]
			if u == nil {
				continue
			}
			t := TaskStatus{Topics: group.topics, Partition: u.key.p, State: u.phase.String(), Restored: u.done.Load(), RestoreTo: u.total.Load(), Err: u.err}
			switch {
			case u.phase == failedPhase:
				state, failure = Degraded, u.err
			case u.phase == restoringPhase && state == Active:
				state = Restoring
			}
			for _, task := range u.tasks {
				t.Stats = append(t.Stats, task.step.Stats())
				for _, i := range task.inputs {
					t.Lag += int64(max(0, i.high-i.position()))
				}
			}
			tasks = append(tasks, t)
		}
	}
	if in.expecting() {
		state = Starting
		if failure == nil {
			failure = in.session.Away()
		}
	} else {
		in.acquit()
	}
	if err := in.withNobody(now); err != nil && state == Active {
		state, failure = Degraded, err
	}
	in.engine.metrics.observe(tasks)
	in.engine.publishStatus(state, failure, tasks, in.session.Peers(), in.transactionalID, now)
}

// expecting says that the group has not told this instance its partitions, or
// that it was told and has not begun with all of them.
func (in *instance) expecting() bool {
	for _, p := range in.session.Peers() {
		if p.TransactionalID != in.transactionalID {
			continue
		}
		for topic, partitions := range p.Partitions {
			for _, partition := range partitions {
				if g := in.layout.groupOf(topic); g >= 0 && in.units[unitKey{g, partition}] == nil {
					return true
				}
			}
		}
		return false
	}
	return true
}

// withNobody names a partition that the group has given to nobody for longer than
// it takes to hand one over: no unit can fail that would say so.
func (in *instance) withNobody(now time.Time) error {
	given := make(map[record.TopicPartition]bool)
	peers := in.session.Peers()
	for _, peer := range peers {
		for topic, partitions := range peer.Partitions {
			for _, p := range partitions {
				given[record.TopicPartition{Topic: topic, Partition: p}] = true
			}
		}
	}
	for g := range in.layout.groups {
		for p := range in.layout.partitionsOf(g) {
			for _, tp := range in.partitionsOf(unitKey{g, record.Partition(p)}) {
				if given[tp] || len(peers) == 0 {
					continue
				}
				if in.nobodySince.IsZero() {
					in.nobodySince = now
				}
				if now.Sub(in.nobodySince) < in.options.SessionTimeout {
					return nil
				}
				return &UnassignedError{tp}
			}
		}
	}
	in.nobodySince = time.Time{}
	return nil
}

// UnassignedError says that no instance reads a partition of an input.
type UnassignedError struct{ record.TopicPartition }

func (e *UnassignedError) Error() string {
	return fmt.Sprintf("nobody reads %s: the group does not find topic %q, which was perhaps deleted, or an instance does not hand it over", e.TopicPartition, string(e.Topic))
}

const publishInterval = 100 * time.Millisecond

func (e *Engine) publishStatus(s State, err error, tasks []TaskStatus, peers []client.Peer, self string, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.status.State != s {
		e.mu.status.Since = now
	}
	e.mu.status.State, e.mu.status.Err, e.mu.status.Tasks, e.mu.status.Peers, e.mu.status.Self = s, err, tasks, peers, self
}
