package wire

import "encoding/binary"

// FetchRequest is a decoded Fetch request. Names and IDs are parts of the frame:
// they are valid until the frame is released. A FetchRequest may be decoded into
// again and then allocates only to grow. The zero value is ready.
type FetchRequest struct {
	Version        int16
	ReplicaID      int32 // -1: a consumer
	MaxWaitMs      int32
	MinBytes       int32
	MaxBytes       int32
	IsolationLevel int8  // 0 read_uncommitted, 1 read_committed
	SessionID      int32 // 0: none
	SessionEpoch   int32 // -1: no session
	Topics         []FetchTopic
	Partitions     []FetchPartition // of all topics, in request order
	Forgotten      []ForgottenTopic
	RackID         []byte
}

// FetchTopic is one topic's part of a request.
type FetchTopic struct {
	Name       []byte           // nil from version 13
	ID         *TopicID         // nil before version 13
	Partitions []FetchPartition // a part of the request's Partitions
}

// FetchPartition says from where to read one partition.
type FetchPartition struct {
	Partition          int32
	CurrentLeaderEpoch int32 // -1: not known to the client
	Offset             int64
	LogStartOffset     int64 // -1 from a consumer
	LastFetchedEpoch   int32 // -1: none
	MaxBytes           int32
}

// ForgottenTopic names partitions that leave a fetch session.
type ForgottenTopic struct {
	Name       []byte   // nil from version 13
	ID         *TopicID // nil before version 13
	Partitions []int32
}

// fetchTopicIDs is the first version that names topics by ID.
const fetchTopicIDs = 13

// fetchReplicaState is the tag of what a replica says of itself, from version
// 15: first its ID, which has no other place there.
const fetchReplicaState = 1

// Places of Fetch's arrays in walker.counts.
const (
	fetchTopics         = 0
	fetchPartitions     = 1
	forgottenTopics     = 2
	forgottenPartitions = 3
)

// Decode reads body into r. The error is a *FrameError, and r is then not to be
// used. Fields that the version lacks hold Kafka's defaults.
func (r *FetchRequest) Decode(h Header, body []byte) error {
	w, err := walkLean(h, body)
	if err != nil {
		return err
	}
	c := cursor{buf: body, flexible: w.api.flexibleAt(h.Version)}
	r.Version = h.Version
	r.ReplicaID = -1
	if h.Version < 15 {
		r.ReplicaID = c.i32()
	}
	r.MaxWaitMs = c.i32()
	r.MinBytes = c.i32()
	r.MaxBytes = c.i32()
	r.IsolationLevel = c.i8()
	r.SessionID, r.SessionEpoch = 0, -1
	if h.Version >= 7 {
		r.SessionID, r.SessionEpoch = c.i32(), c.i32()
	}
	r.Topics = resized(r.Topics, w.counts[fetchTopics])
	r.Partitions = resized(r.Partitions, w.counts[fetchPartitions])
	r.topics(&c)
	r.Forgotten = resized(r.Forgotten, w.counts[forgottenTopics])
	if h.Version >= 7 {
		r.forgotten(&c, make([]int32, w.counts[forgottenPartitions]))
	}
	r.RackID = nil
	if h.Version >= 11 {
		r.RackID = c.text()
	}
	r.tags(&c)
	return nil
}

// tags reads a replica's ID out of the request's own tag section.
func (r *FetchRequest) tags(c *cursor) {
	if !c.flexible {
		return
	}
	for range c.uvarint() {
		tag, value := c.uvarint(), c.take(int(c.uvarint()))
		if tag == fetchReplicaState && r.Version >= 15 {
			r.ReplicaID = int32(binary.BigEndian.Uint32(value))
		}
	}
}

func (r *FetchRequest) topics(c *cursor) {
	free := r.Partitions
	c.count()
	for i := range r.Topics {
		t := &r.Topics[i]
		t.Name, t.ID = c.topic(r.Version >= fetchTopicIDs)
		n := max(c.count(), 0)
		t.Partitions, free = free[:n:n], free[n:]
		for j := range t.Partitions {
			t.Partitions[j].read(c, r.Version)
		}
		c.skipTags()
	}
}

func (p *FetchPartition) read(c *cursor, version int16) {
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset = -1, -1, -1
	p.Partition = c.i32()
	if version >= 9 {
		p.CurrentLeaderEpoch = c.i32()
	}
	p.Offset = c.i64()
	if version >= 12 {
		p.LastFetchedEpoch = c.i32()
	}
	if version >= 5 {
		p.LogStartOffset = c.i64()
	}
	p.MaxBytes = c.i32()
	c.skipTags()
}

func (r *FetchRequest) forgotten(c *cursor, free []int32) {
	c.count()
	for i := range r.Forgotten {
		t := &r.Forgotten[i]
		t.Name, t.ID = c.topic(r.Version >= fetchTopicIDs)
		n := max(c.count(), 0)
		t.Partitions, free = free[:n:n], free[n:]
		for j := range t.Partitions {
			t.Partitions[j] = c.i32()
		}
		c.skipTags()
	}
}
