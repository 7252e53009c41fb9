package wire

// ProduceResponse is the answer to a Produce request. It keeps its own copy of
// the topic names, so the request's frame may be released before the answer is
// due. It may be reset and used again. The zero value is ready for Reset.
type ProduceResponse struct {
	Version    int16
	ThrottleMs int32
	Partitions []ProduceResult // of all topics, in request order

	topics topicNames
}

// ProduceResult is what became of one partition's records.
type ProduceResult struct {
	Partition       int32
	ErrorCode       int16
	BaseOffset      int64  // -1 with an error
	LogAppendTimeMs int64  // -1 unless the topic uses LogAppendTime; from version 2
	LogStartOffset  int64  // -1 with an error; from version 5
	ErrorMessage    string // empty: none; from version 8
}

// Reset prepares the answer to req: a result for each partition, without error
// and with no offset yet.
func (r *ProduceResponse) Reset(req *ProduceRequest) {
	r.Version = req.Version
	r.ThrottleMs = 0
	r.topics.reset()
	for i := range req.Topics {
		t := &req.Topics[i]
		r.topics.add(t.Name, t.ID, len(t.Partitions))
	}
	r.Partitions = resized(r.Partitions, len(req.Partitions))
	for i := range r.Partitions {
		r.Partitions[i] = ProduceResult{Partition: req.Partitions[i].Partition, BaseOffset: -1, LogAppendTimeMs: -1, LogStartOffset: -1}
	}
}

// Fail gives all partitions the same error.
func (r *ProduceResponse) Fail(code int16, message string) {
	for i := range r.Partitions {
		r.Partitions[i].ErrorCode, r.Partitions[i].ErrorMessage = code, message
	}
}

// Key is Produce's API key.
func (r *ProduceResponse) Key() int16 { return produceKey }

// IsFlexible reports whether the response has tag sections at its version.
func (r *ProduceResponse) IsFlexible() bool { return flexibleAt(produceKey, r.Version) }

// AppendTo appends the response's body; [AppendResponse] makes it a frame.
func (r *ProduceResponse) AppendTo(dst []byte) []byte {
	e := encoder{dst: dst, flexible: r.IsFlexible()}
	e.count(len(r.topics.entries))
	free := r.Partitions
	for i := range r.topics.entries {
		n := r.topics.encode(&e, i)
		e.count(n)
		for j := range free[:n] {
			e.produceResult(&free[j], r.Version)
		}
		free = free[n:]
		e.noTags()
	}
	if r.Version >= 1 {
		e.i32(r.ThrottleMs)
	}
	e.noTags()
	return e.dst
}

func (e *encoder) produceResult(p *ProduceResult, version int16) {
	e.i32(p.Partition)
	e.i16(p.ErrorCode)
	e.i64(p.BaseOffset)
	if version >= 2 {
		e.i64(p.LogAppendTimeMs)
	}
	if version >= 5 {
		e.i64(p.LogStartOffset)
	}
	if version >= 8 {
		e.count(0) // errors of single records
		e.message(p.ErrorMessage)
	}
	e.noTags()
}
