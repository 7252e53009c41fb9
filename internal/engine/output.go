package engine

import (
	"millrace/internal/client"
	"millrace/internal/topology"
	"millrace/record"
)

// output sends what one task says into the open transaction. It belongs to the
// goroutine that steps the task.
type output struct {
	sender *client.Sender
	sinks  []outlet
	home   record.Partition // for records without a key
	bytes  int64            // sent in the open transaction
	sent   int64            // records, likewise
}

// outlet is one sink: the lanes to its topic's partitions, made when needed.
type outlet struct {
	topic record.Topic
	lanes []*client.Lane
}

var _ topology.Output = (*output)(nil)

func newOutput(session *client.Session, sub *topology.Sub, p record.Partition, facts map[record.Topic]client.TopicFacts) *output {
	o := &output{sender: session.NewSender(), home: p}
	for _, s := range sub.Sinks {
		o.sinks = append(o.sinks, outlet{topic: s.Topic, lanes: make([]*client.Lane, facts[s.Topic].Partitions)})
	}
	return o
}

// Send is topology.Output's.
func (o *output) Send(sink int, to record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header) {
	s := &o.sinks[sink]
	n := int32(len(s.lanes))
	switch {
	case to == topology.AllPartitions:
		for p := range n {
			o.sendTo(s, record.Partition(p), key, value, ts, headers)
		}
		return
	case to >= 0:
	case key == nil: // any will do: one that needs no thought, and keeps the order of the source
		to = o.home % record.Partition(n)
	default:
		to = record.PartitionFor(key, n)
	}
	o.sendTo(s, to, key, value, ts, headers)
}

func (o *output) sendTo(s *outlet, p record.Partition, key, value []byte, ts record.Timestamp, headers []record.Header) {
	lane := s.lanes[p]
	if lane == nil {
		lane = o.sender.Lane(record.TopicPartition{Topic: s.topic, Partition: p})
		s.lanes[p] = lane
	}
	lane.Send(key, value, ts, headers)
	o.sent++
	o.bytes += int64(len(key) + len(value))
}
