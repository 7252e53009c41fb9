package log_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// sent is one batch that a workload gave to Append.
type sent struct {
	batch.Header // as sent, with the base offset that it got
	bytes        []byte
	appendTimeMs int64       // -1 when the records keep their own, or it is not known yet
	marker       *log.Marker // nil for records
}

// partition is the slow model of one partition: all that was sent, and the
// bounds between which any crash must leave it.
type partition struct {
	tp  record.TopicPartition
	id  [16]byte
	cfg log.Config

	batches []*sent       // ascending
	next    record.Offset // behind the last one
	pending bool          // Append of the last one has not returned, or gave no clear answer

	// lost was never promised, and a recovery called it damaged instead of cutting
	// it off: a lost sector can look like a flipped bit.
	lost []*log.CorruptError

	// mustHave is the end of what was acknowledged as durable or shown to readers.
	// A power cut takes nothing below it.
	mustHave record.Offset

	// forgot: a batch of a transaction is deleted, and nobody knows whether a power
	// cut had taken it before.
	forgot bool

	// stableSeen is the last stable offset that a reader has seen. What is decided
	// for one stays decided.
	stableSeen record.Offset

	// The log start may lie anywhere between what was promised or seen, and what
	// was asked for.
	startMin, startMax record.Offset

	mayBeGone, mayBeThere bool // during Create and Delete, both are true
}

// written is the end of what Append has returned for: it is in the page cache.
func (p *partition) written() record.Offset {
	if p.pending {
		return p.batches[len(p.batches)-1].BaseOffset
	}
	return p.next
}

// add makes s the newest batch, without a clear answer yet.
func (p *partition) add(s *sent) {
	p.batches, p.next, p.pending = append(p.batches, s), s.LastOffset()+1, true
}

// drop forgets the newest batch: it certainly was not written.
func (p *partition) drop() {
	p.next = p.written()
	p.batches, p.pending = slices.Clone(p.batches[:len(p.batches)-1]), false
}

// becomes makes the model what a recovery found. What is deleted counts for the
// transactions, if it was certainly there.
func (p *partition) becomes(f found, how power) {
	deleted := min(f.start, p.floor(how))
	there := map[record.Offset]bool{}
	for _, b := range f.batches {
		h, _ := batch.ParseHeader(b)
		there[h.BaseOffset] = true
	}
	var kept []*sent
	for _, s := range p.batches {
		if there[s.BaseOffset] || s.LastOffset() < deleted {
			kept = append(kept, s)
		} else if s.Transactional() && s.LastOffset() < f.start {
			p.forgot = true
		}
	}
	p.batches, p.next, p.pending, p.mayBeGone = kept, f.next, false, false
	p.startMin, p.startMax = f.start, f.start
	p.lost = f.damaged
	p.mustHave = f.next // an open store has synced what it shows
}

// power is how the machine went down.
type power bool

const (
	powerCut power = true  // the page cache is gone
	killed   power = false // the process is gone
)

func (p *partition) floor(how power) record.Offset {
	if how == powerCut {
		return p.mustHave
	}
	return max(p.mustHave, p.written())
}

// found is what a reopened log holds.
type found struct {
	start, next record.Offset
	batches     [][]byte
	damaged     []*log.CorruptError
}

// readLog reads all of a log, with small and large reads.
func readLog(l *log.Log) (found, error) {
	f := found{start: l.StartOffset()}
	maxBytes := 1
	for off := f.start; ; maxBytes = maxBytes*7%4001 + 1 {
		data, err := l.Read(off, maxBytes, nil)
		if damage, ok := errors.AsType[*log.CorruptError](err); ok {
			if damage.Next <= off {
				return f, fmt.Errorf("the damage at %d ends at %d", off, damage.Next)
			}
			f.damaged = append(f.damaged, damage)
			off = damage.Next
			continue
		}
		if err != nil && errors.Is(err, log.ErrOffsetOutOfRange) && l.StartOffset() > f.start {
			f, off = found{start: l.StartOffset()}, l.StartOffset() // retention came between
			continue
		}
		if err != nil {
			return f, err
		}
		if len(data) == 0 {
			if off != l.HighWatermark() {
				return f, fmt.Errorf("nothing to read at %d below the high watermark %d", off, l.HighWatermark())
			}
			f.next = l.NextOffset()
			return f, nil
		}
		for one, err := range batch.Split(data) {
			if err != nil {
				return f, fmt.Errorf("read at %d: %w", off, err)
			}
			h, err := batch.CheckCRC(one)
			if err != nil {
				return f, fmt.Errorf("read at %d: %w", off, err)
			}
			f.batches = append(f.batches, one)
			off = h.LastOffset() + 1
		}
	}
}

