package wire

// MetadataRequest is a decoded Metadata request. It has a decoder of its own,
// because it is the one request in which honest clients send thousands of tiny
// elements: a topic name takes 24 bytes here, and kmsg takes 50 and the name.
//
// Names and IDs are parts of the frame: they are valid until the frame is released. A
// MetadataRequest may be decoded into again. The zero value is ready.
type MetadataRequest struct {
	Version                            int16
	AllTopics                          bool       // an empty list in version 0, null from version 1
	Topics                             [][]byte   // names; nil: null, which a name may be from version 10
	IDs                                []*TopicID // one for each of Topics; none before version 10, all zero where the name counts
	AllowAutoTopicCreation             bool       // true before version 4, which cannot say
	IncludeClusterAuthorizedOperations bool       // versions 8 to 10
	IncludeTopicAuthorizedOperations   bool
}

// metadataTopicIDs is the first version in which a topic has a place for its ID.
const metadataTopicIDs = 10

// metadataTopics is the place of the topics in walker.counts.
const metadataTopics = 0

// Decode reads body into r. The error is a *FrameError, and r is then not to be
// used.
func (r *MetadataRequest) Decode(h Header, body []byte) error {
	w, err := walkLean(h, body)
	if err != nil {
		return err
	}
	c := cursor{buf: body, flexible: w.api.flexibleAt(h.Version)}
	r.Version = h.Version
	count := c.count()
	r.AllTopics = count < 0 || count == 0 && h.Version == 0
	r.Topics = resized(r.Topics, w.counts[metadataTopics])
	r.IDs = r.IDs[:0]
	if h.Version >= metadataTopicIDs {
		r.IDs = resized(r.IDs, len(r.Topics))
	}
	for i := range r.Topics {
		if h.Version >= metadataTopicIDs {
			r.IDs[i] = c.uuid()
		}
		r.Topics[i] = c.text()
		c.skipTags()
	}
	r.AllowAutoTopicCreation = h.Version < 4 || c.boolean()
	r.IncludeClusterAuthorizedOperations = h.Version >= 8 && h.Version <= 10 && c.boolean()
	r.IncludeTopicAuthorizedOperations = h.Version >= 8 && c.boolean()
	return nil
}
