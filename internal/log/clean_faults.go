package log

// compactionFaults are planted bugs of the compaction: see faults.
type compactionFaults struct {
	keepOldest      bool // the newest record of a key goes
	dropTombstones  bool // tombstones go before their horizon
	dropMarkers     bool // markers of transactions go before their horizon
	passOpen        bool // open transactions are compacted
	forgetProducers bool // the last batch of a producer goes
	swapTooEarly    bool // the new segment gets its name before the old ones are gone
	keepCovered     bool // a start completes a swap and leaves the old segments
	loseAborted     bool // the index of aborted transactions of the new segment is empty
	skipDirSync     bool // the names of a swap are not made durable
	skipDataSync    bool // the new segment is not synced
}
