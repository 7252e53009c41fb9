// Package verify recounts a job's input and compares the result with what the
// job has stored, so that exactly-once can be proved instead of trusted.
//
// Most readers need [ClickCount] and [Report].
//
// It shares no code with the engine or the click job: it reads topics as any
// consumer would, takes events apart in its own way and counts in plain maps. So
// it needs memory in proportion to the number of users and pages.
//
// It works while clicks arrive. Let first be the input's end when it starts.
// Once the job has committed what lies below it, in every topic on the way, each
// stored count must lie between the recount up to first and the recount up to
// the input's end at a moment after the results were read. Both are the same for
// who was not clicked meanwhile.
package verify
