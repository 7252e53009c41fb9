package log_test

import (
	"errors"
	"fmt"
	"slices"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// txns is the slow model of the transactions in some batches: what became of
// each producer's, batch by batch.
type txns struct {
	open    map[int64]*openTxn
	aborted map[record.Offset]bool // base offsets of batches that do not count
	pending []openTxn              // ended, by a marker that is not below the high watermark
}

// openTxn is a transaction without its marker.
type openTxn struct {
	first   record.Offset
	batches []record.Offset // base offsets
}

// txnsOf goes through the batches below next. Those that end below from are left
// out, as a log may that has deleted them.
func (p *partition) txnsOf(from, highWatermark record.Offset) *txns {
	m := &txns{open: map[int64]*openTxn{}, aborted: map[record.Offset]bool{}}
	for _, s := range p.batches {
		if s.Transactional() && s.LastOffset() >= from {
			m.add(s, highWatermark)
		}
	}
	return m
}

func (m *txns) add(s *sent, highWatermark record.Offset) {
	open := m.open[s.ProducerID]
	if s.marker == nil {
		if open == nil {
			open = &openTxn{first: s.BaseOffset}
			m.open[s.ProducerID] = open
		}
		open.batches = append(open.batches, s.BaseOffset)
		return
	}
	delete(m.open, s.ProducerID)
	if open == nil {
		return
	}
	if s.BaseOffset >= highWatermark {
		m.pending = append(m.pending, *open)
	}
	for _, base := range open.batches {
		if !s.marker.Commit {
			m.aborted[base] = true
		}
	}
}

// stable is the last stable offset.
func (m *txns) stable(start, highWatermark record.Offset) record.Offset {
	stable := highWatermark
	for _, open := range m.open {
		stable = min(stable, open.first)
	}
	for _, open := range m.pending {
		stable = min(stable, open.first)
	}
	return max(stable, start)
}

// committedRead is what a consumer at read_committed gets of a log.
type committedRead struct {
	stable  record.Offset
	visible []record.Offset // base offsets of the batches whose records it gets
}

// readCommitted reads as Kafka's consumers do: the answer to each fetch has the
// aborted transactions of its range, and a producer's batches are dropped from
// where one of these begins up to its marker.
func readCommitted(l *log.Log) (committedRead, error) {
	r := committedRead{stable: l.LastStableOffset()}
	var aborted []log.AbortedTxn
	maxBytes := 1
	for off := l.StartOffset(); off < r.stable; maxBytes = maxBytes*5%3001 + 1 {
		data, err := l.ReadCommitted(off, maxBytes, nil)
		if damage, ok := errors.AsType[*log.CorruptError](err); ok {
			off = damage.Next
			continue
		}
		if err != nil {
			return r, err
		}
		if len(data) == 0 {
			return r, fmt.Errorf("nothing to read at %d below the last stable offset %d", off, r.stable)
		}
		end := endOf(data)
		if aborted, err = l.Aborted(aborted[:0], off, end); err != nil {
			return r, err
		}
		if !slices.IsSortedFunc(aborted, func(a, b log.AbortedTxn) int { return int(a.First - b.First) }) {
			return r, fmt.Errorf("aborted transactions are not in order: %v", aborted)
		}
		r.visible = consume(r.visible, data, aborted)
		off = end
	}
	return r, nil
}

func endOf(data []byte) (end record.Offset) {
	for one := range batch.Split(data) {
		h, _ := batch.ParseHeader(one)
		end = h.LastOffset() + 1
	}
	return end
}

func consume(visible []record.Offset, data []byte, aborted []log.AbortedTxn) []record.Offset {
	dropped := map[int64]bool{}
	var it batch.Iterator
	for one := range batch.Split(data) {
		h, _ := batch.ParseHeader(one)
		for len(aborted) > 0 && aborted[0].First <= h.LastOffset() {
			dropped[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		if h.Control() {
			if err := it.Reset(one, nil); err == nil && it.Next() {
				if end, ok, err := batch.ParseEndTxn(it.Record().Key, it.Record().Value); ok && err == nil && !end.Commit {
					delete(dropped, h.ProducerID)
				}
			}
			continue
		}
		if !h.Transactional() || !dropped[h.ProducerID] {
			visible = append(visible, h.BaseOffset)
		}
	}
	return visible
}

// checkResumed holds a log that was opened again against the model.
func (p *partition) checkResumed(l *log.Log) error {
	if stable := l.LastStableOffset(); stable < p.stableSeen {
		return fmt.Errorf("the last stable offset is %d, a reader had seen %d", stable, p.stableSeen)
	}
	return p.checkTxns(l)
}

// checkTxns holds what a consumer at read_committed gets against the model.
func (p *partition) checkTxns(l *log.Log) error {
	start, highWatermark := l.StartOffset(), l.HighWatermark()
	got, err := readCommitted(l)
	if l.StartOffset() != start || err == nil && l.HighWatermark() != highWatermark {
		return nil // retention or a sync came between
	}
	if err != nil {
		return err
	}
	all := p.txnsOf(0, highWatermark)
	lowest := all.stable(start, highWatermark)
	if p.forgot {
		lowest = start
	}
	highest := p.txnsOf(start, highWatermark).stable(start, highWatermark) // may have forgotten what is deleted
	if got.stable < lowest || got.stable > highest {
		return fmt.Errorf("the last stable offset is %d, expected %d to %d", got.stable, lowest, highest)
	}
	return p.checkVisible(got, all.aborted, start)
}

func (p *partition) checkVisible(got committedRead, aborted map[record.Offset]bool, start record.Offset) error {
	visible := got.visible
	for _, s := range p.batches {
		if s.LastOffset() < start || s.LastOffset() >= got.stable || s.Control() || aborted[s.BaseOffset] || p.isLost(s.BaseOffset) {
			continue
		}
		if len(visible) == 0 || visible[0] != s.BaseOffset {
			return fmt.Errorf("the batch at %d is not seen at read_committed, next is %v", s.BaseOffset, visible)
		}
		visible = visible[1:]
	}
	if len(visible) > 0 {
		return fmt.Errorf("the batch at %d, of an aborted transaction, is seen at read_committed", visible[0])
	}
	return nil
}

func (p *partition) isLost(off record.Offset) bool {
	return slices.ContainsFunc(p.lost, func(d *log.CorruptError) bool { return d.Offset <= off && off < d.Next })
}
