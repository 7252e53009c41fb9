package log

// PlantedCompactionBugs switches on one planted bug of the compaction each, by name.
var PlantedCompactionBugs = map[string]func(*Options){
	"newest record lost":                    func(o *Options) { o.faults.compaction.keepOldest = true },
	"tombstone dropped too early":           func(o *Options) { o.faults.compaction.dropTombstones = true },
	"marker dropped too early":              func(o *Options) { o.faults.compaction.dropMarkers = true },
	"open transaction compacted":            func(o *Options) { o.faults.compaction.passOpen = true },
	"last batch of a producer dropped":      func(o *Options) { o.faults.compaction.forgetProducers = true },
	"new name before the old ones are gone": func(o *Options) { o.faults.compaction.swapTooEarly = true },
	"new segment not synced":                func(o *Options) { o.faults.compaction.skipDataSync = true },
	"names of a swap not synced":            func(o *Options) { o.faults.compaction.skipDirSync = true },
	"swap undone halfway":                   func(o *Options) { o.faults.compaction.keepCovered = true },
}
