package probe

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// AbortedTxn says that a producer's records from First on, up to its next
// marker, are aborted.
type AbortedTxn struct {
	ProducerID int64
	First      int64
}

// ReadCommitted hands every batch of committed transactions, and every batch
// that belongs to none, to visit, from offset to the last stable offset as it is
// when the call begins. It leaves out what the broker's lists name as aborted,
// by the rule that Kafka's protocol gives to readers.
func (c *Conn) ReadCommitted(topic string, partition int32, offset int64, visit func(Batch) error) error {
	first, err := c.fetch(topic, partition, offset, 1, readCommitted)
	if err != nil {
		return err
	}
	for end := first.LastStable; offset < end; {
		f, err := c.fetch(topic, partition, offset, 4<<20, readCommitted)
		if err != nil {
			return err
		}
		batches, err := Batches(f.Raw)
		if err != nil {
			return fmt.Errorf("%s-%d at %d: %w", topic, partition, offset, err)
		}
		if len(batches) == 0 {
			return fmt.Errorf("probe: %s-%d: nothing at %d although it is stable up to %d", topic, partition, offset, end)
		}
		if last := batches[len(batches)-1].Last(); last >= f.LastStable {
			return fmt.Errorf("probe: %s-%d: a committed read got offset %d, stable up to %d", topic, partition, last, f.LastStable)
		}
		kept, err := withoutAborted(batches, f.Aborted)
		if err != nil {
			return err
		}
		for _, b := range kept {
			if err := visit(b); err != nil {
				return err
			}
		}
		offset = batches[len(batches)-1].Last() + 1
	}
	return nil
}

// withoutAborted removes markers and the records of aborted transactions. Kafka
// lists them by the offset of their marker, so a long transaction's entry comes
// late; of one producer they are in ascending order, and not every client sorts.
func withoutAborted(batches []Batch, aborted []AbortedTxn) ([]Batch, error) {
	last := map[int64]int64{}
	for _, a := range aborted {
		if before, known := last[a.ProducerID]; known && a.First <= before {
			return nil, fmt.Errorf("probe: producer %d's aborted transactions are not in order: %v", a.ProducerID, aborted)
		}
		last[a.ProducerID] = a.First
	}
	aborted = slices.SortedFunc(slices.Values(aborted), func(a, b AbortedTxn) int { return int(a.First - b.First) })
	open := map[int64]bool{} // producers that are inside an aborted transaction
	var kept []Batch
	for _, b := range batches {
		for len(aborted) > 0 && aborted[0].First <= b.Last() {
			open[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		switch {
		case b.Control():
			delete(open, b.ProducerID)
		case b.Transactional() && open[b.ProducerID]:
		default:
			kept = append(kept, b)
		}
	}
	return kept, nil
}

// Marker is the end of one producer's transaction in one partition.
type Marker struct {
	Commit           bool
	CoordinatorEpoch int32
}

// Marker parses a control batch.
func (b Batch) Marker() (Marker, error) {
	records, err := b.Records()
	if err != nil {
		return Marker{}, err
	}
	if len(records) != 1 || len(records[0].Key) != 4 || len(records[0].Value) < 6 {
		return Marker{}, fmt.Errorf("probe: control batch at %d is no marker", b.Base)
	}
	kind := binary.BigEndian.Uint16(records[0].Key[2:])
	if kind > 1 {
		return Marker{}, fmt.Errorf("probe: control batch at %d is of type %d", b.Base, kind)
	}
	return Marker{kind == 1, int32(binary.BigEndian.Uint32(records[0].Value[2:]))}, nil
}

// AwaitStable waits until every transaction of a partition is decided: until
// its last stable offset is its high watermark.
func (c *Conn) AwaitStable(topic string, partition int32, within time.Duration) error {
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		end, err := c.Offset(topic, partition, Latest)
		if err != nil {
			return err
		}
		f, err := c.fetch(topic, partition, end, 1, readCommitted)
		if err != nil {
			return err
		}
		if f.LastStable == f.HighWatermark {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("probe: %s-%d: stable up to %d of %d after %s: a transaction hangs", topic, partition, f.LastStable, f.HighWatermark, within)
		}
	}
}
