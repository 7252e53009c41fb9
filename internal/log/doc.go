// Package log keeps partitions on disk in Kafka's format: append batches, read
// them by offset, and find everything again after any stop.
//
// Most readers need [Open], [Log.Append] with [Appended.Wait], and [Log.Read]; for
// transactions [Log.AppendMarker], [Log.ReadCommitted] and [Log.Aborted].
// DESIGN.md in this directory says why the log is built as it is.
//
// A data directory holds
//
//	.lock                                the process that works on it
//	meta.properties                      cluster and directory id
//	.millrace-identity                   where it lay when it was last opened
//	.kafka_cleanshutdown                 the last stop was clean
//	.sync-failed                         a sync failed: the page cache is not to be trusted
//	recovery-point-offset-checkpoint     below these offsets all is synced
//	log-start-offset-checkpoint          below these offsets all is deleted
//	cleaner-offset-checkpoint            below these offsets compacted partitions are compacted
//	<topic>-<partition>/
//	    partition.metadata               topic id
//	    leader-epoch-checkpoint          epochs, once there is more than the first
//	    00000000000000000042.log         a segment: batches, the first with offset 42
//	    ….log.cleaned, ….log.swap        a compacted segment that will take the place of others
//	    00000000000000000042.index       offset to position, sparse
//	    00000000000000000042.timeindex   timestamp to offset, sparse
//	    00000000000000000042.txnindex    aborted transactions whose marker is in the segment
//	    00000000000000000057.snapshot    idempotent producers and open transactions, as of offset 57
//	<topic>-<partition>.<id>-delete/     deleted, being removed
//
// The package knows no Kafka error codes, no sockets and no groups. All of its
// I/O goes through package vfs, behind which the crash tests stand.
package log
