package main

import (
	"millrace/internal/clicks"
	"millrace/internal/web"
	"millrace/record"
)

// results shows a click job to the web room: the same answers in its words.
type results struct{ job *clicks.Job }

func (r results) Totals() web.Totals {
	t := r.job.Totals()
	return web.Totals{
		Clicks: t.Clicks, Users: t.Users, Pages: t.Pages, DeadLetters: t.DeadLetters, DemoClicks: t.DemoClicks,
		UntrackedUserClicks: t.UntrackedUserClicks, UntrackedPageClicks: t.UntrackedPageClicks,
		AsOf: web.AsOf(t.AsOf),
	}
}

func (r results) User(id string) web.UserCount {
	count, known, complete, asOf := r.job.User(id)
	return web.UserCount{Clicks: count, Known: known, Complete: complete, AsOf: web.AsOf(asOf)}
}

func (r results) TopUsers(n int) ([]web.Count, web.AsOf) {
	counts, asOf := r.job.TopUsers(n)
	return webCounts(counts), web.AsOf(asOf)
}

func (r results) TopPages(n int) ([]web.Count, web.AsOf) {
	counts, asOf := r.job.TopPages(n)
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
	letters, byReason, asOf := r.job.DeadLetters(n)
	out := web.DeadLetters{ByReason: make(map[string]int64, len(byReason)), AsOf: web.AsOf(asOf)}
	for _, l := range letters {
		letter := web.DeadLetter{TopicPartition: l.TopicPartition, Offset: l.Offset, Events: l.Events, Reason: string(l.Reason), Detail: l.Detail}
		if l.Timestamp != record.NoTimestamp {
			letter.Timestamp = l.Timestamp.Time()
		}
		out.Newest = append(out.Newest, letter)
	}
	for reason, n := range byReason {
		out.ByReason[string(reason)] = n
		out.Total += n
	}
	return out
}

func (r results) Progress() web.Progress { return web.Progress(r.job.Progress()) }
