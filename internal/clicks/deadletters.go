package clicks

import (
	"maps"

	"millrace/record"
)

// MaxDeadLetters is how many malformed events are listed: the newest. All of
// them are counted by reason.
const MaxDeadLetters = 1000

// DeadLetter is one event that could not be counted, by place and reason. The
// event itself stays in the log, where Topic, Partition and Offset find it.
type DeadLetter struct {
	record.TopicPartition
	Offset    record.Offset
	Events    int64            // 1; for damage, the offsets that cannot be read
	Timestamp record.Timestamp // of the record, not of the event; NoTimestamp for damage
	Reason    Reason
	Detail    string
}

// deadLetters is a ring of the newest malformed events.
type deadLetters struct {
	ring     []DeadLetter
	added    int64 // letters ever added to the ring
	events   int64 // what they stand for
	byReason map[Reason]int64
}

func newDeadLetters() deadLetters {
	return deadLetters{byReason: make(map[Reason]int64)}
}

func (d *deadLetters) add(l DeadLetter) {
	if len(d.ring) < MaxDeadLetters {
		d.ring = append(d.ring, l)
	} else {
		d.ring[d.added%MaxDeadLetters] = l
	}
	d.added++
	d.events += l.Events
	d.byReason[l.Reason] += l.Events
}

// newest is a copy of the n newest, newest first.
func (d *deadLetters) newest(n int) []DeadLetter {
	n = min(n, len(d.ring))
	letters := make([]DeadLetter, n)
	for i := range n {
		letters[i] = d.ring[(d.added-1-int64(i))%MaxDeadLetters]
	}
	return letters
}

func (d *deadLetters) reasons() map[Reason]int64 { return maps.Clone(d.byReason) }
