package verify

import "fmt"

// Report is the outcome. The job's results are right if there is no difference.
type Report struct {
	Clicks      int64 `json:"clicks"` // recounted, up to the input's end at the start
	Users       int   `json:"users"`
	Pages       int   `json:"pages"`
	DeadLetters int   `json:"dead_letters"`
	// Moving is how many more clicks arrived meanwhile: who got them could be
	// compared with bounds only.
	Moving int64 `json:"moving_clicks"`

	Differences int          `json:"differences"`
	Shown       []Difference `json:"shown,omitempty"` // the first Options.Show of them
}

// Match says that nothing differs.
func (r Report) Match() bool { return r.Differences == 0 }

// Difference is one result that is not what the input says.
type Difference struct {
	What   string `json:"what"` // user, page, dead letter
	Name   string `json:"name"`
	Stored int64  `json:"stored"`
	// AtLeast and AtMost are the recount; the same when nothing arrived meanwhile.
	AtLeast int64 `json:"at_least"`
	AtMost  int64 `json:"at_most"`
}

// Recounted is what the stored count should be.
func (d Difference) Recounted() string {
	if d.AtMost == d.AtLeast {
		return fmt.Sprint(d.AtLeast)
	}
	return fmt.Sprintf("%d to %d", d.AtLeast, d.AtMost)
}

func (d Difference) String() string {
	return fmt.Sprintf("%s %q: stored %d, recounted %s", d.What, d.Name, d.Stored, d.Recounted())
}
