package broker

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/group"
	"millrace/record"
)

// offsetsRecord is one record of the offsets topic, in Kafka's schemas: a nil
// value is a tombstone.
type offsetsRecord struct {
	key, value []byte
}

// Versions of Kafka's schemas: those that Kafka 4 writes for a classic group.
// An offset with a retention of its own needs version 1, the only one with room
// for it.
const (
	offsetKeyVersion      = 1
	groupKeyVersion       = 2
	offsetValueVersion    = 3
	expiringOffsetVersion = 1
	groupValueVersion     = 3
	newestValueVersion    = 4 // of both values, as of Kafka 4
)

func offsetKey(groupID string, tp record.TopicPartition) []byte {
	key := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: groupID, Topic: string(tp.Topic), Partition: int32(tp.Partition)}
	return key.AppendTo(nil)
}

func groupKey(groupID string) []byte {
	key := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: groupID}
	return key.AppendTo(nil)
}

func offsetRecord(groupID string, tp record.TopicPartition, o group.Offset) offsetsRecord {
	value := kmsg.OffsetCommitValue{
		Version:         offsetValueVersion,
		Offset:          int64(o.Offset),
		LeaderEpoch:     o.LeaderEpoch,
		Metadata:        o.Metadata,
		CommitTimestamp: int64(o.CommittedAt),
		ExpireTimestamp: int64(o.ExpiresAt),
	}
	if o.ExpiresAt != record.NoTimestamp {
		value.Version = expiringOffsetVersion
	}
	return offsetsRecord{key: offsetKey(groupID, tp), value: value.AppendTo(nil)}
}

func groupRecord(groupID string, s group.Snapshot) offsetsRecord {
	value := kmsg.GroupMetadataValue{
		Version:               groupValueVersion,
		ProtocolType:          s.ProtocolType,
		Generation:            s.Generation,
		Protocol:              orNull(s.Protocol),
		Leader:                orNull(s.Leader),
		CurrentStateTimestamp: int64(s.Since),
	}
	for _, m := range s.Members {
		value.Members = append(value.Members, kmsg.GroupMetadataValueMember{
			MemberID:               m.ID,
			InstanceID:             orNull(m.InstanceID),
			ClientID:               m.ClientID,
			ClientHost:             m.ClientHost,
			RebalanceTimeoutMillis: int32(m.RebalanceTimeout.Milliseconds()),
			SessionTimeoutMillis:   int32(m.SessionTimeout.Milliseconds()),
			Subscription:           m.Subscription,
			Assignment:             m.Assignment,
		})
	}
	return offsetsRecord{key: groupKey(groupID), value: value.AppendTo(nil)}
}

// orNull is Kafka's null for the empty string.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// orEmpty is the empty string for Kafka's null.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// errNotUnderstood marks a record of a kind or version that this broker does
// not know, such as those of Kafka's newer group protocol (KIP-848).
var errNotUnderstood = errors.New("broker: a record of a kind that this version does not know")

// parseOffsetsKey says what a record is about: tp is set for an offset, zero for
// the group itself.
//
// What the parsers here read has passed the log's checksum, and only brokers
// write this topic; so kmsg may see it without the walk that requests pass.
func parseOffsetsKey(b []byte) (groupID string, tp record.TopicPartition, err error) {
	if len(b) < 2 {
		return "", tp, errNotUnderstood
	}
	switch version := int16(b[0])<<8 | int16(b[1]); version {
	case 0, offsetKeyVersion:
		var key kmsg.OffsetCommitKey
		if err := key.ReadFrom(b); err != nil || key.Topic == "" || key.Partition < 0 {
			return "", tp, fmt.Errorf("%w: an offset's key", errNotUnderstood)
		}
		return key.Group, record.TopicPartition{Topic: record.Topic(key.Topic), Partition: record.Partition(key.Partition)}, nil
	case groupKeyVersion:
		var key kmsg.GroupMetadataKey
		if err := key.ReadFrom(b); err != nil {
			return "", tp, fmt.Errorf("%w: a group's key", errNotUnderstood)
		}
		return key.Group, tp, nil
	default:
		return "", tp, fmt.Errorf("%w: key version %d", errNotUnderstood, version)
	}
}

func parseOffsetValue(b []byte) (group.Offset, error) {
	var value kmsg.OffsetCommitValue
	if err := value.ReadFrom(b); err != nil || value.Version < 0 || value.Version > newestValueVersion {
		return group.Offset{}, fmt.Errorf("%w: an offset's value", errNotUnderstood)
	}
	o := group.Offset{
		Offset:      record.Offset(value.Offset),
		LeaderEpoch: -1,
		Metadata:    value.Metadata,
		CommittedAt: record.Timestamp(value.CommitTimestamp),
		ExpiresAt:   record.NoTimestamp,
	}
	if value.Version >= 3 {
		o.LeaderEpoch = value.LeaderEpoch
	}
	if value.Version == expiringOffsetVersion && value.ExpireTimestamp >= 0 {
		o.ExpiresAt = record.Timestamp(value.ExpireTimestamp)
	}
	return o, nil
}

func parseGroupValue(b []byte) (group.Snapshot, error) {
	var value kmsg.GroupMetadataValue
	if err := value.ReadFrom(b); err != nil || value.Version < 0 || value.Version > newestValueVersion {
		return group.Snapshot{}, fmt.Errorf("%w: a group's value", errNotUnderstood)
	}
	s := group.Snapshot{
		Generation:   value.Generation,
		ProtocolType: value.ProtocolType,
		Protocol:     orEmpty(value.Protocol),
		Leader:       orEmpty(value.Leader),
		Since:        record.NoTimestamp,
	}
	if value.Version >= 2 {
		s.Since = record.Timestamp(value.CurrentStateTimestamp)
	}
	for _, m := range value.Members {
		s.Members = append(s.Members, group.MemberSnapshot{
			ID:               m.MemberID,
			InstanceID:       orEmpty(m.InstanceID),
			ClientID:         m.ClientID,
			ClientHost:       m.ClientHost,
			SessionTimeout:   milliseconds(m.SessionTimeoutMillis),
			RebalanceTimeout: milliseconds(m.RebalanceTimeoutMillis),
			Subscription:     m.Subscription,
			Assignment:       m.Assignment,
		})
	}
	return s, nil
}

func milliseconds(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// offsetsBuilders are reused between appends; a batch lives only until it is written.
var offsetsBuilders = sync.Pool{New: func() any { return new(batch.Builder) }}

// buildBatch is the records as one batch, valid until release is called.
func buildBatch(records []offsetsRecord, at record.Timestamp) (b []byte, release func(), err error) {
	builder := offsetsBuilders.Get().(*batch.Builder)
	builder.Reset(batch.BuilderOptions{ProducerID: batch.NoProducerID})
	for _, r := range records {
		builder.Append(at, r.key, r.value, nil)
	}
	b, err = builder.Build()
	return b, func() {
		if len(b) <= pooledBatchBytes {
			offsetsBuilders.Put(builder)
		}
	}, err
}

// pooledBatchBytes bounds the batches whose buffers are kept for reuse.
const pooledBatchBytes = 1 << 20
