package killtest

import (
	"errors"
	"fmt"
	"sync"
)

// partition is a place of the test's own topics.
type partition struct {
	Topic string
	Index int32
}

func (p partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// id names one record: its writer and the writer's sequence.
type id struct {
	writer int32
	seq    int64
}

// ack is what a broker promised: the record lies at offset of partition.
type ack struct {
	id
	partition partition
	offset    int64
}

// journal is what the test knows: the acknowledgements that the writers saw,
// and what the checker has found in the log. Only the process under test is
// killed, so the journal needs no disk.
type journal struct {
	mu      sync.Mutex
	pending []ack // not yet compared with the log
	acks    int64

	// Below belongs to the checker alone.
	found  map[partition][]id // by offset, which starts at 0 and has no gaps
	places map[id]ack         // where an idempotent record was first found
	repeat int64              // records of plain writers that are stored twice
}

func newJournal() *journal {
	return &journal{found: map[partition][]id{}, places: map[id]ack{}}
}

// ack notes an acknowledgement.
func (j *journal) ack(a ack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, a)
	j.acks++
}

func (j *journal) acked() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acks
}

// takePending returns the acknowledgements since the last call. All of them
// were promised before it, so a log that is read after it must hold them.
func (j *journal) takePending() []ack {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.pending
	j.pending = nil
	return taken
}

// stored notes the record found at the next offset of a partition. It is an
// error when the record does not belong there, or an idempotent writer's
// record is there a second time or out of its order.
func (j *journal) stored(p partition, offset int64, value []byte) error {
	l, err := decodeLabel(value)
	if err != nil {
		return fmt.Errorf("%s at %d: %w: %q", p, offset, err, value)
	}
	if l.Topic != p.Topic || l.Partition != p.Index {
		return fmt.Errorf("%s at %d: MOVED: this record was written to %s-%d", p, offset, l.Topic, l.Partition)
	}
	if want := int64(len(j.found[p])); offset != want {
		return fmt.Errorf("%s: offset %d follows %d", p, offset, want-1)
	}
	this := id{l.Writer, l.Seq}
	j.found[p] = append(j.found[p], this)
	first, again := j.places[this]
	switch {
	case !again:
		j.places[this] = ack{this, p, offset}
	case idempotent(l.Writer):
		return fmt.Errorf("DOUBLED: writer %d's record %d is at %s %d and again at %s %d",
			l.Writer, l.Seq, first.partition, first.offset, p, offset)
	default:
		j.repeat++
	}
	return nil
}

// kept compares acknowledgements with what was found in the log.
func (j *journal) kept(acks []ack) error {
	var faults []error
	for _, a := range acks {
		found := j.found[a.partition]
		if a.offset < int64(len(found)) && found[a.offset] == a.id {
			continue
		}
		fault := fmt.Errorf("LOST: writer %d's record %d was acknowledged at %s %d", a.writer, a.seq, a.partition, a.offset)
		if at, elsewhere := j.places[a.id]; elsewhere {
			fault = fmt.Errorf("MOVED: writer %d's record %d was acknowledged at %s %d and is at %s %d",
				a.writer, a.seq, a.partition, a.offset, at.partition, at.offset)
		}
		if faults = append(faults, fault); len(faults) == 20 {
			faults = append(faults, errors.New("and more"))
			break
		}
	}
	return errors.Join(faults...)
}

// unchanged checks one record of a second reading against the first.
func (j *journal) unchanged(p partition, offset int64, value []byte) error {
	l, err := decodeLabel(value)
	if err != nil {
		return fmt.Errorf("%s at %d, read again: %w", p, offset, err)
	}
	if found := j.found[p]; offset < int64(len(found)) && found[offset] != (id{l.Writer, l.Seq}) {
		return fmt.Errorf("%s at %d held record %v and now holds %v", p, offset, found[offset], id{l.Writer, l.Seq})
	}
	return nil
}
