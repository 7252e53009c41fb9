package broker

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync/atomic"

	"millrace/internal/log"
	"millrace/record"
)

// topicID is Kafka's UUID of one topic; a topic that is deleted and made again
// under its old name gets another one.
type topicID [16]byte

func newTopicID() topicID {
	var id topicID
	_, _ = rand.Read(id[:]) // never fails (Go 1.24)
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String is Kafka's text form, base64 without padding.
func (id topicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func parseTopicID(text string) (topicID, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) != len(topicID{}) {
		return topicID{}, fmt.Errorf("%q is not a topic ID", text)
	}
	return topicID(raw), nil
}

// topic is one topic that the catalog has made durable. Its fields are read
// without a lock by every connection; the catalog changes them.
type topic struct {
	name     record.Topic
	id       topicID
	internal bool // the broker's own: clients may read it, not write or change it

	partitions atomic.Pointer[[]*log.Log]        // by index; only grows
	explicit   atomic.Pointer[map[string]string] // settings that differ from the defaults; replaced, not changed
	traffic    *traffic                          // set by the catalog before the topic shows
}

// internalSettings are those of the broker's own topics: of this version, whatever
// an earlier one has written into their files.
var internalSettings = map[string]map[string]string{
	offsetsTopic:      offsetsSettings,
	transactionsTopic: transactionsSettings,
}

func newTopic(name record.Topic, id topicID, internal bool, explicit map[string]string) *topic {
	t := &topic{name: name, id: id, internal: internal}
	if fixed, ours := internalSettings[string(name)]; ours && internal {
		explicit = fixed
	}
	if explicit == nil {
		explicit = map[string]string{}
	}
	t.explicit.Store(&explicit)
	t.partitions.Store(new([]*log.Log))
	return t
}

// file is what the topic's state file says with so many partitions.
func (t *topic) file(partitions int) topicFile {
	return topicFile{ID: t.id.String(), Partitions: partitions, Internal: t.internal, Config: t.settings()}
}

// createSpecs describes the partitions from first up to end, end excluded.
func (t *topic) createSpecs(first, end int) []log.CreateSpec {
	specs := make([]log.CreateSpec, 0, end-first)
	for p := first; p < end; p++ {
		specs = append(specs, log.CreateSpec{TP: t.partitionName(p), TopicID: t.id, Config: logConfig(t.settings())})
	}
	return specs
}

func (t *topic) partitionName(p int) record.TopicPartition {
	return record.TopicPartition{Topic: t.name, Partition: record.Partition(p)}
}

func (t *topic) partitionNames() []record.TopicPartition {
	names := make([]record.TopicPartition, len(t.logs()))
	for p := range names {
		names[p] = t.partitionName(p)
	}
	return names
}

// open takes over the logs up to count, which the store must hold, and returns
// how many they are more than before.
func (t *topic) open(store *log.Store, count int) int {
	have := t.logs()
	logs := make([]*log.Log, count)
	copy(logs, have)
	for p := len(have); p < count; p++ {
		logs[p], _ = store.Log(t.partitionName(p))
	}
	t.partitions.Store(&logs)
	return count - len(have)
}

// traffic is what a topic's metrics count.
type traffic struct {
	produced, fetched recordCounts
}

type recordCounts struct {
	records atomic.Int64
	bytes   atomic.Int64
}

func (c *recordCounts) add(records, sizeBytes int) {
	c.records.Add(int64(records))
	c.bytes.Add(int64(sizeBytes))
}

// logs are the topic's partitions by index.
func (t *topic) logs() []*log.Log { return *t.partitions.Load() }

// log is one partition, or nil when the topic has no such index.
func (t *topic) log(p int32) *log.Log {
	logs := t.logs()
	if p < 0 || int(p) >= len(logs) {
		return nil
	}
	return logs[p]
}

// settings are the topic's explicit settings. The map must not be changed.
func (t *topic) settings() map[string]string { return *t.explicit.Load() }

// topicTable finds topics by name or ID without a lock. Writers copy one shard,
// which stays small also with 10,000 topics, and are serialised by their caller.
type topicTable struct {
	seed   maphash.Seed
	shards [topicShards]atomic.Pointer[map[string]*topic]
	byID   [topicShards]atomic.Pointer[map[topicID]*topic]
}

const topicShards = 128

func newTopicTable() *topicTable {
	t := &topicTable{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].Store(&map[string]*topic{})
		t.byID[i].Store(&map[topicID]*topic{})
	}
	return t
}

// find is the topic of that name, or nil.
func (t *topicTable) find(name []byte) *topic {
	return (*t.shards[maphash.Bytes(t.seed, name)%topicShards].Load())[string(name)]
}

// named is find for a string.
func (t *topicTable) named(name string) *topic {
	return (*t.shards[maphash.String(t.seed, name)%topicShards].Load())[name]
}

// lookup is find, or identified where the request names the topic by ID. The
// error is nil, errTopicUnknown or errTopicIDUnknown, and says what was asked.
func (t *topicTable) lookup(name []byte, id *topicID) (*topic, error) {
	if id == nil {
		if found := t.find(name); found != nil {
			return found, nil
		}
		return nil, fmt.Errorf("%w: %s", errTopicUnknown, name)
	}
	if found := t.identified(*id); found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("%w: %s", errTopicIDUnknown, *id)
}

// identified is the topic of that ID, or nil.
func (t *topicTable) identified(id topicID) *topic { return (*t.idShard(id).Load())[id] }

// idShard takes the bits of an ID that are random in every kind of UUID.
func (t *topicTable) idShard(id topicID) *atomic.Pointer[map[topicID]*topic] {
	return &t.byID[id[len(id)-1]%topicShards]
}

func (t *topicTable) put(tp *topic) {
	name := string(tp.name)
	edit(&t.shards[maphash.String(t.seed, name)%topicShards], func(m map[string]*topic) { m[name] = tp })
	edit(t.idShard(tp.id), func(m map[topicID]*topic) { m[tp.id] = tp })
}

func (t *topicTable) remove(tp *topic) {
	name := string(tp.name)
	edit(&t.shards[maphash.String(t.seed, name)%topicShards], func(m map[string]*topic) { delete(m, name) })
	edit(t.idShard(tp.id), func(m map[topicID]*topic) { delete(m, tp.id) })
}

// edit publishes a changed copy of the shard.
func edit[K comparable](shard *atomic.Pointer[map[K]*topic], change func(map[K]*topic)) {
	next := maps.Clone(*shard.Load())
	change(next)
	shard.Store(&next)
}

// all is every topic, by name.
func (t *topicTable) all() []*topic {
	var found []*topic
	for i := range t.shards {
		found = slices.AppendSeq(found, maps.Values(*t.shards[i].Load()))
	}
	slices.SortFunc(found, func(a, b *topic) int { return cmp.Compare(a.name, b.name) })
	return found
}
