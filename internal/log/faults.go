package log

// faults are planted bugs. The crash tests switch them on, one at a time, to
// prove that they would notice the bug. All are off outside of tests.
type faults struct {
	ackBeforeSync       bool // Wait returns without waiting for the sync
	aheadOfDurable      bool // the high watermark moves before the sync
	skipDirSync         bool // new segments and directories are not made durable
	retryFailedSync     bool // a failed sync is tried again and then believed
	cutOneMore          bool // recovery cuts the batch before a torn tail too
	emptyRestartsAtZero bool // an emptied partition forgets its next offset
	deleteBeforeStart   bool // segments go before the new log start is durable
	serveUnchecked      bool // Read does not check checksums
	forgetProducers     bool // recovery does not rebuild the producer state
	truncateRot         bool // recovery cuts at any damage
	staleChecksum       bool // LogAppendTime leaves the producer's checksum
	earlyMarkers        bool // a transaction is decided before its marker is durable
	loseAborted         bool // recovery does not make the index of aborted transactions anew
	forgetOpenTxns      bool // recovery takes no transaction for open
	stableAhead         bool // readers at read_committed pass open transactions
	unfencedMarkers     bool // markers of any epoch are taken

	compaction compactionFaults
}
