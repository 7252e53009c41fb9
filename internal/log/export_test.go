package log

// PlantedBugs switches on one planted bug each, by name, for the crash tests.
var PlantedBugs = map[string]func(*Options){
	"ack before sync":                      func(o *Options) { o.faults.ackBeforeSync = true },
	"high watermark ahead of durable":      func(o *Options) { o.faults.aheadOfDurable = true },
	"skipped directory sync":               func(o *Options) { o.faults.skipDirSync = true },
	"failed sync retried":                  func(o *Options) { o.faults.retryFailedSync = true },
	"one batch too much cut":               func(o *Options) { o.faults.cutOneMore = true },
	"emptied partition restarts at 0":      func(o *Options) { o.faults.emptyRestartsAtZero = true },
	"deletion before the log start is set": func(o *Options) { o.faults.deleteBeforeStart = true },
	"unchecked batches served":             func(o *Options) { o.faults.serveUnchecked = true },
	"producers forgotten":                  func(o *Options) { o.faults.forgetProducers = true },
	"rot cut off":                          func(o *Options) { o.faults.truncateRot = true },
	"append time without a new checksum":   func(o *Options) { o.faults.staleChecksum = true },
	"marker seen before it is durable":     func(o *Options) { o.faults.earlyMarkers = true },
	"aborted index lost":                   func(o *Options) { o.faults.loseAborted = true },
	"open transactions forgotten":          func(o *Options) { o.faults.forgetOpenTxns = true },
	"last stable offset ahead":             func(o *Options) { o.faults.stableAhead = true },
	"markers not fenced":                   func(o *Options) { o.faults.unfencedMarkers = true },
}
