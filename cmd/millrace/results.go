package main

import (
	"errors"
	"fmt"
	"time"

	"millrace"
	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/internal/engine"
	"millrace/internal/web"
)

// results shows a click job to the web room: the same answers in its words.
type results struct{ job *runningJob }

// Parts are what this instance has; what is not here yet, Progress tells.
func (r results) Parts(top int) web.Parts {
	users, _ := r.job.UserParts(top)
	pages, _ := r.job.PageParts(top)
	minutes, _ := r.job.MinuteParts()
	return web.Parts{Users: webParts(users), Pages: webParts(pages), Minutes: webParts(minutes), DeadLetters: r.job.Refused(), Progress: r.Progress()}
}

func webParts(parts []clicks.Part) []web.Part {
	out := make([]web.Part, len(parts))
	for i, p := range parts {
		out[i] = web.Part{
			Task: p.Task, Tasks: p.Tasks, Clicks: p.Clicks, DemoClicks: p.Demo, Names: p.Names,
			Top: make([]web.Count, len(p.Top)), AsOf: web.AsOf(p.AsOf),
		}
		for j, c := range p.Top {
			out[i].Top[j] = web.Count(c)
		}
	}
	return out
}

// Peers are the other instances that the group has given partitions to.
func (r results) Peers() (peers []web.Peer) {
	status := r.job.engine.Status()
	for _, p := range status.Peers {
		if p.TransactionalID != status.Self && len(p.Partitions) > 0 {
			peers = append(peers, web.Peer{Name: p.TransactionalID, Endpoint: p.Endpoint})
		}
	}
	return peers
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

// remedy is what to do about what has stopped a job or one of its tasks; empty for
// what passes by itself.
func remedy(err error) string {
	const anew = "count anew what is left: stop the job, then millrace jobs reset " + clicks.JobName
	if damage, ok := errors.AsType[client.CorruptError](err); ok {
		return fmt.Sprintf("the broker's log names the damaged offsets; put the files of %s back from a copy and start again, or give up the records up to there (kafka-delete-records), and %s", damage.TopicPartition, anew)
	}
	if _, ok := errors.AsType[*client.PositionError](err); ok {
		return "records were deleted before they were counted; " + anew
	}
	if gone, ok := errors.AsType[client.UnknownTopicError](err); ok {
		return fmt.Sprintf("topic %s was deleted under the job; %s", string(gone.Topic), anew)
	}
	if errors.Is(err, engine.ErrProgress) {
		return fmt.Sprintf("%s has another number of partitions than when it was counted, or was created anew; %s", clicks.Topic, anew)
	}
	return ""
}

// brokersRemedy is what to look at when the job waits for its brokers; empty for
// all other errors.
func brokersRemedy(err error) string {
	if _, stalled := errors.AsType[*engine.StalledError](err); stalled {
		return "look at the brokers: make room if a disk is full (df, and their log), and start those that are away; nothing is lost meanwhile, and the next commit makes the job ready"
	}
	if _, away := errors.AsType[*client.AwayError](err); away || errors.Is(err, client.ErrUnreachable) {
		return "start the brokers that do not answer, or check the address and the network in between; the job joins its group by itself then"
	}
	return ""
}

// Progress is how far the tasks of this instance are restored.
func (r results) Progress() web.Progress {
	status := r.job.engine.Status()
	p := web.Progress{Ready: status.State == engine.Active}
	for _, t := range status.Tasks {
		p.Counted += t.Restored
		p.Of += t.RestoreTo
	}
	if fix := brokersRemedy(status.Err); fix != "" && !p.Ready {
		p.Waiting, p.Fix, p.Brokers = status.Err.Error(), fix, true
		return p
	}
	switch status.State {
	case engine.Starting:
		p.Waiting = "the instance joins its group"
	case engine.Degraded, engine.Failed:
		if status.Err != nil {
			p.Waiting, p.Fix = status.Err.Error(), remedy(status.Err)
		}
	}
	return p
}
