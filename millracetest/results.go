package millracetest

import (
	"time"

	"millrace"
	"millrace/internal/topology"
	"millrace/record"
)

// Result is a record that the job has committed to a topic.
type Result[K, V any] struct {
	Key   K
	Value V
	Null  bool // the value is Kafka's null: in a compacted topic, the key is gone
	At    time.Time
}

// Read are the records that were committed to a topic since the last Read of it,
// in the order of commits.
func (d *Driver) Read[K, V any](from millrace.Topic[K, V]) []Result[K, V] {
	d.t.Helper()
	t := d.topic(record.Topic(from.Name()))
	keys, values := from.Codecs()
	var results []Result[K, V]
	for _, m := range t.all[t.read:] {
		r := Result[K, V]{At: m.at.Time(), Null: m.value == nil}
		var err error
		if r.Key, err = keys.Decode(m.key); err != nil {
			d.t.Fatalf("millracetest: read a key of %s: %v", from.Name(), err)
		}
		if !r.Null {
			if r.Value, err = values.Decode(m.value); err != nil {
				d.t.Fatalf("millracetest: read a value of %s: %v", from.Name(), err)
			}
		}
		results = append(results, r)
	}
	t.read = len(t.all)
	return results
}

// Table are the newest values of each key of a topic, as a reader of the whole
// topic would have them.
func (d *Driver) Table[K comparable, V any](of millrace.Topic[K, V]) map[K]V {
	d.t.Helper()
	t := d.topic(record.Topic(of.Name()))
	before := t.read
	t.read = 0
	table := make(map[K]V)
	for _, r := range d.Read(of) {
		if r.Null {
			delete(table, r.Key)
		} else {
			table[r.Key] = r.Value
		}
	}
	t.read = before
	return table
}

// DeadLetter is a record that the job has refused.
type DeadLetter struct {
	Key, Value []byte // as they came
	Reason     string
	Error      string
	Stage      string
}

// DeadLetters are those that were committed to a dead letter topic, such as
// "click_events-dlq", since the last call.
func (d *Driver) DeadLetters(topicName string) []DeadLetter {
	t := d.topic(record.Topic(topicName))
	var letters []DeadLetter
	for _, m := range t.all[t.read:] {
		l := DeadLetter{Key: m.key, Value: m.value}
		for _, h := range m.headers {
			switch h.Key {
			case topology.HeaderReason:
				l.Reason = string(h.Value)
			case topology.HeaderError:
				l.Error = string(h.Value)
			case topology.HeaderStage:
				l.Stage = string(h.Value)
			}
		}
		letters = append(letters, l)
	}
	t.read = len(t.all)
	return letters
}

// Late is how many records came too late for their windows, as of the last commit.
func (d *Driver) Late() (n int64) {
	for _, t := range d.tasks {
		n += t.step.Stats().Late
	}
	return n
}

// views reads the driver's tasks for the views of the job's tables.
type views struct{ *Driver }

func (v views) Read(store string, key []byte, f func(topology.Reading) error) error {
	p := record.PartitionFor(key, v.partitions)
	return v.Driver.read(store, func(t *task) bool { return t.p == p }, f)
}

func (v views) ReadEach(store string, f func(topology.Reading) error) error {
	return v.Driver.read(store, func(*task) bool { return true }, f)
}
