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
	Timestamp record.Timestamp // of the record, not of the event
	Reason    Reason
	Detail    string
}

// deadLetters is a ring of the newest malformed events.
type deadLetters struct {
	ring     []DeadLetter
	total    int64
	byReason map[Reason]int64
}

func newDeadLetters() deadLetters {
	return deadLetters{byReason: make(map[Reason]int64)}
}

func (d *deadLetters) add(l DeadLetter) {
	if len(d.ring) < MaxDeadLetters {
		d.ring = append(d.ring, l)
	} else {
		d.ring[d.total%MaxDeadLetters] = l
	}
	d.total++
	d.byReason[l.Reason]++
}

// newest is a copy of the n newest, newest first.
func (d *deadLetters) newest(n int) []DeadLetter {
	n = min(n, len(d.ring))
	letters := make([]DeadLetter, n)
	for i := range n {
		letters[i] = d.ring[(d.total-1-int64(i))%MaxDeadLetters]
	}
	return letters
}

func (d *deadLetters) reasons() map[Reason]int64 { return maps.Clone(d.byReason) }
