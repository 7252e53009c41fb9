package topology

import (
	"fmt"
	"slices"
	"strings"
)

// Describe is the graph as text, after [Graph.Plan]: each sub-topology with its
// operators, what they read above them.
func (g *Graph) Describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "application %s\n", g.app)
	sub, seen := -1, make(map[*Node]bool)
	for _, n := range g.bySub() {
		if n.sub != sub {
			sub = n.sub
			fmt.Fprintf(&b, "\nsub-topology %d\n", sub)
		}
		if len(n.in) == 0 {
			g.describe(&b, n, 1, seen)
		}
	}
	return b.String()
}

// bySub are the operators, one sub-topology after the other.
func (g *Graph) bySub() []*Node {
	return slices.SortedStableFunc(slices.Values(g.nodes), func(a, b *Node) int { return a.sub - b.sub })
}

func (g *Graph) describe(b *strings.Builder, n *Node, depth int, seen map[*Node]bool) {
	fmt.Fprintf(b, "%s%s", strings.Repeat("  ", depth), n.name())
	if seen[n] {
		b.WriteString(" (above)\n")
		return
	}
	seen[n] = true
	for _, detail := range n.details() {
		fmt.Fprintf(b, "; %s", detail)
	}
	b.WriteByte('\n')
	for _, next := range g.nodes {
		if slices.Contains(next.in, n) {
			g.describe(b, next, depth+1, seen)
		}
	}
}

// details are what to know of an operator beside its name.
func (n *Node) details() (all []string) {
	if s := n.store; s != nil {
		all = append(all, fmt.Sprintf("key %s, value %s", s.Key, s.Value), "changelog "+string(s.Changelog))
		if !s.Window.IsZero() {
			all = append(all, s.Window.String())
		}
	}
	if n.source != nil && n.source.Keyed {
		all = append(all, "keyed")
	}
	if n.direct {
		all = append(all, "no hop")
	}
	switch p := n.policy; {
	case p.Action == Skip:
		all = append(all, "skips what it cannot take")
	case p.Action == Stop:
		all = append(all, "stops at what it cannot take")
	case p.Topic != "":
		all = append(all, "dead letters to "+string(p.Topic))
	}
	if n.policy.Retries > 0 {
		all = append(all, fmt.Sprintf("retries %d times", n.policy.Retries))
	}
	return all
}

// Mermaid is the graph as a Mermaid flowchart, after [Graph.Plan].
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	sub := -1
	for _, n := range g.bySub() {
		if n.sub != sub {
			if sub >= 0 {
				b.WriteString("  end\n")
			}
			sub = n.sub
			fmt.Fprintf(&b, "  subgraph s%d[\"sub-topology %d\"]\n", sub, sub)
		}
		fmt.Fprintf(&b, "    n%d[%s]\n", n.id, mermaidText(n.name()))
		for _, up := range n.in {
			fmt.Fprintf(&b, "    n%d --> n%d\n", up.id, n.id)
		}
	}
	if sub >= 0 {
		b.WriteString("  end\n")
	}
	g.mermaidTopics(&b)
	return b.String()
}

// mermaidTopics draws the topics, and what reads and writes them.
func (g *Graph) mermaidTopics(b *strings.Builder) {
	drawn := make(map[string]bool)
	topic := func(name string) string {
		if !drawn[name] {
			drawn[name] = true
			fmt.Fprintf(b, "  %s[(%s)]\n", mermaidID(name), mermaidText(name))
		}
		return mermaidID(name)
	}
	for _, n := range g.nodes {
		if n.source != nil {
			fmt.Fprintf(b, "  %s --> n%d\n", topic(string(n.source.Topic)), n.id)
		}
		for _, s := range n.writes {
			fmt.Fprintf(b, "  n%d --> %s\n", n.id, topic(string(s.Topic)))
		}
		if n.store != nil {
			fmt.Fprintf(b, "  n%d -.- %s\n", n.id, topic(string(n.store.Changelog)))
		}
	}
}

// mermaidText is text in quotes, with what Mermaid would read taken out.
func mermaidText(text string) string {
	return `"` + strings.NewReplacer(`"`, "#quot;", "\n", " ").Replace(text) + `"`
}

// mermaidID is a topic's name as an identifier: "t_" and its letters, all others
// by their number.
func mermaidID(topic string) string {
	var b strings.Builder
	b.WriteString("t_")
	for _, c := range []byte(topic) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%x", c)
		}
	}
	return b.String()
}
