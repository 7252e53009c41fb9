package topology

import (
	"fmt"
	"slices"
	"strings"

	"millrace/record"
)

// needs is what operators need of those above them, by the number of the node.
type needs struct {
	keys  []bool // the keys that the node gives out are read
	times []bool // the watermark at the node is

	derivedLetters record.Topic // dead letters of records that tables have made
}

// letterTopic is where the dead letters of a topic's records go.
func letterTopic(t record.Topic) record.Topic { return t + "-dlq" }

// Plan is the graph as the engine runs it, or all that is wrong with it.
func (g *Graph) Plan() (*Plan, error) {
	g.checkTopics()
	if len(g.nodes) == 0 {
		g.Fault("", "the application %q reads nothing", g.app, "begin with From")
	}
	if err := g.faulty(); err != nil {
		return nil, err
	}
	count := g.cut()
	n := g.needs()
	p := &Plan{App: g.app, Subs: make([]Sub, count)}
	for id := range p.Subs {
		g.makeSub(&p.Subs[id], id, n)
	}
	return p, nil
}

// checkTopics notes names that Kafka does not take, and topics that are read twice.
func (g *Graph) checkTopics() {
	read := make(map[record.Topic]*Node)
	for _, n := range g.nodes {
		for _, s := range n.writes {
			g.checkTopic(n, s.Topic)
		}
		if n.source == nil || n.from != nil {
			continue
		}
		g.checkTopic(n, n.source.Topic)
		if first, twice := read[n.source.Topic]; twice {
			g.Fault(n.where, "topic %q is read twice", string(n.source.Topic),
				fmt.Sprintf("it is read at %s already: use that stream in both places", first.where))
		}
		read[n.source.Topic] = n
	}
}

func (g *Graph) checkTopic(n *Node, t record.Topic) {
	if err := t.Validate(); err != nil {
		g.Fault(n.where, "%v", err, "give the topic a name that Kafka takes")
	}
}

// cut gives each node the number of its sub-topology: operators that hand each
// other records in memory are in one, and topics lie between them.
func (g *Graph) cut() (count int) {
	root := make([]int, len(g.nodes))
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			i = root[i]
		}
		return i
	}
	for _, n := range g.nodes {
		for _, up := range n.in {
			a, b := find(n.id), find(up.id)
			root[max(a, b)] = min(a, b)
		}
	}
	for _, n := range g.nodes {
		if find(n.id) == n.id {
			n.sub = count
			count++
		} else {
			n.sub = g.nodes[find(n.id)].sub
		}
	}
	return count
}

// needs goes from the ends of the graph to its sources.
func (g *Graph) needs() *needs {
	ns := &needs{
		keys:           make([]bool, len(g.nodes)),
		times:          make([]bool, len(g.nodes)),
		derivedLetters: record.Topic(g.app + "-dlq"),
	}
	for _, n := range slices.Backward(g.nodes) {
		ns.times[n.id] = ns.times[n.id] || n.windows
		for _, up := range n.in {
			ns.keys[up.id] = ns.keys[up.id] || n.usesKey || !n.cutsKey && ns.keys[n.id]
			ns.times[up.id] = ns.times[up.id] || ns.times[n.id]
		}
		if n.from != nil {
			ns.times[n.from.id] = ns.times[n.from.id] || ns.times[n.id]
		}
	}
	return ns
}

func (g *Graph) makeSub(sub *Sub, id int, ns *needs) {
	sub.ID = id
	var starts []*Node
	direct := false
	for _, n := range g.nodes {
		if n.sub != id {
			continue
		}
		if n.source != nil {
			source := *n.source
			if n.from != nil {
				source.Upstream = n.from.sub
			}
			sub.Sources = append(sub.Sources, source)
			starts = append(starts, n)
		}
		for _, s := range n.writes {
			sub.addSink(s)
		}
		if n.store != nil {
			sub.Stores = append(sub.Stores, *n.store)
			direct = direct || n.direct
		}
	}
	for _, s := range sub.Sources {
		if !s.Repartition() {
			sub.addSink(Sink{Topic: letterTopic(s.Topic), Kind: SinkDeadLetter})
		}
	}
	sub.addSink(Sink{Topic: ns.derivedLetters, Kind: SinkDeadLetter})
	sub.CoPartitioned = len(sub.Sources) > 1 && len(sub.Stores) > 0
	sub.NewTask = func(cfg TaskConfig) (Task, error) { return newTask(sub, starts, ns, cfg) }
}

// addSink adds a topic once. What is written as a table or a stream needs more
// than what is written as dead letters.
func (s *Sub) addSink(sink Sink) {
	for i, have := range s.Sinks {
		if have.Topic == sink.Topic {
			if have.Kind == SinkDeadLetter {
				s.Sinks[i] = sink
			}
			return
		}
	}
	s.Sinks = append(s.Sinks, sink)
}

// Fingerprint is the part of the plan that must not change under its state, a
// line per topic and store. What differs between two versions of a job is what
// `jobs plan` shows.
func (p *Plan) Fingerprint() string {
	var lines []string
	for _, sub := range p.Subs {
		for _, s := range sub.Sources {
			if s.Repartition() {
				lines = append(lines, fmt.Sprintf("repartition %s", s.Topic))
			} else {
				lines = append(lines, fmt.Sprintf("source %s", s.Topic))
			}
		}
		for _, s := range sub.Stores {
			lines = append(lines, fmt.Sprintf("store %s key=%s value=%s window=%s", s.Name, s.Key, s.Value, s.Window))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
