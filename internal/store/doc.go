// Package store keeps the committed state of a job on disk: one Pebble database
// per process, in which every store of every task has a key range of its own.
//
// Most readers need [Open], [DB.Part] and [DB.NewFlush]. What is here is only a
// cache of the changelog topics, which hold the truth. It may lag behind them
// and never leads: the engine hands over entries only after the transaction
// that wrote them is known to be committed. One flush writes the entries of a
// task together with the changelog positions that they reflect, in one atomic
// batch, so a crash leaves an older committed prefix with its own position, and
// replaying the changelog from there is always right.
//
// Nothing here is synced per write and Pebble's write-ahead log is off. What
// was not yet in a table file when the process died is replayed from the
// changelog. Without the write-ahead log a full disk cannot end the process:
// Pebble treats a failed write of its log as fatal.
//
// The directory:
//
//	LOCK        held while the process runs
//	format      the version of all below, "millrace-state 1"
//	instance    an id that was drawn when the directory was made
//	db/         Pebble
//	db.damaged/ what was set aside when db could not be opened; the newest only
//
// The keys in Pebble, integers big endian so that order in bytes is order in numbers:
//
//	| 0x00 | name…                        | → store id, 4 bytes
//	| 0x01 | store id 4 | partition 4     | → position
//	| 0x02 | store id 4 | partition 4 | key… | → value
package store
