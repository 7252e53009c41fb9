package log

import "time"

// gathering decides whether a round begins at once or waits for company. Many who
// append one record at a time and wait fall into two halves, each of which appends
// while the round of the other is under way: every round is then half as large as
// it could be, and everybody waits for two. So behind a round that ended several
// waits, the next one is held until as many have come back, or until it has been
// held as long as that round took. Who is alone is never held.
type gathering struct {
	waiting int // appends that wait for the round that gathers now
	ended   int // appends whose wait the round before has ended, or ends now

	until  time.Time // the round is held until then; zero: it is not
	expect int       // or until so many wait

	failed int // times in a row that it was held in vain
	rest   int // rounds that are not held because of that
}

const (
	longestHold = time.Millisecond
	mostUnheld  = 64 // rounds
)

// roundEnded comes behind each round, which took so long.
func (g *gathering) roundEnded(now time.Time, took time.Duration) {
	if g.rest > 0 {
		g.rest--
		return
	}
	if expect := g.ended + g.waiting; expect > 1 && 2*g.ended >= g.waiting { // else too few come back for so many
		g.expect, g.until = expect, now.Add(min(took, longestHold))
	}
}

// held says that the round is not to begin yet.
func (g *gathering) held(now time.Time) bool {
	return !g.until.IsZero() && g.waiting < g.expect && now.Before(g.until)
}

// complete says that nobody more is waited for.
func (g *gathering) complete() bool { return g.until.IsZero() || g.waiting >= g.expect }

// roundBegins takes those who wait into a round. Where they were waited for in
// vain, some rounds are not held, more each time.
func (g *gathering) roundBegins() {
	switch {
	case g.until.IsZero():
	case g.waiting < g.expect:
		g.rest = min(1<<g.failed, mostUnheld)
		g.failed = min(g.failed+1, 6)
	default:
		g.failed = 0
	}
	g.ended, g.waiting = g.waiting, 0
	g.until = time.Time{}
}
