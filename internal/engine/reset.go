package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/record"
)

// Reset makes a stopped job count anew: it forgets its offsets, its state and
// what is on its way between its parts. Inputs and results stay as they are.
type Reset struct {
	Job    *Job
	Topics []record.Topic // internal ones, that are deleted
	Moves  []client.Move  // where the inputs are read from
	Force  bool           // remove members that are still in the group
	From   client.Start

	admin    *client.Admin
	facts    map[record.Topic]client.TopicFacts
	settings map[record.Topic]map[string]string // of the changelogs
}

// PlanReset finds out what a reset of a job would do. Close it.
func PlanReset(ctx context.Context, c client.Config, app string, from client.Start) (*Reset, error) {
	job, err := FindJob(ctx, c, app)
	if err != nil {
		return nil, err
	}
	admin, err := client.NewAdmin(c)
	if err != nil {
		return nil, err
	}
	r := &Reset{Job: job, From: from, admin: admin}
	if err := r.plan(ctx); err != nil {
		admin.Close()
		return nil, err
	}
	return r, nil
}

// Close ends the connections.
func (r *Reset) Close() { r.admin.Close() }

func (r *Reset) plan(ctx context.Context) (err error) {
	for _, s := range r.Job.Stores {
		r.Topics = append(r.Topics, s.Changelog)
	}
	if r.settings, err = r.admin.TopicSettings(ctx, r.Topics...); err != nil {
		return err
	}
	r.Topics = append(r.Topics, r.Job.Repartitions...)
	slices.Sort(r.Topics)
	if err := r.anywhere(); err != nil {
		return err
	}
	if r.facts, err = r.admin.Facts(ctx); err != nil {
		return err
	}
	var inputs []record.Topic
	for _, in := range r.Job.Inputs {
		if _, exists := r.facts[in.Topic]; exists && !slices.Contains(r.Topics, in.Topic) && !slices.Contains(inputs, in.Topic) {
			inputs = append(inputs, in.Topic)
		}
	}
	if len(inputs) > 0 {
		r.Moves, err = r.admin.PlanReset(ctx, r.Job.App, inputs, r.From)
	}
	return err
}

// Trimmed are inputs whose beginning is gone: it is not counted again.
func (r *Reset) Trimmed() (all []client.GroupOffset) {
	for _, in := range r.Job.Inputs {
		if in.Start > 0 && !slices.Contains(r.Topics, in.Topic) {
			all = append(all, in)
		}
	}
	return all
}

// anywhere says that a job may begin at any offset: none of its stores counts
// an input itself, without a repartition topic. Such a store must agree with the
// offsets from the first commit on.
func (r *Reset) anywhere() error {
	if r.beginning() {
		return nil
	}
	for _, s := range r.Job.Stores {
		for _, t := range s.Reads {
			if !slices.Contains(r.Topics, t) {
				return &Problem{
					What: fmt.Sprintf("state %q counts %q itself, without a repartition topic, and can begin at its beginning only", s.Name, string(t)),
					Fix:  "reset it to the beginning: --to-earliest"}
			}
		}
	}
	return nil
}

// Do does it. The order is such that after an interruption anywhere the job is
// refused at its start, or counts anew, but never counts wrongly: offsets go
// first, and state without offsets does not run.
func (r *Reset) Do(ctx context.Context) error {
	if members := r.Job.Instances; len(members) > 0 {
		if !r.Force {
			return fmt.Errorf("job %s: %w: %s", r.Job.App, client.ErrGroupInUse, names(members))
		}
		if err := r.admin.RemoveMembers(ctx, r.Job.App, members); err != nil {
			return err
		}
	}
	if err := r.endTransactions(ctx); err != nil {
		return err
	}
	err := r.admin.DeleteGroup(ctx, r.Job.App)
	if _, unknown := errors.AsType[client.UnknownGroupError](err); err != nil && !unknown {
		return err
	}
	if err := r.deleteTopics(ctx); err != nil {
		return err
	}
	if r.beginning() || len(r.Moves) == 0 {
		return nil
	}
	// State is new although offsets are not at the beginning: empty changelogs say
	// that this is meant.
	for _, s := range r.Job.Stores {
		if err := r.makeAgain(ctx, s); err != nil {
			return err
		}
	}
	return r.admin.ResetOffsets(ctx, r.Job.App, r.Moves)
}

// beginning says that every input is read from where it begins.
func (r *Reset) beginning() bool { return r.From == client.FromBeginning() }

func names(members []client.Member) string {
	var all []string
	for _, m := range members {
		name := m.ID
		if m.Job != nil {
			name = m.Job.TransactionalID
		}
		all = append(all, name)
	}
	return strings.Join(all, ", ")
}

// endTransactions fences instances that died with a transaction open in the
// job's own topics: it would hold up whoever reads them, and their deletion.
func (r *Reset) endTransactions(ctx context.Context) error {
	transactions, err := r.admin.Transactions(ctx)
	if err != nil {
		return err
	}
	for _, t := range transactions {
		ours := slices.ContainsFunc(t.Partitions, func(tp record.TopicPartition) bool { return slices.Contains(r.Topics, tp.Topic) })
		if !t.Open() || !ours || !strings.HasPrefix(t.ID, r.Job.App+"-") {
			continue
		}
		if err := r.admin.AbortTransaction(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// deleteTopics deletes the internal topics and waits until they are gone.
func (r *Reset) deleteTopics(ctx context.Context) error {
	for _, t := range r.Topics {
		err := r.admin.DeleteTopic(ctx, t)
		if _, unknown := errors.AsType[client.UnknownTopicError](err); err != nil && !unknown {
			return err
		}
	}
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		facts, err := r.admin.Facts(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(r.Topics, func(t record.Topic) bool { _, there := facts[t]; return there }) {
			return nil
		}
		select { // brokers learn of a deletion one by one
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// makeAgain makes a changelog as it was, but empty.
func (r *Reset) makeAgain(ctx context.Context, s StandingStore) error {
	spec := client.TopicSpec{Name: s.Changelog, Partitions: len(s.Partitions), Settings: make(map[string]string)}
	for _, name := range []string{"cleanup.policy", "retention.ms"} {
		if value := r.settings[s.Changelog][name]; value != "" {
			spec.Settings[name] = value
		}
	}
	if err := r.admin.CreateTopic(ctx, spec); err != nil && !errors.Is(err, client.ErrTopicExists) {
		return err
	}
	return nil
}

// DropState deletes the directory in which an instance that is not running keeps
// its state.
func DropState(dir string) error {
	db, err := store.Open(dir, store.Options{Logger: slog.New(slog.DiscardHandler)}) // nobody else may have it
	if err != nil {
		return err
	}
	return errors.Join(db.Close(), os.RemoveAll(dir))
}
