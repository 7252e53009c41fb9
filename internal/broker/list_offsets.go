package broker

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/log"
	"millrace/record"
)

// Timestamps with a meaning of their own in ListOffsets.
const (
	latestOffset   = -1
	earliestOffset = -2
	maxTimestamp   = -3 // the record with the largest timestamp (KIP-734), from version 7
	earliestLocal  = -4 // the first record on this node's own disk (KIP-405), from version 8
	latestTiered   = -5 // the last record in tiered storage (KIP-1005), from version 9
	pendingUpload  = -6 // the first record on its way to tiered storage (KIP-1023), from version 11
)

// listOffsets finds offsets by time. It reads indexes, hence later.
func (b *Broker) listOffsets(_ *conn, req *kmsg.ListOffsetsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, topic := range req.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = topic.Topic
			for _, p := range topic.Partitions {
				rt.Partitions = append(rt.Partitions, b.listOffset(req, topic.Topic, p))
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	})
}

func (b *Broker) listOffset(req *kmsg.ListOffsetsRequest, topic string, p kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	r := kmsg.NewListOffsetsResponseTopicPartition()
	r.Partition, r.Offset, r.Timestamp, r.LeaderEpoch = p.Partition, -1, -1, -1
	l, err := b.partition(topic, p.Partition)
	if err == nil {
		err = checkEpoch(l, p.CurrentLeaderEpoch)
	}
	var found foundOffset
	if err == nil {
		found, err = findOffset(view{l, req.IsolationLevel == readCommitted}, req.Version, p.Timestamp)
	}
	if r.ErrorCode = codeOf(err); err != nil || !found.ok {
		return r
	}
	r.Offset, r.Timestamp, r.LeaderEpoch = int64(found.offset), int64(found.timestamp), l.LeaderEpoch()
	return r
}

type foundOffset struct {
	offset    record.Offset
	timestamp record.Timestamp
	ok        bool // false: no record is that late
}

// findOffset knows no tiered storage: all records are on the own disk.
func findOffset(v view, version int16, timestamp int64) (foundOffset, error) {
	switch {
	case timestamp == latestOffset:
		return foundOffset{v.end(), record.NoTimestamp, true}, nil
	case timestamp == earliestOffset, timestamp == earliestLocal && version >= 8:
		return foundOffset{v.log.StartOffset(), record.NoTimestamp, true}, nil
	case timestamp == maxTimestamp && version >= 7:
		offset, at, ok, err := v.log.MaxTimestamp()
		return foundOffset{offset, at, ok && offset < v.end()}, err
	case timestamp == latestTiered && version >= 9, timestamp == pendingUpload && version >= 11:
		return foundOffset{}, nil
	case timestamp < 0:
		return foundOffset{}, refused(kerr.UnsupportedVersion, fmt.Sprintf("timestamp %d has no meaning in version %d", timestamp, version))
	}
	offset, at, ok, err := v.log.OffsetForTime(record.Timestamp(timestamp))
	return foundOffset{offset, at, ok && offset < v.end()}, err
}

// partition is one partition's log.
func (b *Broker) partition(topic string, p int32) (*log.Log, error) {
	t := b.catalog.topics.named(topic)
	if t == nil {
		return nil, fmt.Errorf("%w: %s", errTopicUnknown, topic)
	}
	return t.partition(p)
}

func (t *topic) partition(p int32) (*log.Log, error) {
	if l := t.log(p); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%w: topic %s has no partition %d", errTopicUnknown, t.name, p)
}

var (
	errFencedEpoch  = errors.New("broker: the client's leader epoch is older than ours")
	errUnknownEpoch = errors.New("broker: the client's leader epoch is newer than ours")
)

// checkEpoch holds what a client believes to be the leader epoch against ours;
// -1 means that it does not know. A client with an older epoch must look whether
// the log was cut behind it (KIP-320).
func checkEpoch(l *log.Log, believed int32) error {
	switch ours := l.LeaderEpoch(); {
	case believed < 0 || believed == ours:
		return nil
	case believed < ours:
		return errFencedEpoch
	}
	return errUnknownEpoch
}
