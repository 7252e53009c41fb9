package web

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"millrace/record"
)

// whole is the answer of all instances together. Tasks have no name in common, so
// sums of sums are sums, and the first of the firsts are the first.
type whole struct {
	users, pages result
	minutes      result // its position only
	deadLetters  int64
	progress     Progress
	failed       []instanceJSON // instances that did not answer
}

// result is all parts of one result, put together.
type result struct {
	clicks, demoClicks, names int64
	top                       []Count
	asOf                      AsOf
	missing                   []record.Partition // tasks of which there is no part
	unknown                   bool               // there is no part at all, nor a number of tasks
}

func (r *result) computed() bool { return !r.unknown }

// merge puts together what this instance has and what others have said. top is
// the length of rankings.
func merge(all []Parts, failed []instanceJSON, top int) whole {
	w := whole{progress: Progress{Ready: true}, failed: failed}
	var users, pages, minutes []Part
	for _, p := range all {
		users, pages, minutes = append(users, p.Users...), append(pages, p.Pages...), append(minutes, p.Minutes...)
		w.deadLetters = max(w.deadLetters, p.DeadLetters)
		w.progress.Ready = w.progress.Ready && p.Progress.Ready
		w.progress.Counted += p.Progress.Counted
		w.progress.Of += p.Progress.Of
		if w.progress.Waiting == "" || w.progress.Fix == "" && p.Progress.Fix != "" {
			w.progress.Waiting, w.progress.Fix, w.progress.Brokers = p.Progress.Waiting, p.Progress.Fix, p.Progress.Brokers
		}
	}
	w.users, w.pages, w.minutes = mergeParts(users, top), mergeParts(pages, top), mergeParts(minutes, 0)
	return w
}

// asOf is the position of an answer that is made of these results. Only minutes
// know of event time; it is not known as long as one of their tasks is missing.
func (w whole) asOf(of ...result) (a AsOf) {
	for _, r := range of {
		a = a.with(r.asOf)
	}
	if w.minutes.computed() {
		if a.Watermark = w.minutes.asOf.Watermark; len(w.minutes.missing) > 0 {
			a.Watermark = time.Time{}
		}
	}
	return a
}

// mergeParts takes each task once: while a task moves, the instance that had it
// and the one that has it may both have answered.
func mergeParts(parts []Part, top int) (r result) {
	newest := make(map[record.Partition]Part)
	tasks := 0
	for _, p := range parts {
		tasks = max(tasks, p.Tasks)
		if have, twice := newest[p.Task]; !twice || have.AsOf.read() < p.AsOf.read() {
			newest[p.Task] = p
		}
	}
	r.unknown = tasks == 0
	for _, task := range slices.Sorted(maps.Keys(newest)) {
		p := newest[task]
		r.clicks += p.Clicks
		r.demoClicks += p.DemoClicks
		r.names += p.Names
		r.top = append(r.top, p.Top...)
		r.asOf = r.asOf.with(p.AsOf)
	}
	slices.SortFunc(r.top, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Clicks, a.Clicks), cmp.Compare(a.Name, b.Name))
	})
	r.top = r.top[:min(top, len(r.top))]
	for task := range record.Partition(tasks) {
		if _, here := newest[task]; !here {
			r.missing = append(r.missing, task)
		}
	}
	return r
}

// missing says what is not in an answer that is made of these results.
func (w whole) missing(of ...result) (m missingJSON) {
	for _, r := range of {
		m.MissingTasks = append(m.MissingTasks, r.missing...)
	}
	slices.Sort(m.MissingTasks)
	m.MissingTasks = slices.Compact(m.MissingTasks)
	unknown := !slices.ContainsFunc(of, func(r result) bool { return r.computed() })
	if len(m.MissingTasks) > 0 || unknown && (len(w.failed) > 0 || !w.progress.Ready) {
		m.Partial, m.MissingInstances = true, w.failed
	}
	return m
}

// read is how many offsets are below a position.
func (a AsOf) read() (n record.Offset) {
	for _, next := range a.Offsets {
		n += next
	}
	return n
}

// with is the position of an answer of two parts: the older where they differ,
// and the later end.
func (a AsOf) with(b AsOf) AsOf {
	if a.Offsets == nil {
		return b
	}
	if b.Offsets == nil {
		return a
	}
	sum := AsOf{Offsets: maps.Clone(a.Offsets), UpTo: maps.Clone(a.UpTo), Watermark: a.Watermark, CommittedAt: a.CommittedAt}
	if sum.UpTo == nil {
		sum.UpTo = make(map[record.Partition]record.Offset)
	}
	for p, next := range b.Offsets {
		end, ends := b.UpTo[p]
		have, both := sum.Offsets[p]
		if !both {
			have, sum.UpTo[p] = next, end
		}
		haveEnd, haveEnds := sum.UpTo[p]
		sum.Offsets[p] = min(have, next)
		if sum.UpTo[p] = max(haveEnd, end); !ends || !haveEnds {
			delete(sum.UpTo, p)
		}
	}
	if b.Watermark.IsZero() || b.Watermark.Before(a.Watermark) {
		sum.Watermark = b.Watermark
	}
	sum.CommittedAt = older(a.CommittedAt, b.CommittedAt)
	return sum
}

// older leaves out a time that is not known.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
