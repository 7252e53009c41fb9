package wire

// ProduceRequest is a decoded Produce request. Names, IDs and records are parts
// of the frame: they are valid until the frame is released. A ProduceRequest may be
// decoded into again and then allocates only to grow. The zero value is ready.
type ProduceRequest struct {
	Version         int16
	TransactionalID []byte // nil: none
	Acks            int16
	TimeoutMs       int32
	Topics          []ProduceTopic
	Partitions      []ProducePartition // of all topics, in request order
}

// TopicID is the UUID that names a topic apart from others of the same name. All
// zero is no topic.
type TopicID = [16]byte

// ProduceTopic is one topic's part of a request.
type ProduceTopic struct {
	Name       []byte             // nil from version 13
	ID         *TopicID           // nil before version 13
	Partitions []ProducePartition // a part of the request's Partitions
}

// ProducePartition is one partition's records.
type ProducePartition struct {
	Partition int32
	Records   []byte // nil: null on the wire
}

// produceTopicIDs is the first version that names topics by ID.
const produceTopicIDs = 13

// Places of Produce's arrays in walker.counts.
const (
	produceTopics     = 0
	producePartitions = 1
)

// Decode reads body into r. The error is a *FrameError, and r is then not to be
// used. Versions 0 to 2 are read although their record formats are refused, so
// that the refusal can name each partition; see [Served].
func (r *ProduceRequest) Decode(h Header, body []byte) error {
	w, err := walkLean(h, body)
	if err != nil {
		return err
	}
	c := cursor{buf: body, flexible: w.api.flexibleAt(h.Version)}
	r.Version = h.Version
	r.TransactionalID = nil
	if h.Version >= 3 {
		r.TransactionalID = c.text()
	}
	r.Acks = c.i16()
	r.TimeoutMs = c.i32()
	r.Topics = resized(r.Topics, w.counts[produceTopics])
	r.Partitions = resized(r.Partitions, w.counts[producePartitions])
	r.topics(&c)
	return nil
}

func (r *ProduceRequest) topics(c *cursor) {
	free := r.Partitions
	c.count()
	for i := range r.Topics {
		t := &r.Topics[i]
		t.Name, t.ID = c.topic(r.Version >= produceTopicIDs)
		n := max(c.count(), 0)
		t.Partitions, free = free[:n:n], free[n:]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			p.Partition = c.i32()
			p.Records = c.blob()
			c.skipTags()
		}
		c.skipTags()
	}
}

// walkLean checks a body that one of our own decoders will read.
func walkLean(h Header, body []byte) (walker, error) {
	a := known(h.Key, h.Version)
	if a == nil {
		return walker{}, refuseAPI(h.Key, h.Version)
	}
	w := newWalker(a, h.Version, body)
	w.makeLean()
	if err := w.body(); err != nil {
		return w, h.place(err)
	}
	return w, nil
}
