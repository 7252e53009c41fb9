package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"

	"millrace/internal/topology"
	"millrace/record"
)

// commitRecord is what a task writes into each of its changelogs with every
// commit, in the same transaction: which input the entries reflect. It makes
// the committed input offset readable from the changelog alone, so that a start
// can hold it against the group's.
type commitRecord struct {
	spec     uint64 // of the store, see specOf
	inputs   []inputMark
	progress []byte // the task's, see topology.Task
}

// inputMark is the position in one source partition.
type inputMark struct {
	topic       record.Topic
	topicID     [16]byte
	offset      record.Offset // the next to be read
	leaderEpoch int32
}

// commitKey is the key of commit records. No UTF-8 text begins so, and no key of
// the codecs that come with Millrace is equal to it.
var commitKey = []byte("\xff\x00millrace.commit")

func isCommitKey(key []byte) bool { return bytes.Equal(key, commitKey) }

// An encoded commit record; numbers are uvarints but for the first two fields:
//
//	0         1      9
//	| version | spec | inputs n | n × (topic size, topic, topic id 16, offset, leader epoch+1) | progress…
const commitVersion = 1

func (c *commitRecord) append(b []byte) []byte {
	b = append(b, commitVersion)
	b = binary.BigEndian.AppendUint64(b, c.spec)
	b = binary.AppendUvarint(b, uint64(len(c.inputs)))
	for _, in := range c.inputs {
		b = binary.AppendUvarint(b, uint64(len(in.topic)))
		b = append(b, in.topic...)
		b = append(b, in.topicID[:]...)
		b = binary.AppendUvarint(b, uint64(in.offset))
		b = binary.AppendUvarint(b, uint64(in.leaderEpoch+1))
	}
	return append(b, c.progress...)
}

var errCommitRecord = errors.New("a commit record cannot be read")

func decodeCommit(b []byte) (*commitRecord, error) {
	if len(b) < 9 {
		return nil, fmt.Errorf("%w: %d bytes", errCommitRecord, len(b))
	}
	if b[0] != commitVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d: run the newer program", errCommitRecord, b[0], commitVersion)
	}
	c := &commitRecord{spec: binary.BigEndian.Uint64(b[1:])}
	r := reader{b: b[9:]}
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		return nil, fmt.Errorf("%w: %d inputs in %d bytes", errCommitRecord, n, len(r.b))
	}
	for range n {
		var in inputMark
		in.topic = record.Topic(r.take(r.uvarint()))
		copy(in.topicID[:], r.take(16))
		in.offset = record.Offset(r.uvarint())
		in.leaderEpoch = int32(r.uvarint()) - 1
		c.inputs = append(c.inputs, in)
	}
	if r.short {
		return nil, fmt.Errorf("%w: it is cut off", errCommitRecord)
	}
	c.progress = r.b
	return c, nil
}

// reader takes apart bytes that may be too short.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.short, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

// specOf is a number for everything that the entries of a store depend on.
// Entries that were written under another one cannot be read on.
func specOf(s topology.StoreSpec) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%d|%d", s.Name, s.Key, s.Value, s.Window.Size, s.Window.Slide)
	return h.Sum64()
}
