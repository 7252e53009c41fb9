package foreign

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

// leftOut is the ledger of one test process.
var leftOut struct {
	sync.Mutex
	reasons map[string]string
}

// LeaveOut notes that what could not run, and why.
func LeaveOut(what string, why error) {
	leftOut.Lock()
	defer leftOut.Unlock()
	if leftOut.reasons == nil {
		leftOut.reasons = map[string]string{}
	}
	leftOut.reasons[what] = why.Error()
}

// PrintLeftOut writes one line per thing that could not run, or one line that
// nothing was left out. It returns how many there were.
func PrintLeftOut(w io.Writer) int {
	leftOut.Lock()
	defer leftOut.Unlock()
	if len(leftOut.reasons) == 0 {
		fmt.Fprintln(w, "LEFT OUT: nothing")
		return 0
	}
	whats := make([]string, 0, len(leftOut.reasons))
	for what := range leftOut.reasons {
		whats = append(whats, what)
	}
	slices.Sort(whats)
	for _, what := range whats {
		fmt.Fprintf(w, "LEFT OUT: %s: %s\n", what, leftOut.reasons[what])
	}
	return len(whats)
}
