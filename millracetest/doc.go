// Package millracetest runs a job in memory, on a clock that stands still until a
// test moves it, so that a user's functions can be tested in milliseconds: records
// are piped in, time is moved, results and dead letters are read.
//
// Most readers need [New], [Driver.Pipe], [Driver.Commit] and [Driver.Read].
//
// It is the engine's step without its edges: the same operators, the same
// partitioning, the same transactions. Nothing is visible before a commit.
// [Driver.Abort] and [Driver.Crash] do what a lost transaction and a kill -9 do:
// what was open is gone, and its records are processed again. A job whose results
// change by that is not deterministic, and would not be exactly once anywhere.
package millracetest
