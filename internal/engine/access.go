package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// cluster is what the brokers say of themselves and of this client's rights, as
// far as a plan depends on it. What they do not say is not held against them:
// the requests themselves will tell.
type cluster struct {
	whole    client.ClusterAccess
	topics   map[record.Topic]client.TopicAccess
	settings map[record.Topic]map[string]string
	refused  map[record.Topic]error // why a topic that is missing cannot be created
	group    error                  // why the client may not be in the group
	producer error                  // why it may not use its transactional id
	others   error                  // or those of other instances
}

// Kafka's own topics, without which no transaction commits.
const (
	transactionsTopic = record.Topic("__transaction_state")
	offsetsTopic      = record.Topic("__consumer_offsets")
)

// look asks the brokers. create are topics that are missing and whose number of
// partitions is known.
func look(ctx context.Context, admin *client.Admin, plan *topology.Plan, transactionalID string, create []client.TopicSpec) (*cluster, error) {
	topics := slices.Sorted(maps.Keys(needsOf(plan)))
	c := &cluster{refused: make(map[record.Topic]error)}
	var err error
	if c.whole, err = admin.ClusterAccess(ctx); err != nil {
		return nil, err
	}
	if c.topics, err = admin.TopicAccess(ctx, append(topics, transactionsTopic, offsetsTopic)...); err != nil {
		return nil, err
	}
	var there []record.Topic
	for _, t := range append(topics, transactionsTopic, offsetsTopic) {
		if c.topics[t].Exists {
			there = append(there, t)
		}
	}
	if c.settings, err = admin.TopicSettings(ctx, there...); err != nil {
		return nil, err
	}
	for _, t := range topics {
		if a := c.topics[t]; a.Exists || a.Hidden {
			continue
		}
		if err := admin.CheckCreate(ctx, specFor(t, create)); err != nil && !errors.Is(err, client.ErrTopicExists) {
			c.refused[t] = err
		}
	}
	if c.whole.ACLs {
		c.group = admin.MayJoin(ctx, plan.App)
		c.producer = admin.MayTransact(ctx, transactionalID)
		c.others = admin.MayTransact(ctx, plan.App+"-other")
	}
	return c, ctx.Err()
}

func specFor(t record.Topic, create []client.TopicSpec) client.TopicSpec {
	for _, spec := range create {
		if spec.Name == t {
			return spec
		}
	}
	return client.TopicSpec{Name: t}
}

// needsOf is what a plan does with each of its topics.
func needsOf(plan *topology.Plan) map[record.Topic][]client.Right {
	needs := make(map[record.Topic][]client.Right)
	need := func(t record.Topic, rights ...client.Right) {
		for _, r := range rights {
			if !slices.Contains(needs[t], r) {
				needs[t] = append(needs[t], r)
			}
		}
	}
	for _, sub := range plan.Subs {
		for _, s := range sub.Sources {
			need(s.Topic, client.RightRead)
			if s.Repartition() {
				need(s.Topic, client.RightDelete) // of records that were read
			}
		}
		for _, s := range sub.Sinks {
			need(s.Topic, client.RightWrite)
		}
		for _, s := range sub.Stores {
			need(s.Changelog, client.RightRead, client.RightWrite)
		}
	}
	return needs
}

var rightNames = map[client.Right]string{client.RightRead: "read", client.RightWrite: "write", client.RightDelete: "delete"}

