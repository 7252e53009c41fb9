package millrace

import (
	"millrace/codec"
	"millrace/internal/topology"
	"millrace/record"
)

// Headers of a dead letter, beside those of the record that it was.
const (
	HeaderError  = topology.HeaderError  // why, in words
	HeaderReason = topology.HeaderReason // why, in one word
	HeaderSource = topology.HeaderSource // where it was read: topic/partition/offset
	HeaderStage  = topology.HeaderStage  // the operator that refused it
)

// Topic is a Kafka topic with the types of its keys and values. Streams are read
// from topics and written to topics of their own types only, so that wiring the
// wrong type does not compile.
type Topic[K, V any] struct{ t topology.Topic[K, V] }

// NewTopic is a handle on a topic: its name, and how keys and values are stored.
func NewTopic[K, V any](name string, key codec.Codec[K], value codec.Codec[V]) Topic[K, V] {
	return Topic[K, V]{topology.Topic[K, V]{Name: record.Topic(name), Key: key, Value: value}}
}

// Name is the topic's name.
func (t Topic[K, V]) Name() string { return string(t.t.Name) }

// Codecs are how keys and values are stored.
func (t Topic[K, V]) Codecs() (codec.Codec[K], codec.Codec[V]) { return t.t.Key, t.t.Value }

// Keyed is t with your word that every record has a key and that all records of
// a key are in one partition, as Kafka's producers arrange it for records with a
// key. Grouping by [RecordKey] then counts where the record is read, without a
// hop over a repartition topic. A sampled check reports it when the word is
// false (millrace_job_misplaced_total).
func (t Topic[K, V]) Keyed() Topic[K, V] {
	t.t.Keyed = true
	return t
}

// Compacted is t as a topic in which the newest record of a key replaces the
// others: the job creates it so if it does not exist. The topics of tables are
// compacted without it; say it where a table's changes are mapped before they are
// written. If they are changes of windows, records are also deleted a day after
// their window is over.
func (t Topic[K, V]) Compacted() Topic[K, V] {
	t.t.Compacted = true
	return t
}
