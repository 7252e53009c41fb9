package topology

import (
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"

	"millrace/codec"
	"millrace/record"
)

// Graph is a job as it is being described: operators in the order in which they
// were named, each after what it reads. Faults are collected, not returned, so
// that [Graph.Plan] can report all of them.
type Graph struct {
	app    string
	nodes  []*Node
	faults []error
	reader atomic.Pointer[Reader]
}

// NewGraph is an empty graph of the application app: its consumer group, and the
// prefix of the names of its internal topics.
func NewGraph(app string) *Graph {
	g := &Graph{app: app}
	if !nameOK.MatchString(app) {
		g.Fault("", "application id %q", app, "use 1 to 100 of a-z A-Z 0-9 . _ -")
	}
	return g
}

// nameOK is what an application and a store may be called: both are parts of
// topic names.
var nameOK = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)

// Node is one operator.
type Node struct {
	id    int
	op    string // "TryMap"
	label string // what the user calls it, or the name of the user's function
	where string // file and line of the user's call
	in    []*Node

	policy  Policy
	source  *Source // of an operator that begins a sub-topology
	from    *Node   // the operator that writes source, when that is of the job
	writes  []Sink
	store   *StoreSpec
	usesKey bool // reads the keys that come in
	cutsKey bool // gives out other keys than come in
	clock   bool // gives its records another time, and so another watermark
	windows bool // needs watermarks
	direct  bool // keeps state by a key that its source is partitioned by

	sub   int
	start func(w *wiring) feeder // of an operator with a source
}

// name is what errors, dead letters and metrics call the operator.
func (n *Node) name() string {
	if n.label == "" {
		return n.op
	}
	return n.op + " " + n.label
}

// Where is a place in the user's program, and Label what the operator is called.
type At struct{ Where, Label string }

func (g *Graph) add(op string, at At, in ...*Node) *Node {
	n := &Node{id: len(g.nodes), op: op, label: at.Label, where: at.Where, in: in}
	g.nodes = append(g.nodes, n)
	return n
}

// Fault is something wrong with the wiring: what, where in the user's program,
// and how to mend it.
type Fault struct{ What, Where, Fix string }

func (f *Fault) Error() string {
	text := f.What
	if f.Where != "" {
		text = f.Where + ": " + text
	}
	return text + "; " + f.Fix
}

// Fault notes that what, a format of subject, is wrong.
func (g *Graph) Fault(where, what string, subject any, fix string) {
	g.faults = append(g.faults, &Fault{What: fmt.Sprintf(what, subject), Where: where, Fix: fix})
}

// faulty is all faults, or nil.
func (g *Graph) faulty() error { return errors.Join(g.faults...) }

// Topic is a topic with what reads and writes its records.
type Topic[K, V any] struct {
	Name  record.Topic
	Key   codec.Codec[K]
	Value codec.Codec[V]
	Keyed bool // records are partitioned by their key

	// Compacted says that the newest record of a key replaces the others.
	Compacted bool
}

// Stream is the records that an operator gives out, in a graph.
type Stream[K, V any] struct {
	g    *Graph
	hub  *hub[K, V]
	home bool // records are in the partition of their key
}

// Graph is the graph that s is part of.
func (s Stream[K, V]) Graph() *Graph { return s.g }

// hub collects what reads an operator's records. Tasks are made from it: every
// reader is a function that makes the reader's part of a task.
type hub[K, V any] struct {
	node    *Node
	readers []func(w *wiring) port[K, V]
}

func (h *hub[K, V]) reads(r func(w *wiring) port[K, V]) { h.readers = append(h.readers, r) }

func (h *hub[K, V]) wire(w *wiring) fan[K, V] {
	ports := make(fan[K, V], len(h.readers))
	for i, r := range h.readers {
		ports[i] = r(w)
	}
	return ports
}

// wiring is the making of one task.
type wiring struct {
	task *task
	memo map[*Node]any // parts with several inputs, which are made once
	err  error         // the first thing that went wrong
}

func (w *wiring) stage(n *Node) *stage {
	s := &stage{task: w.task, name: n.name(), policy: n.policy, letter: -1}
	if n.policy.Topic != "" {
		s.letter = w.sink(n.policy.Topic)
	}
	return s
}

// sink is the number of a topic that the plan has among the sinks.
func (w *wiring) sink(t record.Topic) int {
	for i, s := range w.task.sub.Sinks {
		if s.Topic == t {
			return i
		}
	}
	panic("topology: no sink " + string(t) + " in the plan") // the plan and the operators come from one graph
}

// storeAt is the number of a store, which the plan has among the stores.
func (w *wiring) storeAt(name string) int {
	for i, s := range w.task.sub.Stores {
		if s.Name == name {
			return i
		}
	}
	panic("topology: no store " + name + " in the plan")
}

// sources are the operators that begin n's sub-topology above n.
func (n *Node) sources() (all []*Node) {
	n.above(func(up *Node) bool {
		if up.source != nil {
			all = append(all, up)
		}
		return true
	})
	return all
}

// clocks are the operators nearest above n, or n itself, that give records their
// time.
func (n *Node) clocks() (all []*Node) {
	n.above(func(up *Node) bool {
		if isClock := up.clock || up.source != nil; isClock {
			all = append(all, up)
			return false
		}
		return true
	})
	return all
}

// above visits n and what is above it in its sub-topology, each once; not what
// is above an operator for which visit returns false.
func (n *Node) above(visit func(*Node) bool) {
	seen := make(map[*Node]bool)
	var climb func(*Node)
	climb = func(up *Node) {
		if seen[up] {
			return
		}
		seen[up] = true
		if visit(up) {
			for _, next := range up.in {
				climb(next)
			}
		}
	}
	climb(n)
}

func (n *Node) isRepartition() bool { return n.source != nil && n.from != nil }
