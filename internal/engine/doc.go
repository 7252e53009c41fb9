// Package engine runs a plan: it owns the tasks and goroutines of one instance,
// fetches, steps, commits exactly once, restores and gives tasks away.
//
// Most readers need [New], [Engine.Run] and [Engine.Status]. How a commit works
// stands at [instance.commit], how a task starts at [starter]; what is decided
// there is decided by pure functions: [limits.due], [judge], [planRestore] and
// [preflight].
//
// What must never be true: state ahead of Kafka. Tables move only after a
// commit that the brokers have confirmed; what was open is dropped after
// anything else, the outcome is asked for, and where it was committed after all
// the changelog brings it. Kafka alone decides; no file here says more than
// "this much of a changelog is in these entries".
package engine
