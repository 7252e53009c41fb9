package engine

import (
	"context"
	"time"

	"millrace/record"
)

// purgeInterval is how often what was read from repartition topics is deleted
// there, as in Kafka Streams. Their retention is without end: only the reader
// knows what is not needed any more.
const purgeInterval = 30 * time.Second

// purger deletes repartition records that were consumed and committed.
type purger struct {
	last    time.Time
	running bool
	done    chan struct{}
	deleted map[record.TopicPartition]record.Offset
}

// maybeStart deletes in the background, one request at a time. A failure costs
// space until the next try.
func (p *purger) maybeStart(in *instance, now time.Time) {
	if p.running {
		select {
		case <-p.done:
			p.running = false
		default:
			return
		}
	}
	if now.Sub(p.last) < purgeInterval {
		return
	}
	p.last = now
	before := p.consumed(in)
	if len(before) == 0 {
		return
	}
	p.running, p.done = true, make(chan struct{})
	done := p.done
	in.starters.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(in.engine.life, purgeInterval)
		defer cancel()
		if err := in.admin.DeleteRecords(ctx, before); err != nil {
			in.options.Logger.Debug("repartition records were not deleted", "job", in.options.Plan.App, "err", err)
		}
	})
}

func (p *purger) consumed(in *instance) map[record.TopicPartition]record.Offset {
	if p.deleted == nil {
		p.deleted = make(map[record.TopicPartition]record.Offset)
	}
	before := make(map[record.TopicPartition]record.Offset)
	for _, t := range in.running() {
		for _, i := range t.inputs {
			if t.sub.Sources[i.source].Repartition() && i.committed > p.deleted[i.tp] {
				before[i.tp], p.deleted[i.tp] = i.committed, i.committed
			}
		}
	}
	return before
}
