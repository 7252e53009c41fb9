package main

import (
	"errors"
	"time"

	"millrace"
	"millrace/internal/clicks"
	"millrace/internal/engine"
	"millrace/internal/web"
)

// results shows a click job to the web room: the same answers in its words.
type results struct{ job *runningJob }

func (r results) Totals() web.Totals {
	t, _ := r.job.Totals() // what is not here yet, Progress tells
	return web.Totals{
		Clicks: t.Clicks, Users: t.Users, Pages: t.Pages, DeadLetters: t.DeadLetters, DemoClicks: t.DemoClicks,
		AsOf: web.AsOf(t.AsOf),
	}
}

func (r results) User(id string) web.UserCount {
	count, found, asOf, err := r.job.User(id)
	return web.UserCount{Clicks: count, Known: found, AsOf: web.AsOf(asOf), Away: awayOf(err)}
}

func (r results) Windows(id string, from, to time.Time) web.UserWindows {
	minutes, asOf, err := r.job.Minutes(id, from, to)
	windows := make([]web.Window, len(minutes))
	for i, m := range minutes {
		windows[i] = web.Window{Start: m.Start, End: m.End, Clicks: m.Clicks, Final: m.Final}
	}
	return web.UserWindows{Windows: windows, AsOf: web.AsOf(asOf), Away: awayOf(err)}
}

// awayOf says why there is no answer here, and who has it.
func awayOf(err error) *web.Away {
	if err == nil {
		return nil
	}
	away := &web.Away{Reason: err.Error()}
	if elsewhere, ok := errors.AsType[*millrace.AwayError](err); ok {
		away.Endpoint = elsewhere.Endpoint
	}
	return away
}

func (r results) TopUsers(n int) ([]web.Count, web.AsOf) {
	counts, asOf, _ := r.job.TopUsers(n)
	return webCounts(counts), web.AsOf(asOf)
}

func (r results) TopPages(n int) ([]web.Count, web.AsOf) {
	counts, asOf, _ := r.job.TopPages(n)
	return webCounts(counts), web.AsOf(asOf)
}

func webCounts(counts []clicks.Count) []web.Count {
	out := make([]web.Count, len(counts))
	for i, c := range counts {
		out[i] = web.Count(c)
	}
	return out
}

func (r results) DeadLetters(n int) web.DeadLetters {
	letters, byReason := r.job.DeadLetters(n)
	out := web.DeadLetters{ByReason: byReason}
	for _, l := range letters {
		out.Newest = append(out.Newest, web.DeadLetter{TopicPartition: l.TopicPartition, Offset: l.Offset, Timestamp: l.Timestamp.Time(), Reason: l.Reason, Detail: l.Detail})
	}
	for _, n := range byReason {
		out.Total += n
	}
	return out
}

// Progress is how far the tasks of this instance are restored.
func (r results) Progress() web.Progress {
	status := r.job.engine.Status()
	p := web.Progress{Ready: status.State == engine.Active}
	for _, t := range status.Tasks {
		p.Counted += t.Restored
		p.Of += t.RestoreTo
	}
	switch status.State {
	case engine.Starting:
		p.Waiting = "the instance joins its group"
	case engine.Degraded, engine.Failed:
		if status.Err != nil {
			p.Waiting = status.Err.Error()
		}
	}
	return p
}
