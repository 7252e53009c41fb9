// Package record holds the words that all rooms share: topic, partition,
// offset, record, header and timestamp, in Kafka's meaning.
//
// Most readers need [Record] and [TopicPartition].
package record

import (
	"fmt"
	"strconv"
	"time"
)

// Topic is a topic's name: 1 to 249 of the characters a-z A-Z 0-9 . _ -, and
// neither "." nor "..". The rule is Kafka's (org.apache.kafka.common.internals.Topic);
// it also makes every valid name a safe file name. [Topic.Validate] checks it.
type Topic string

// Partition is a partition's index within its topic, from 0.
type Partition int32

// Offset is a record's position in its partition, from 0. Offsets rise by one
// from record to record; control records and removed records leave gaps.
type Offset int64

// Timestamp is milliseconds since the Unix epoch, UTC. Negative means unset.
type Timestamp int64

// NoTimestamp is Kafka's "no timestamp".
const NoTimestamp Timestamp = -1

// TimestampOf is t in Kafka's resolution, cut to the millisecond.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMilli()) }

// Time is the instant of t, in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// TopicPartition names one partition's log.
type TopicPartition struct {
	Topic     Topic
	Partition Partition
}

// String is Kafka's directory name of the partition, "topic-0".
func (tp TopicPartition) String() string {
	return string(tp.Topic) + "-" + strconv.Itoa(int(tp.Partition))
}

// Header is one name and value beside a record's key and value. A name may
// occur more than once. A nil Value is Kafka's null.
type Header struct {
	Key   string
	Value []byte
}

// Record is one event in its place. A nil Key or Value is Kafka's null; a nil
// Value in a compacted topic is a tombstone.
type Record struct {
	TopicPartition
	Offset    Offset
	Timestamp Timestamp
	Key       []byte
	Value     []byte
	Headers   []Header
}

const maxTopicLength = 249

// Validate says why t is not a legal topic name, or returns nil.
func (t Topic) Validate() error {
	switch {
	case t == "":
		return fmt.Errorf("topic name is empty: use 1 to %d of a-z A-Z 0-9 . _ -", maxTopicLength)
	case len(t) > maxTopicLength:
		return fmt.Errorf("topic name has %d characters: at most %d are allowed", len(t), maxTopicLength)
	case t == "." || t == "..":
		return fmt.Errorf("topic name %q is reserved", string(t))
	}
	for i := range len(t) {
		c := t[i]
		legal := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !legal {
			return fmt.Errorf("topic name %q has the character %q at position %d: use a-z A-Z 0-9 . _ -", string(t), c, i)
		}
	}
	return nil
}
