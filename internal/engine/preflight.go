package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// PreflightError is everything about the cluster that keeps a job from
// starting, each with its remedy.
type PreflightError struct{ Problems []error }

func (e *PreflightError) Error() string {
	return "the job cannot start: " + errors.Join(e.Problems...).Error()
}

func (e *PreflightError) Unwrap() []error { return e.Problems }

// Problem is something about the cluster that does not fit a job.
type Problem struct {
	What string // and where
	Fix  string
	err  error // of the cluster, if it said one
}

func (p *Problem) Error() string { return p.What + ". Fix: " + p.Fix }

func (p *Problem) Unwrap() error { return p.err }

// preflight holds a plan against a cluster. It returns the topics that are
// missing and can be created now, and what keeps the job from starting. Topics
// whose partitions follow from others that are missing come with a later call.
func preflight(plan *topology.Plan, facts map[record.Topic]client.TopicFacts, committed map[record.TopicPartition]record.Offset) (create []client.TopicSpec, problems []error) {
	p := &planning{plan: plan, facts: facts, asked: make(map[record.Topic]bool)}
	for i := range plan.Subs {
		p.sources(&plan.Subs[i])
	}
	for i := range plan.Subs {
		p.sinks(&plan.Subs[i])
		if tasks := tasksOf(&plan.Subs[i], facts); tasks > 0 && len(p.create) == 0 {
			p.stores(&plan.Subs[i], tasks, committed)
		}
	}
	return p.create, p.problems
}

type planning struct {
	plan     *topology.Plan
	facts    map[record.Topic]client.TopicFacts
	asked    map[record.Topic]bool
	create   []client.TopicSpec
	problems []error
}

func (p *planning) ask(t client.TopicSpec) {
	if _, exists := p.facts[t.Name]; !exists && !p.asked[t.Name] {
		p.asked[t.Name] = true
		p.create = append(p.create, t)
	}
}

func (p *planning) sources(sub *topology.Sub) {
	var first record.Topic
	for _, s := range sub.Sources {
		if !s.Repartition() {
			p.ask(client.TopicSpec{Name: s.Topic})
		} else if n := tasksOf(&p.plan.Subs[s.Upstream], p.facts); n > 0 {
			p.ask(client.TopicSpec{Name: s.Topic, Partitions: int(n), Settings: repartitionSettings})
		}
		if first == "" {
			first = s.Topic
		}
		a, b := p.facts[first].Partitions, p.facts[s.Topic].Partitions
		if sub.CoPartitioned && a > 0 && b > 0 && a != b {
			p.problems = append(p.problems, &Problem{
				What: fmt.Sprintf("topics %q and %q are joined by key and must have equal numbers of partitions, but have %d and %d", string(first), string(s.Topic), a, b),
				Fix:  fmt.Sprintf("create one of them anew, or send it through a topic of %d partitions first", a)})
		}
	}
}

// repartitionSettings: records stay until they were read, then the engine
// deletes them.
var repartitionSettings = map[string]string{
	"cleanup.policy":  "delete",
	"retention.ms":    "-1",
	"retention.bytes": "-1",
}

func (p *planning) sinks(sub *topology.Sub) {
	for _, s := range sub.Sinks {
		switch s.Kind {
		case topology.SinkTable:
			p.ask(client.TopicSpec{Name: s.Topic, Settings: tableSettings(s.Window.Size+s.Window.GracePeriod+s.Window.Kept, !s.Window.IsZero())})
		case topology.SinkOutput, topology.SinkDeadLetter:
			p.ask(client.TopicSpec{Name: s.Topic})
		}
	}
}

// tableSettings are those of a topic whose newest record of a key counts. A
// windowed one also forgets windows that are over, a day after they were last
// of use.
func tableSettings(kept time.Duration, windowed bool) map[string]string {
	if !windowed {
		return map[string]string{"cleanup.policy": "compact"}
	}
	return map[string]string{
		"cleanup.policy": "compact,delete",
		"retention.ms":   fmt.Sprint((kept + 24*time.Hour).Milliseconds()),
	}
}

func (p *planning) stores(sub *topology.Sub, tasks int32, committed map[record.TopicPartition]record.Offset) {
	for _, s := range sub.Stores {
		have, exists := p.facts[s.Changelog]
		switch input, counted := p.counted(sub, committed); {
		case !exists && counted:
			p.problems = append(p.problems, &Problem{
				What: fmt.Sprintf("the job has read %s up to offset %d, but state %q has no changelog topic: it is new, or had another name", input, committed[input], s.Name),
				Fix:  "give it its old name, or count all anew: millrace jobs reset " + p.plan.App})
		case !exists:
			settings := tableSettings(s.Window.Size+s.Window.GracePeriod+s.Window.Kept, !s.Window.IsZero())
			p.ask(client.TopicSpec{Name: s.Changelog, Partitions: int(tasks), Settings: settings})
		case have.Partitions != tasks:
			p.problems = append(p.problems, &Problem{
				What: fmt.Sprintf("the input of state %q has %d partitions, its changelog %q has %d: keys would part from their state", s.Name, tasks, string(s.Changelog), have.Partitions),
				Fix:  "give the input its old number of partitions, or count all anew: millrace jobs reset " + p.plan.App})
		}
	}
}

