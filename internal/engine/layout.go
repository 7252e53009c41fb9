package engine

import (
	"fmt"
	"slices"

	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// layout is a plan laid over the cluster's topics: how many tasks there are and
// which belong together.
type layout struct {
	plan   topology.Plan
	facts  map[record.Topic]client.TopicFacts
	groups []topicGroup
}

// topicGroup is topics that are read together, because one sub-topology reads
// them all or because several read the same one, with those sub-topologies.
type topicGroup struct {
	topics []record.Topic
	subs   []int
}

// groupTopics joins sub-topologies that share a topic.
func groupTopics(subs []topology.Sub) []topicGroup {
	var groups []topicGroup
	for i := range subs {
		joined := topicGroup{subs: []int{i}}
		for _, s := range subs[i].Sources {
			if !slices.Contains(joined.topics, s.Topic) {
				joined.topics = append(joined.topics, s.Topic)
			}
		}
		apart := groups[:0]
		for _, g := range groups {
			if !slices.ContainsFunc(g.topics, func(t record.Topic) bool { return slices.Contains(joined.topics, t) }) {
				apart = append(apart, g)
				continue
			}
			joined.subs = append(g.subs, joined.subs...)
			for _, t := range g.topics {
				if !slices.Contains(joined.topics, t) {
					joined.topics = append(joined.topics, t)
				}
			}
		}
		groups = append(apart, joined)
	}
	return groups
}

func topicsOf(groups []topicGroup) [][]record.Topic {
	all := make([][]record.Topic, len(groups))
	for i, g := range groups {
		all[i] = g.topics
	}
	return all
}

// tasksOf is the number of tasks of a sub-topology: the most partitions that one
// of its sources has.
func tasksOf(sub *topology.Sub, facts map[record.Topic]client.TopicFacts) int32 {
	var n int32
	for _, s := range sub.Sources {
		n = max(n, facts[s.Topic].Partitions)
	}
	return n
}

// groupOf is the index of the group that a topic is in; -1 for none.
func (l *layout) groupOf(topic record.Topic) int {
	return slices.IndexFunc(l.groups, func(g topicGroup) bool { return slices.Contains(g.topics, topic) })
}

// inputsOf are the source partitions of one task.
func (l *layout) inputsOf(sub *topology.Sub, p record.Partition) []*input {
	var all []*input
	for i, s := range sub.Sources {
		if int32(p) < l.facts[s.Topic].Partitions {
			all = append(all, &input{tp: record.TopicPartition{Topic: s.Topic, Partition: p}, source: i, leaderEpoch: -1})
		}
	}
	return all
}

// origins are the topics that reach a sub-topology through repartition topics.
func origins(plan *topology.Plan, sub *topology.Sub, facts map[record.Topic]client.TopicFacts) (all []origin) {
	for _, s := range sub.Sources {
		if !s.Repartition() {
			continue
		}
		upstream := &plan.Subs[s.Upstream]
		found := origins(plan, upstream, facts)
		for _, s := range upstream.Sources {
			if !s.Repartition() {
				found = append(found, origin{s.Topic, facts[s.Topic].ID})
			}
		}
		for _, o := range found {
			if !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all
}

// fits reports that a topic has more partitions than the layout was made for:
// the next session lays it out anew, or is refused because keys would move away
// from their state.
func (l *layout) fits(partitions []record.TopicPartition) error {
	for _, tp := range partitions {
		if n := l.facts[tp.Topic].Partitions; int32(tp.Partition) >= n {
			return fmt.Errorf("topic %q has grown: it had %d partitions, now there is number %d", string(tp.Topic), n, tp.Partition)
		}
	}
	return nil
}

// taskConfig is what a task is told of its place.
func (l *layout) taskConfig(o *Options, sub *topology.Sub, p record.Partition) topology.TaskConfig {
	c := topology.TaskConfig{Partition: p, Now: o.Now(), IdleAfter: o.IdleAfter, MaxAhead: o.MaxAhead}
	for _, s := range sub.Sources {
		c.Partitions = append(c.Partitions, l.facts[s.Topic].Partitions)
		upstream := int32(0)
		if s.Repartition() {
			upstream = tasksOf(&l.plan.Subs[s.Upstream], l.facts)
		}
		c.Upstream = append(c.Upstream, upstream)
	}
	return c
}
