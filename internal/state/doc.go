// Package state holds the tables of a task: typed, in memory, over a [Backing].
// It does no I/O of its own, starts no goroutine and reads no clock.
//
// The engine sees a [Table] without types, the step of a task one with them.
package state