// problems are what would keep the job from its first commit.
func (c *cluster) problems(plan *topology.Plan, transactionTimeout time.Duration) (problems []error) {
	needs := needsOf(plan)
	for _, t := range slices.Sorted(maps.Keys(needs)) {
		if p := c.topicProblem(t, needs[t]); p != nil {
			problems = append(problems, p)
		}
	}
	problems = append(problems, c.policies(plan)...)
	if c.group != nil {
		problems = append(problems, &Problem{err: c.group,
			What: fmt.Sprintf("this user may not be in the consumer group %q", plan.App),
			Fix:  fmt.Sprintf("millrace acls add --allow USER --operation read --group %s", plan.App)})
	}
	if c.producer != nil {
		problems = append(problems, &Problem{err: c.producer,
			What: fmt.Sprintf("this user may not use the job's transactional ids, %s-<instance>", plan.App),
			Fix:  fmt.Sprintf("millrace acls add --allow USER --operation write --transactional-id %s- --prefixed", plan.App)})
	}
	for _, t := range slices.Sorted(maps.Keys(needs)) {
		if slices.Contains(needs[t], client.RightWrite) {
			problems = c.withReplicas(problems, t)
		}
	}
	problems = c.ownTopic(problems, transactionsTopic, "transaction.state.log.replication.factor", "transaction.state.log.min.isr", "no transaction can commit")
	problems = c.ownTopic(problems, offsetsTopic, "offsets.topic.replication.factor", "", "no group can commit an offset")
	problems = c.newTopics(problems, needs)
	if most := number(c.whole.Settings, "transaction.max.timeout.ms"); most > 0 && transactionTimeout.Milliseconds() > most {
		problems = append(problems, &Problem{
			What: fmt.Sprintf("the brokers allow transactions of at most %d ms (transaction.max.timeout.ms), and the job's may take %d", most, transactionTimeout.Milliseconds()),
			Fix:  "raise transaction.max.timeout.ms on the brokers"})
	}
	return problems
}

