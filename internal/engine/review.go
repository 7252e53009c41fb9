package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// Review is a plan held against a cluster, without changing anything there.
type Review struct {
	App                string
	Job                *Job // what stands there; nil: nothing
	Fingerprint        string
	TransactionVersion int16
	Changes            []Change
}

// Change is one difference.
type Change struct {
	Kind   ChangeKind
	What   string
	Detail string
	Fix    string // of a warning or what is incompatible
}

// ChangeKind says what a difference means for a start.
type ChangeKind string

const (
	Create       ChangeKind = "create"       // a start makes it
	Keep         ChangeKind = "keep"         // a start goes on from it
	Unused       ChangeKind = "unused"       // it stands there, and the plan does not use it
	Warning      ChangeKind = "warning"      // a start would do, at a cost
	Incompatible ChangeKind = "incompatible" // a start would be refused, or would count wrongly
)

// Compatible says that a start would go on from what stands there.
func (r *Review) Compatible() bool {
	return !slices.ContainsFunc(r.Changes, func(c Change) bool { return c.Kind == Incompatible })
}

// ReviewPlan looks at the cluster as a start of o.Plan would, and at what stands
// of the job.
func ReviewPlan(ctx context.Context, o Options) (*Review, error) {
	o = o.withDefaults()
	admin, err := client.NewAdmin(o.Client)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if err := admin.Check(ctx); err != nil {
		return nil, err
	}
	facts, err := admin.Facts(ctx)
	if err != nil {
		return nil, err
	}
	create, _ := preflight(&o.Plan, facts, nil)
	c, err := look(ctx, admin, &o.Plan, o.Plan.App+"-"+cmp.Or(o.InstanceID, "instance"), create)
	if err != nil {
		return nil, err
	}
	job, err := FindJob(ctx, o.Client, o.Plan.App)
	if _, none := errors.AsType[*NoJobError](err); none {
		err = nil
	}
	var committed map[record.TopicPartition]record.Offset
	if err == nil && job != nil {
		committed, err = admin.GroupOffsets(ctx, o.Plan.App)
	}
	if err != nil && len(c.problems(&o.Plan, o.TransactionTimeout)) == 0 {
		return nil, err // else the problems are why it cannot be asked
	}
	r := &Review{App: o.Plan.App, Job: job}
	if r.TransactionVersion, err = admin.TransactionVersion(ctx); err != nil {
		return nil, err
	}
	r.hold(&o, facts, committed, c)
	return r, nil
}

// hold is the comparison; it asks nobody.
func (r *Review) hold(o *Options, facts map[record.Topic]client.TopicFacts, committed map[record.TopicPartition]record.Offset, c *cluster) {
	r.Fingerprint = fingerprint(formsOf(&o.Plan))
	for _, p := range r.structure(&o.Plan, facts, committed, c) {
		r.add(Incompatible, p)
	}
	for _, p := range c.problems(&o.Plan, o.TransactionTimeout) {
		r.add(Incompatible, p)
	}
	r.stores(&o.Plan, facts)
	for _, w := range c.warnings(&o.Plan) {
		r.add(Warning, w)
	}
	if r.TransactionVersion < 2 {
		r.Changes = append(r.Changes, Change{Kind: Warning, What: "transaction.version", Fix: "upgrade to Kafka 4.0 or newer",
			Detail: fmt.Sprintf("it is %d: a delayed end of a transaction can hit a later one", r.TransactionVersion)})
	}
}

func (r *Review) add(kind ChangeKind, err error) {
	p, ok := errors.AsType[*Problem](err)
	if !ok {
		p = &Problem{What: err.Error()}
	}
	r.Changes = append(r.Changes, Change{Kind: kind, What: "cluster", Detail: p.What, Fix: p.Fix})
}

func formsOf(plan *topology.Plan) (forms []form) {
	for _, sub := range plan.Subs {
		for _, s := range sub.Stores {
			forms = append(forms, formOf(s))
		}
	}
	return forms
}

