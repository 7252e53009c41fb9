package broker

// txnFaults are planted bugs. The crash tests switch them on, one at a time, to
// prove that they would notice the bug. All are off outside of tests.
type txnFaults struct {
	earlyMarkers  bool // markers are written before the decision is durable
	earlyComplete bool // the id is complete before its markers are durable
	noPrepare     bool // the decision is not stored
	forgetStaged  bool // a start does not read staged offsets
	noAdoption    bool // a start leaves open data alone that no record names
	abortPrepared bool // a start aborts what was decided
}
