package broker

import (
	"bytes"
	"errors"
	"sync"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// load reads all groups from the offsets topic. Members and offsets are as they
// were stored; sessions start anew, as in Kafka. It reads each shard once, in
// pieces: memory grows with what is alive, not with the log.
func (g *groups) load() {
	var loading sync.WaitGroup
	for _, s := range g.allShards() {
		loading.Go(func() {
			l := loader{shard: s, groups: map[string][]byte{}}
			l.run()
		})
	}
	loading.Wait()
	g.forgetOffsets(func(tp record.TopicPartition) bool {
		return g.b.catalog.topics.named(string(tp.Topic)) == nil
	}, "their topics do not exist any more")
}

// loadPiece is how much of the log is in memory at a time.
const loadPiece = 1 << 20

// loader reads one shard.
type loader struct {
	shard   *shard
	it      batch.Iterator
	groups  map[string][]byte        // the last value of each group's own record
	places  map[string]record.Offset // where that lies
	strange int                      // records that were passed over
}

func (l *loader) run() {
	l.places = map[string]record.Offset{}
	s := l.shard
	next, end := s.log.StartOffset(), s.log.HighWatermark()
	buf := make([]byte, 0, loadPiece)
	for next < end {
		data, err := s.log.Read(next, loadPiece, buf[:0])
		if err != nil {
			if next = l.passDamage(err, end); next < end {
				continue
			}
			break
		}
		if len(data) == 0 {
			break
		}
		next = l.apply(data, next)
		buf = data
	}
	l.restoreGroups()
	l.report()
}

// apply takes the batches of one piece, and returns the offset behind them.
func (l *loader) apply(data []byte, next record.Offset) record.Offset {
	for b, err := range batch.Split(data) {
		if err != nil {
			break // the log gives whole batches only
		}
		if err = l.it.Reset(b, nil); err != nil {
			l.strange++
			h, _ := batch.ParseHeader(b)
			next = h.LastOffset() + 1
			continue
		}
		h := l.it.Header()
		next = h.LastOffset() + 1
		if h.Transactional() && l.shard.g.b.cfg.txnFaults.forgetStaged {
			continue
		}
		for l.it.Next() {
			if h.Control() {
				l.applyControl(h.ProducerID, l.it.Record())
			} else {
				l.applyRecord(h, l.it.Record())
			}
		}
		if l.it.Err() != nil {
			l.strange++
		}
	}
	return next
}

// applyControl ends a transaction.
func (l *loader) applyControl(producerID int64, r batch.View) {
	end, ok, err := batch.ParseEndTxn(r.Key, r.Value)
	if err != nil {
		l.strange++
	}
	if ok {
		for _, lg := range l.shard.takeStaged(producerID) {
			lg.mu.group.Settle(producerID, end.Commit)
		}
	}
}

func (l *loader) applyRecord(h batch.Header, r batch.View) {
	id, tp, err := parseOffsetsKey(r.Key)
	switch {
	case err != nil:
		l.strange++
	case tp.Topic != "":
		l.applyOffset(h, id, tp, r)
	case r.Value == nil:
		delete(l.groups, id)
		delete(l.places, id)
	default:
		l.groups[id] = bytes.Clone(r.Value) // only the last one counts: decoded at the end
		l.places[id] = r.Offset
	}
}

func (l *loader) applyOffset(h batch.Header, id string, tp record.TopicPartition, r batch.View) {
	if r.Value == nil {
		if lg := l.shard.find(id); lg != nil {
			lg.mu.group.RemoveOffset(tp)
			lg.mu.group.Unstage(tp)
		}
		return
	}
	o, err := parseOffsetValue(r.Value)
	if err != nil {
		l.strange++
		return
	}
	o.Position = r.Offset
	lg := l.shard.findOrCreate(id)
	if h.Transactional() {
		lg.mu.group.Stage(h.ProducerID, tp, o)
		l.shard.noteStaged(h.ProducerID, lg)
		return
	}
	lg.mu.group.SetOffset(tp, o)
}

// restoreGroups gives the groups their members, and puts them on the clock.
func (l *loader) restoreGroups() {
	for id, value := range l.groups {
		snapshot, err := parseGroupValue(value)
		if err != nil {
			l.strange++
			continue
		}
		lg := l.shard.findOrCreate(id)
		lg.mu.group.Restore(time.Now(), snapshot)
		lg.mu.stored = l.places[id]
	}
	for _, lg := range l.shard.all() {
		lg.loaded = true
		if lg.lock() {
			lg.unlock()
		}
	}
}

// passDamage is where to read on behind what cannot be read: the end, when that
// is everything.
func (l *loader) passDamage(err error, end record.Offset) record.Offset {
	s := l.shard
	s.damagedBelow = end
	if corrupt := (*log.CorruptError)(nil); errors.As(err, &corrupt) {
		s.damagedBelow = corrupt.Next
	}
	s.g.b.logger.Error("a part of the offsets topic cannot be read: groups whose newest offset may have been in it get an error instead of an older one. "+
		"Reset their offsets to go on",
		"partition", s.log.TP().String(), "offset", int64(s.damagedBelow), "error", err)
	return s.damagedBelow
}

func (l *loader) report() {
	s := l.shard
	if l.strange > 0 {
		s.g.b.logger.Warn("records in the offsets topic that this version does not know were passed over",
			"partition", s.log.TP().String(), "records", l.strange)
	}
	s.g.b.logger.Debug("consumer groups read", "partition", s.log.TP().String(), "groups", len(s.all()), "bytes", s.log.SizeBytes())
}