// structure plays the start's preflight: what it would make is taken for made,
// until nothing is missing.
func (r *Review) structure(plan *topology.Plan, facts map[record.Topic]client.TopicFacts, committed map[record.TopicPartition]record.Offset, c *cluster) []error {
	facts = maps.Clone(facts)
	partitions := int32(number(c.whole.Settings, "num.partitions"))
	for {
		create, problems := preflight(plan, facts, committed)
		for _, t := range create {
			made, detail := int32(t.Partitions), fmt.Sprintf("%d partitions", t.Partitions)
			if made == 0 {
				made, detail = max(1, partitions), "with the cluster's number of partitions"
			}
			if policy := t.Settings["cleanup.policy"]; policy != "" {
				detail += ", cleanup.policy=" + policy
			}
			facts[t.Name] = client.TopicFacts{Partitions: made}
			if !c.topics[t.Name].Hidden {
				r.Changes = append(r.Changes, Change{Kind: Create, What: "topic " + string(t.Name), Detail: detail})
			}
		}
		if len(create) == 0 || len(problems) > 0 {
			return problems
		}
	}
}

// stores holds the plan's stores against those that stand there.
func (r *Review) stores(plan *topology.Plan, facts map[record.Topic]client.TopicFacts) {
	if r.Job == nil {
		return
	}
	standing := make(map[string]*StandingStore)
	for i := range r.Job.Stores {
		standing[r.Job.Stores[i].Name] = &r.Job.Stores[i]
	}
	var added []topology.StoreSpec
	for _, sub := range plan.Subs {
		for _, spec := range sub.Stores {
			s := standing[spec.Name]
			if delete(standing, spec.Name); s == nil {
				added = append(added, spec)
				continue
			}
			r.Changes = append(r.Changes, r.store(plan, &sub, spec, s, facts))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(standing)) {
		r.Changes = append(r.Changes, unused(r.App, standing[name], added))
	}
	r.repartitions(plan)
}

func (r *Review) store(plan *topology.Plan, sub *topology.Sub, spec topology.StoreSpec, s *StandingStore, facts map[record.Topic]client.TopicFacts) Change {
	what, again := "state "+spec.Name, "count all anew: millrace jobs reset "+r.App
	behind := origins(plan, sub, facts)
	for _, p := range s.Partitions {
		if p.commit == nil {
			continue
		}
		if now := formOf(spec); p.commit.spec != now.hash() {
			return Change{Kind: Incompatible, What: what, Detail: fmt.Sprintf("it was written with %v, and the program has %v", p.commit.form, now),
				Fix: "give it back its old form, or " + again}
		}
		for _, in := range p.commit.inputs {
			if !slices.ContainsFunc(sub.Sources, func(s topology.Source) bool { return s.Topic == in.topic }) {
				return Change{Kind: Incompatible, What: what, Detail: fmt.Sprintf("it was counted from %q, which the program does not read for it", string(in.topic)),
					Fix: "read the topic as before, or " + again}
			}
			if f, exists := facts[in.topic]; exists && f.ID != in.topicID {
				return recreated(what, in.topic, again)
			}
		}
		for _, now := range behind {
			if slices.ContainsFunc(p.commit.origins, func(was origin) bool { return was.topic == now.topic && was != now }) {
				return recreated(what, now.topic, again)
			}
		}
	}
	return Change{Kind: Keep, What: what, Detail: fmt.Sprintf("%v; %d partitions", formOf(spec), len(s.Partitions))}
}

func recreated(what string, input record.Topic, fix string) Change {
	return Change{Kind: Incompatible, What: what, Detail: fmt.Sprintf("its input %q was deleted and created anew", string(input)), Fix: fix}
}

// unused is a store that the program does not have: perhaps under another name.
func unused(app string, s *StandingStore, added []topology.StoreSpec) Change {
	for _, spec := range added {
		now, was := formOf(spec), s.form
		if now.store = was.store; now == was {
			return Change{Kind: Incompatible, What: "state " + s.Name, Detail: fmt.Sprintf("the program does not have it, but %q of the same form: it was renamed, and would begin at nothing", spec.Name),
				Fix: fmt.Sprintf("call it %q again, or count all anew: millrace jobs reset %s", s.Name, app)}
		}
	}
	return Change{Kind: Unused, What: "state " + s.Name, Detail: "the program does not have it: it stands still, and misses what is counted meanwhile",
		Fix: fmt.Sprintf("when you are sure: millrace topics delete %s", string(s.Changelog))}
}

func (r *Review) repartitions(plan *topology.Plan) {
	needs := needsOf(plan)
	for _, t := range r.Job.Repartitions {
		if _, used := needs[t]; !used && strings.HasSuffix(string(t), repartitionEnding) {
			r.Changes = append(r.Changes, Change{Kind: Unused, What: "topic " + string(t), Detail: "the program does not read it: what is in it is not counted",
				Fix: fmt.Sprintf("when you are sure: millrace topics delete %s", string(t))})
		}
	}
}