// check holds what was found against the model.
func (p *partition) check(f found, how power) error {
	floor := p.floor(how)
	switch {
	case f.next < floor:
		return fmt.Errorf("next offset is %d, promised were %d", f.next, floor)
	case f.next > p.next:
		return fmt.Errorf("next offset is %d, only %d were written", f.next, p.next)
	case f.start < p.startMin || f.start > p.startMax && p.startMax < floor: // else only what nobody was promised is gone
		return fmt.Errorf("log start is %d, promised was %d to %d", f.start, p.startMin, p.startMax)
	}
	return p.checkContent(f, floor)
}

func (p *partition) checkContent(f found, floor record.Offset) error {
	for _, d := range f.damaged {
		if max(d.Offset, f.start) < floor && !slices.ContainsFunc(p.lost, func(known *log.CorruptError) bool { return known.Offset <= d.Offset && d.Next <= known.Next }) {
			return fmt.Errorf("promised records are gone: %w", d)
		}
	}
	batches := f.batches
	for _, want := range p.batches {
		if want.LastOffset() < f.start || want.BaseOffset >= f.next {
			continue
		}
		if slices.ContainsFunc(f.damaged, func(d *log.CorruptError) bool { return d.Offset <= want.BaseOffset && want.BaseOffset < d.Next }) {
			continue
		}
		if len(batches) == 0 && f.start == f.next && want.BaseOffset >= floor {
			continue // the log start was promised, the records were not
		}
		if len(batches) == 0 {
			return fmt.Errorf("batch %d to %d is missing, promised were %d, next is %d", want.BaseOffset, want.LastOffset(), floor, f.next)
		}
		if err := want.same(batches[0], p.cfg.LogAppendTime); err != nil {
			return fmt.Errorf("batch at %d: %w", want.BaseOffset, err)
		}
		batches = batches[1:]
	}
	if len(batches) > 0 {
		h, _ := batch.ParseHeader(batches[0])
		return fmt.Errorf("batch at %d was never written, or is there twice", h.BaseOffset)
	}
	return nil
}

// same tells whether stored bytes are the batch that was sent, but for what a log
// may change in it.
func (s *sent) same(stored []byte, logAppendTime bool) error {
	h, err := batch.ParseHeader(stored)
	if err != nil {
		return err
	}
	want := s.Header
	want.CRC, want.LeaderEpoch = h.CRC, h.LeaderEpoch
	if logAppendTime {
		if !h.LogAppendTime() {
			return errors.New("it does not have the log append time")
		}
		if s.appendTimeMs >= 0 && h.MaxTimestamp != s.appendTimeMs {
			return fmt.Errorf("its append time is %d, not %d", h.MaxTimestamp, s.appendTimeMs)
		}
		want.MaxTimestamp, want.Attributes = h.MaxTimestamp, h.Attributes
	}
	if h != want {
		return fmt.Errorf("its header is %+v, not %+v", h, want)
	}
	if !bytes.Equal(stored[batch.HeaderSize:], s.bytes[batch.HeaderSize:]) {
		return errors.New("its records are not those that were sent")
	}
	return nil
}

// model is all partitions by name.
type model map[record.TopicPartition]*partition

// snapshot is the model at one moment. What is behind the pointers in batches
// never changes, and batches are replaced, not written over.
func (m model) snapshot() model {
	out := make(model, len(m))
	for tp, p := range m {
		twin := *p
		twin.batches = p.batches[:len(p.batches):len(p.batches)]
		out[tp] = &twin
	}
	return out
}

// configOf is what the broker would answer for a partition.
func (m model) configOf(tp record.TopicPartition) log.Config {
	if p := m[tp]; p != nil {
		return p.cfg
	}
	return log.DefaultConfig()
}
