package log

import "time"

const (
	// leap is how far the wall clock may run ahead of the monotonic one between two
	// looks. A machine that slept for a night stays within it.
	leap = 24 * time.Hour

	// leapHold is how long a leap is not believed: time to set a wrong clock right
	// before it has deleted everything.
	leapHold = time.Hour
)

// clockGuard keeps a wall clock that leaps into the future from expiring all
// records at once. The zero value is ready.
type clockGuard struct {
	last time.Time
	hold time.Duration // for how long the clock is not believed yet
}

// trusts says whether records may expire by the wall clock's now. elapsed is the
// time since the last call by the monotonic clock.
func (g *clockGuard) trusts(now time.Time, elapsed time.Duration) bool {
	now = now.Round(0) // wall clock only
	g.hold = max(0, g.hold-elapsed)
	if !g.last.IsZero() {
		switch leapt := now.Sub(g.last) - elapsed; {
		case leapt > leap:
			g.hold = leapHold
		case leapt < -leap: // it was set right
			g.hold = 0
		}
	}
	g.last = now
	return g.hold == 0
}
