package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/log"
	"millrace/record"
)

// writeTxnMarkers ends transactions in single partitions by an administrator's
// word, past the coordinator: how Kafka's tools end one that hangs (KIP-664).
// The log's rules hold: no older epoch, no older coordinator.
func (x *txns) writeTxnMarkers(_ *conn, req *kmsg.WriteTxnMarkersRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.WriteTxnMarkersResponse)
		for _, m := range req.Markers {
			resp.Markers = append(resp.Markers, x.writeByHand(m))
		}
		return resp
	})
}

func (x *txns) writeByHand(asked kmsg.WriteTxnMarkersRequestMarker) kmsg.WriteTxnMarkersResponseMarker {
	m := log.Marker{
		ProducerID: asked.ProducerID, ProducerEpoch: asked.ProducerEpoch, Commit: asked.Committed,
		CoordinatorEpoch: asked.CoordinatorEpoch, TransactionVersion: int16(asked.TransactionVersion),
	}
	resp := kmsg.NewWriteTxnMarkersResponseMarker()
	resp.ProducerID = asked.ProducerID
	for _, t := range asked.Topics {
		rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
			rp.Partition = p
			rp.ErrorCode = codeOf(x.writeOne(record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p)}, m))
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// writeOne writes the marker and waits until it is durable. An epoch that says
// no more than the log knows is refused like any other.
func (x *txns) writeOne(tp record.TopicPartition, m log.Marker) error {
	l, err := x.b.partition(string(tp.Topic), int32(tp.Partition))
	if err != nil {
		return err
	}
	a, err := l.AppendMarker(m)
	if err != nil {
		return err
	}
	if tp.Topic == offsetsTopic {
		x.b.groups.settle(tp.Partition, m, a)
	}
	x.b.logger.Info("a transaction was ended by hand", "partition", tp.String(), "producer_id", m.ProducerID, "commit", m.Commit)
	return a.Wait(x.b.syncing)
}

// describeProducers tells who writes to partitions, and what they hold open.
func (x *txns) describeProducers(_ *conn, req *kmsg.DescribeProducersRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.DescribeProducersResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewDescribeProducersResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rt.Partitions = append(rt.Partitions, x.producersOf(t.Topic, p))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	})
}

func (x *txns) producersOf(topic string, partition int32) kmsg.DescribeProducersResponseTopicPartition {
	resp := kmsg.NewDescribeProducersResponseTopicPartition()
	resp.Partition = partition
	l, err := x.b.partition(topic, partition)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), textOf(err)
		return resp
	}
	for _, p := range l.Producers() {
		active := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		active.ProducerID, active.ProducerEpoch = p.ID, int32(p.Epoch)
		active.LastSequence, active.LastTimestamp = p.LastSequence, p.LastTimestamp
		active.CoordinatorEpoch, active.CurrentTxnStartOffset = p.CoordinatorEpoch, int64(p.TxnStart)
		resp.ActiveProducers = append(resp.ActiveProducers, active)
	}
	return resp
}
