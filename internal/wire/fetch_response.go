package wire

import (
	"encoding/binary"
	"net"
)

// FetchResponse is the answer to a Fetch request. It keeps its own copy of the
// topic names, so the request's frame may be released while the fetch waits. It
// may be reset and used again. The zero value is ready for Reset.
type FetchResponse struct {
	Version    int16
	ThrottleMs int32
	ErrorCode  int16         // of the whole request; from version 7
	SessionID  int32         // from version 7
	Partitions []FetchResult // of all topics, in request order

	// Leader is where the leaders named in results are reached, from version 16.
	Leader NodeEndpoint

	topics topicNames
	head   []byte // all of the frame but the large record sets
	cuts   []cut
}

// FetchResult is what was read from one partition.
type FetchResult struct {
	Partition        int32
	ErrorCode        int16
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64 // from version 5
	Aborted          []AbortedTransaction
	Records          []byte // whole batches; sent without copying unless small

	// DivergingEpoch and DivergingEndOffset tell a client of version 12 where
	// its log and ours part. -1: nowhere.
	DivergingEpoch     int32
	DivergingEndOffset int64

	// LeaderID and LeaderEpoch tell a client of version 12 that asked with a
	// wrong leader epoch which is right. -1: nothing to tell.
	LeaderID    int32
	LeaderEpoch int32
}

// NodeEndpoint is a node's address, for a client that must turn to it. Without a
// host there is none.
type NodeEndpoint struct {
	ID   int32
	Host string
	Port int32
}

// AbortedTransaction tells a read_committed client what to leave out. The list
// ascends by FirstOffset.
type AbortedTransaction struct {
	ProducerID  int64
	FirstOffset int64
}

// cut is a record set that belongs between two bytes of head.
type cut struct {
	at      int
	records []byte
}

// copiedRecords is up to where a record set is copied into head: below it a
// copy is cheaper than one more element for writev.
const copiedRecords = 1 << 10

// Reset prepares the answer to req: a result for each partition, without error,
// without records, and with unknown offsets (-1).
func (r *FetchResponse) Reset(req *FetchRequest) {
	r.Version = req.Version
	r.ThrottleMs, r.ErrorCode, r.SessionID = 0, 0, 0
	r.Leader = NodeEndpoint{}
	r.topics.reset()
	for i := range req.Topics {
		t := &req.Topics[i]
		r.topics.add(t.Name, t.ID, len(t.Partitions))
	}
	r.Partitions = resized(r.Partitions, len(req.Partitions))
	for i := range r.Partitions {
		r.Partitions[i] = FetchResult{
			Partition: req.Partitions[i].Partition, HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1,
			DivergingEpoch: -1, DivergingEndOffset: -1, LeaderID: -1, LeaderEpoch: -1,
		}
	}
}

// AppendFrame appends the pieces of the whole response frame, length prefix
// included, to bufs: the caller writes them in order, with one writev. The
// pieces are parts of r and the Records of its results; they are valid until r
// is reset or encoded again.
func (r *FetchResponse) AppendFrame(bufs net.Buffers, correlationID int32) net.Buffers {
	r.encode(correlationID)
	size := len(r.head) - lengthPrefix
	for _, c := range r.cuts {
		size += len(c.records)
	}
	binary.BigEndian.PutUint32(r.head, uint32(size))
	from := 0
	for _, c := range r.cuts {
		bufs = append(bufs, r.head[from:c.at], c.records)
		from = c.at
	}
	return append(bufs, r.head[from:])
}

func (r *FetchResponse) encode(correlationID int32) {
	e := encoder{flexible: flexibleAt(fetchKey, r.Version)}
	clear(r.cuts) // let the records go
	r.cuts = r.cuts[:0]
	e.dst = appendResponseHeader(emptied(r.head), correlationID, e.flexible)
	e.i32(r.ThrottleMs)
	if r.Version >= 7 {
		e.i16(r.ErrorCode)
		e.i32(r.SessionID)
	}
	e.count(len(r.topics.entries))
	free := r.Partitions
	for i := range r.topics.entries {
		n := r.topics.encode(&e, i)
		e.count(n)
		for j := range free[:n] {
			r.result(&e, &free[j])
		}
		free = free[n:]
		e.noTags()
	}
	if r.Version >= 16 && r.Leader.Host != "" {
		e.endpoint(r.Leader)
	} else {
		e.noTags()
	}
	r.head = e.dst
}

// endpoint writes the response's tag section: tag 0, an array of one node.
func (e *encoder) endpoint(node NodeEndpoint) {
	host := len(node.Host)
	size := uvarintSize(2) + 4 + uvarintSize(uint32(host+1)) + host + 4 + 1 + 1 // its length, the node, a null rack, no tags
	e.dst = append(e.dst, 1, 0)
	e.dst = appendUvarint(e.dst, uint32(size))
	e.count(1)
	e.i32(node.ID)
	e.textLength(host)
	e.dst = append(e.dst, node.Host...)
	e.i32(node.Port)
	e.textLength(-1)
	e.noTags()
}

func (r *FetchResponse) result(e *encoder, p *FetchResult) {
	e.i32(p.Partition)
	e.i16(p.ErrorCode)
	e.i64(p.HighWatermark)
	e.i64(p.LastStableOffset)
	if r.Version >= 5 {
		e.i64(p.LogStartOffset)
	}
	e.count(len(p.Aborted))
	for _, a := range p.Aborted {
		e.i64(a.ProducerID)
		e.i64(a.FirstOffset)
		e.noTags()
	}
	if r.Version >= 11 {
		e.i32(-1) // preferred read replica: there is one node
	}
	r.records(e, p.Records)
	if e.flexible {
		e.hints(p)
	}
}

// records writes an empty set with length 0, never null: librdkafka does not
// take null.
func (r *FetchResponse) records(e *encoder, records []byte) {
	e.count(len(records))
	if len(records) <= copiedRecords {
		e.dst = append(e.dst, records...)
		return
	}
	r.cuts = append(r.cuts, cut{at: len(e.dst), records: records})
}

// hints writes the partition's tag section: where the logs part (tag 0) and who
// leads (tag 1), each if there is anything to tell.
func (e *encoder) hints(p *FetchResult) {
	diverging := p.DivergingEpoch != -1 || p.DivergingEndOffset != -1
	leader := p.LeaderID != -1 || p.LeaderEpoch != -1
	tags := byte(0)
	if diverging {
		tags++
	}
	if leader {
		tags++
	}
	e.dst = append(e.dst, tags)
	if diverging {
		e.dst = append(e.dst, 0, 4+8+1)
		e.i32(p.DivergingEpoch)
		e.i64(p.DivergingEndOffset)
		e.noTags()
	}
	if leader {
		e.dst = append(e.dst, 1, 4+4+1)
		e.i32(p.LeaderID)
		e.i32(p.LeaderEpoch)
		e.noTags()
	}
}
