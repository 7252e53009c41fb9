package web

import "time"

// rate turns a rising count into clicks per second: the average of the last
// rateSeconds, and what each of the last historySeconds brought. Counting a log
// again after a start is not traffic: it does not show.
type rate struct {
	began   bool
	clicks  int64     // as of the last observation
	second  time.Time // the second that is being filled
	present int64     // clicks in it so far
	full    [historySeconds]int64
}

func (r *rate) observe(now time.Time, clicks int64, ready bool) {
	second := now.Truncate(time.Second)
	if !ready || clicks < r.clicks || !r.began {
		*r = rate{began: ready, clicks: clicks, second: second}
		return
	}
	r.advance(second)
	r.present += clicks - r.clicks
	r.clicks = clicks
}

// advance closes the present second and those that passed unobserved.
func (r *rate) advance(to time.Time) {
	passed := int(to.Sub(r.second) / time.Second)
	if passed <= 0 {
		return
	}
	r.push(r.present)
	for range min(passed-1, historySeconds) {
		r.push(0)
	}
	r.present, r.second = 0, to
}

func (r *rate) push(clicks int64) {
	copy(r.full[:], r.full[1:])
	r.full[historySeconds-1] = clicks
}

func (r *rate) perSecond() float64 {
	var sum int64
	for _, clicks := range r.full[historySeconds-rateSeconds:] {
		sum += clicks
	}
	return float64(sum) / rateSeconds
}

func (r *rate) history() []int64 { return r.full[:] }
