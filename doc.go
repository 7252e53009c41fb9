// Package millrace processes the records of Kafka topics exactly once: each
// record changes each result once, in everything that a read_committed consumer
// sees, across any crash of any process.
//
// A job is described with [New], [App.From] and what can be done to a [Stream].
// Types say what is legal: only grouped streams aggregate, and a stream can be
// written to a topic of its own types only. Most readers need [Stream] and
// [Grouped].
//
//	clicks := app.From(raw).TryMap(parse)
//	clicks.GroupBy(user).Count("user-total").To(totals)
//
// # State
//
// An aggregate has a name, and keeps its state under it: in memory and on disk
// where the job runs, and in the compacted topic <app>-<name>-changelog, from
// which it is restored anywhere. Records move to the partition of their group's
// key over the topic <app>-<name>-repartition, added up before they move.
//
// # Time
//
// Windows go by event time: the records' timestamps, or [Stream.EventTime]. A
// window is final when the watermark, the least time that any input partition
// has reached, passes its end plus its grace. Partitions without records step
// aside after some seconds.
//
// # Bad records
//
// A record that a codec or a function cannot take, or at which a function panics,
// goes to the dead letters of its topic, <topic>-dlq, in the same transaction as
// everything else, and the job goes on; see [DeadLetter], [Skip], [Stop] and
// [Retry].
package millrace