// topicProblem is what this client may not do with a topic.
func (c *cluster) topicProblem(t record.Topic, needs []client.Right) error {
	a := c.topics[t]
	if err := c.refused[t]; err != nil {
		p := &Problem{err: err, What: fmt.Sprintf("topic %q does not exist and cannot be created: %v", string(t), err),
			Fix: fmt.Sprintf("create it: millrace topics create %s", string(t))}
		if errors.Is(err, client.ErrForbidden) {
			p.What = fmt.Sprintf("topic %q does not exist, and this user may not create it", string(t))
			p.Fix = fmt.Sprintf("millrace acls add --allow USER --operation create --topic %s, or create it: millrace topics create %s", string(t), string(t))
		}
		return p
	}
	var missing []string
	for _, r := range needs {
		if r != client.RightDelete && (a.Hidden || a.Exists && !a.Rights.May(r)) {
			missing = append(missing, rightNames[r])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &Problem{err: client.ErrForbidden,
		What: fmt.Sprintf("this user may not %s topic %q", strings.Join(missing, " and "), string(t)),
		Fix:  fmt.Sprintf("millrace acls add --allow USER --operation %s --topic %s", strings.Join(missing, " --operation "), string(t))}
}

// policies are topics of the job from which the brokers would delete what it
// still needs: somebody else has made them.
func (c *cluster) policies(plan *topology.Plan) (problems []error) {
	wrong := func(t record.Topic, what, want string) {
		problems = append(problems, &Problem{
			What: fmt.Sprintf("topic %q has cleanup.policy=%s: %s", string(t), c.settings[t]["cleanup.policy"], what),
			Fix:  fmt.Sprintf("millrace topics alter %s --set cleanup.policy=%s --yes", string(t), want)})
	}
	for _, sub := range plan.Subs {
		for _, s := range sub.Sources {
			if s.Repartition() && strings.Contains(c.settings[s.Topic]["cleanup.policy"], "compact") {
				wrong(s.Topic, "records on their way would be lost", "delete")
			}
		}
		for _, s := range sub.Stores {
			policy := c.settings[s.Changelog]["cleanup.policy"]
			switch windowed := !s.Window.IsZero(); {
			case policy == "":
			case !strings.Contains(policy, "compact"), !windowed && strings.Contains(policy, "delete"):
				wrong(s.Changelog, "state would be lost with the records that are deleted for their age", "compact")
			}
		}
	}
	return problems
}

// withReplicas adds that a topic can never have the replicas that it asks for.
func (c *cluster) withReplicas(problems []error, t record.Topic) []error {
	replicas, least := c.topics[t].Replicas, number(c.settings[t], "min.insync.replicas")
	if !c.topics[t].Exists || replicas == 0 || int64(replicas) >= least {
		return problems
	}
	return append(problems, &Problem{
		What: fmt.Sprintf("topic %q has %d replicas and min.insync.replicas=%d: nothing can ever be written to it", string(t), replicas, least),
		Fix:  fmt.Sprintf("millrace topics alter %s --set min.insync.replicas=%d --yes, or give the topic more replicas", string(t), replicas)})
}

// ownTopic is the same for one of Kafka's own topics, which the brokers make
// when they first need it.
func (c *cluster) ownTopic(problems []error, t record.Topic, factor, least, otherwise string) []error {
	if c.topics[t].Exists {
		before := len(problems)
		if problems = c.withReplicas(problems, t); len(problems) > before {
			p := problems[before].(*Problem)
			p.What += ", so " + otherwise
		}
		return problems
	}
	if c.topics[t].Hidden || c.whole.Brokers == 0 {
		return problems
	}
	replicas, needed := number(c.whole.Settings, factor), int64(0)
	if least != "" {
		needed = number(c.whole.Settings, least)
	}
	switch brokers := int64(c.whole.Brokers); {
	case replicas > brokers:
		return append(problems, &Problem{
			What: fmt.Sprintf("%s=%d, and the cluster has %d brokers: %s cannot be made, so %s", factor, replicas, brokers, string(t), otherwise),
			Fix:  fmt.Sprintf("start more brokers, or set %s=%d in their configuration", factor, brokers)})
	case replicas > 0 && needed > replicas:
		return append(problems, &Problem{
			What: fmt.Sprintf("%s=%d is more than %s=%d: %s", least, needed, factor, replicas, otherwise),
			Fix:  fmt.Sprintf("set %s=%d in the brokers' configuration", least, replicas)})
	}
	return problems
}

// newTopics is the same for topics that the job would make.
func (c *cluster) newTopics(problems []error, needs map[record.Topic][]client.Right) []error {
	replicas, least := number(c.whole.Settings, "default.replication.factor"), number(c.whole.Settings, "min.insync.replicas")
	if replicas == 0 || least <= replicas {
		return problems
	}
	for _, t := range slices.Sorted(maps.Keys(needs)) {
		if a := c.topics[t]; !a.Exists && !a.Hidden && c.refused[t] == nil {
			return append(problems, &Problem{
				What: fmt.Sprintf("topics that the job makes, such as %q, would get %d replicas (default.replication.factor) and min.insync.replicas=%d: nothing could be written to them", string(t), replicas, least),
				Fix:  fmt.Sprintf("set min.insync.replicas=%d or a higher default.replication.factor on the brokers, or create the topics before: millrace topics create NAME --replicas %d", replicas, least)})
		}
	}
	return problems
}

// warnings are what costs something, but no result.
func (c *cluster) warnings(plan *topology.Plan) (warnings []error) {
	needs := needsOf(plan)
	for _, t := range slices.Sorted(maps.Keys(needs)) {
		a := c.topics[t]
		if slices.Contains(needs[t], client.RightDelete) && a.Exists && !a.Rights.May(client.RightDelete) {
			warnings = append(warnings, &Problem{err: client.ErrForbidden,
				What: fmt.Sprintf("this user may not delete records of %q: the topic grows without end", string(t)),
				Fix:  fmt.Sprintf("millrace acls add --allow USER --operation delete --topic %s", string(t))})
		}
		if least := number(c.settings[t], "min.insync.replicas"); a.Exists && a.Replicas > 0 && int64(a.Replicas) >= least && int64(a.InSync) < least {
			warnings = append(warnings, &Problem{
				What: fmt.Sprintf("topic %q has %d replicas in sync and needs %d: the job waits until more are", string(t), a.InSync, least),
				Fix:  "look at the brokers that are missing"})
		}
	}
	if c.producer == nil && c.others != nil {
		warnings = append(warnings, &Problem{err: c.others,
			What: fmt.Sprintf("this user may not end transactions of other instances, %s-<instance>: after one dies, its tasks wait until its transaction times out", plan.App),
			Fix:  fmt.Sprintf("millrace acls add --allow USER --operation write --transactional-id %s- --prefixed", plan.App)})
	}
	return warnings
}

// number is a setting's value; 0 when it is not known.
func number(settings map[string]string, name string) int64 {
	n, err := strconv.ParseInt(settings[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
