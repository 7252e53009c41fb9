// Package topology is the graph of operators and the step of one task: a pure
// function of the task's state and a batch of records. No I/O, no goroutine, no
// clock: the wall clock comes in by [Task.Tick].
//
// The engine needs [Plan] and [Task]; the DSL builds the graph.
package topology
