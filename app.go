package millrace

import (
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"

	"millrace/internal/topology"
)

// App describes one job: where records come from, what is done to them, and
// where results go. Describing does nothing yet and cannot fail; [App.Build]
// says all that is wrong with the description.
//
// An App is described by one goroutine.
type App struct {
	id    string
	graph *topology.Graph
}

// New begins the description of a job. The id names its consumer group and is
// the prefix of its internal topics, <id>-<store>-changelog and
// <id>-<store>-repartition; two jobs on one cluster need different ids, and a
// job that changes its id begins anew.
func New(id string) *App { return &App{id: id, graph: topology.NewGraph(id)} }

// ID is the application id.
func (a *App) ID() string { return a.id }

// Topology is a job that was described without a fault.
type Topology struct {
	plan  *topology.Plan
	graph *topology.Graph
}

// Build is the job as described so far, or everything that is wrong with it:
// each fault names the line of the program, and how to mend it.
func (a *App) Build() (*Topology, error) {
	plan, err := a.graph.Plan()
	if err != nil {
		return nil, err
	}
	return &Topology{plan: plan, graph: a.graph}, nil
}

// Attach tells the views of the job's tables who runs it, for the rooms of this
// module.
func (t *Topology) Attach(r topology.Reader) { t.graph.Attach(r) }

// Plan is the topology for the rooms of this module.
func (t *Topology) Plan() *topology.Plan { return t.plan }

// Describe is the topology as text: each sub-topology, whose operators hand each
// other records in memory, with stores, changelogs and policies.
func (t *Topology) Describe() string { return t.graph.Describe() }

// Mermaid is the topology as a Mermaid flowchart, with its topics.
func (t *Topology) Mermaid() string { return t.graph.Mermaid() }

// at is the place of the user's call, with what the operator is called: the name
// that the user gave it, else that of the function, else its line. It checks
// that the operator takes the options.
func at(g *topology.Graph, operator string, takes kinds, s settings, function any) topology.At {
	where := userLine()
	s.check(g, where, operator, takes)
	label := s.label
	if label == "" && function != nil {
		label = functionName(function)
	}
	if label == "" {
		label = where
	}
	return topology.At{Where: where, Label: label}
}

// thisPackage is the prefix of the names of this package's functions.
var thisPackage = strings.TrimSuffix(runtime.FuncForPC(reflect.ValueOf(New).Pointer()).Name(), "New")

// userLine is the line outside of this package that called it, "main.go:12".
func userLine() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, thisPackage) || strings.HasSuffix(f.File, "_test.go") {
			return filepath.Base(f.File) + ":" + strconv.Itoa(f.Line)
		}
		if !more {
			return ""
		}
	}
}

// functionName is "main.parse" for a function that has a name, else "".
func functionName(f any) string {
	name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
	name = name[strings.LastIndexByte(name, '/')+1:]
	if strings.Contains(name, ".func") || strings.Contains(name, "[...]") {
		return ""
	}
	return strings.TrimSuffix(name, "-fm")
}