// counted reports whether the group has committed an offset in an input of sub,
// or in an input of those that send to it.
func (p *planning) counted(sub *topology.Sub, committed map[record.TopicPartition]record.Offset) (record.TopicPartition, bool) {
	for _, s := range sub.Sources {
		for tp, offset := range committed {
			if tp.Topic == s.Topic && offset > 0 {
				return tp, true
			}
		}
		if s.Repartition() && s.Upstream != sub.ID {
			if tp, found := p.counted(&p.plan.Subs[s.Upstream], committed); found {
				return tp, true
			}
		}
	}
	return record.TopicPartition{}, false
}

// preflight looks at the cluster, creates what is missing, and lays the plan
// over it. Before anything is made it holds the client's rights and the topics'
// replicas against the plan: once, for a job that has run must not give up when
// somebody changes them for a while.
func (e *Engine) preflight(ctx context.Context, admin *client.Admin, transactionalID string) (*layout, error) {
	plan := &e.options.Plan
	if err := e.checkOnce(ctx, admin, transactionalID); err != nil {
		return nil, err
	}
	committed, err := admin.GroupOffsets(ctx, plan.App)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, time.Second) {
		facts, err := admin.Facts(ctx)
		if err != nil {
			return nil, err
		}
		if err := e.sameInputs(facts); err != nil {
			return nil, err
		}
		create, problems := preflight(plan, facts, committed)
		if len(problems) > 0 {
			return nil, &PreflightError{problems}
		}
		if len(create) == 0 && missing(plan, facts) == "" {
			e.noteInputs(facts)
			return &layout{plan: *plan, facts: facts, groups: groupTopics(plan.Subs)}, nil
		}
		for _, t := range create {
			switch err := admin.CreateTopic(ctx, t); {
			case err == nil:
				e.options.Logger.Info("created a topic", "job", plan.App, "topic", t.Name)
			case !errors.Is(err, client.ErrTopicExists):
				return nil, err
			}
		}
		select { // brokers learn of a new topic one by one
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sameInputs holds the inputs against those of the first session: one that was
// deleted under the job is not made anew, and one that only has its name is not
// taken for it. It may heal: brokers that have just started do not know all topics.
func (e *Engine) sameInputs(facts map[record.Topic]client.TopicFacts) error {
	for topic, id := range e.inputs {
		switch now, exists := facts[topic]; {
		case !exists:
			return client.UnknownTopicError{Topic: topic}
		case now.ID != id:
			return &RecreatedError{Topic: topic}
		}
	}
	return nil
}

func (e *Engine) noteInputs(facts map[record.Topic]client.TopicFacts) {
	if e.inputs != nil {
		return
	}
	e.inputs = make(map[record.Topic][16]byte)
	for _, sub := range e.options.Plan.Subs {
		for _, s := range sub.Sources {
			if !s.Repartition() {
				e.inputs[s.Topic] = facts[s.Topic].ID
			}
		}
	}
}

// missing is a topic of the plan that does not exist; empty when all do.
func missing(plan *topology.Plan, facts map[record.Topic]client.TopicFacts) record.Topic {
	for _, sub := range plan.Subs {
		for _, s := range sub.Sources {
			if facts[s.Topic].Partitions == 0 {
				return s.Topic
			}
		}
		for _, s := range sub.Sinks {
			if facts[s.Topic].Partitions == 0 {
				return s.Topic
			}
		}
		for _, s := range sub.Stores {
			if facts[s.Changelog].Partitions == 0 {
				return s.Changelog
			}
		}
	}
	return ""
}

// checkOnce refuses what would keep the job from its first commit, and says what
// only costs something. It warns of brokers before Kafka 4.0, on which a delayed
// end of a transaction can hit a later one (KAFKA-17754). What the engine does
// about it, it does anywhere: it never goes on after an unknown outcome without
// a new epoch.
func (e *Engine) checkOnce(ctx context.Context, admin *client.Admin, transactionalID string) error {
	if e.checked {
		return nil
	}
	plan := &e.options.Plan
	facts, err := admin.Facts(ctx)
	if err != nil {
		return err
	}
	create, problems := preflight(plan, facts, nil)
	c, err := look(ctx, admin, plan, transactionalID, create)
	if err != nil {
		return err
	}
	if problems = append(problems, c.problems(plan, e.options.TransactionTimeout)...); len(problems) > 0 {
		return &PreflightError{problems}
	}
	version, err := admin.TransactionVersion(ctx)
	if err != nil {
		return err
	}
	logger := e.options.Logger.With("job", plan.App)
	if version < 2 {
		logger.Warn("the cluster's transaction.version is below 2: upgrade to Kafka 4.0 or newer", "transaction_version", version)
	} else {
		logger.Info("the cluster was looked at", "brokers", c.whole.Brokers, "transaction_version", version)
	}
	for _, w := range c.warnings(plan) {
		logger.Warn(w.Error())
	}
	e.checked = true
	return nil
}
