package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"millrace/internal/topology"
	"millrace/record"
	"millrace/window"
)

// commitRecord is what a task writes into each of its changelogs with every
// commit, in the same transaction: which input the entries reflect. It makes
// the committed input offset readable from the changelog alone, so that a start
// can hold it against the group's.
type commitRecord struct {
	form     form   // of the store's entries; unknown in a record of version 1
	spec     uint64 // its hash
	inputs   []inputMark
	origins  []origin // behind the inputs that are repartition topics
	progress []byte   // the task's, see topology.Task
}

// inputMark is the position in one source partition.
type inputMark struct {
	topic       record.Topic
	topicID     [16]byte
	offset      record.Offset // the next to be read
	leaderEpoch int32
}

// origin is a topic whose records reach a task through repartition topics. Its
// offsets are its own readers' affair, but when it is created anew, what was counted
// of the old one must not be counted on.
type origin struct {
	topic   record.Topic
	topicID [16]byte
}

// commitKey is the key of commit records. No UTF-8 text begins so, and no key of
// the codecs that come with Millrace is equal to it.
var commitKey = []byte("\xff\x00millrace.commit")

func isCommitKey(key []byte) bool { return bytes.Equal(key, commitKey) }

// An encoded commit record; numbers are uvarints, text has its size before it:
//
//	| version 3 | form: store, key, value, window size ns, slide ns
//	| inputs n | n × (topic, topic id 16, offset, leader epoch+1)
//	| origins n | n × (topic, topic id 16)
//	| progress…
//
// Version 2 had no origins, version 1 the form's hash in eight bytes instead of the
// form as well.
const commitVersion = 3

func (c *commitRecord) append(b []byte) []byte {
	b = append(b, commitVersion)
	for _, text := range []string{c.form.store, c.form.key, c.form.value} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	b = binary.AppendUvarint(b, uint64(c.form.size))
	b = binary.AppendUvarint(b, uint64(c.form.slide))
	b = binary.AppendUvarint(b, uint64(len(c.inputs)))
	for _, in := range c.inputs {
		b = binary.AppendUvarint(b, uint64(len(in.topic)))
		b = append(b, in.topic...)
		b = append(b, in.topicID[:]...)
		b = binary.AppendUvarint(b, uint64(in.offset))
		b = binary.AppendUvarint(b, uint64(in.leaderEpoch+1))
	}
	b = binary.AppendUvarint(b, uint64(len(c.origins)))
	for _, o := range c.origins {
		b = binary.AppendUvarint(b, uint64(len(o.topic)))
		b = append(append(b, o.topic...), o.topicID[:]...)
	}
	return append(b, c.progress...)
}

var errCommitRecord = errors.New("a commit record cannot be read")

func decodeCommit(b []byte) (*commitRecord, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errCommitRecord)
	}
	c := &commitRecord{}
	r := reader{b: b[1:]}
	switch b[0] {
	case 1:
		c.spec = binary.BigEndian.Uint64(r.take(8))
	case 2, commitVersion:
		c.form = r.form()
		c.spec = c.form.hash()
	default:
		return nil, fmt.Errorf("%w: version %d, this program knows %d: run the newer program", errCommitRecord, b[0], commitVersion)
	}
	for range r.count() {
		var in inputMark
		in.topic = record.Topic(r.take(r.uvarint()))
		copy(in.topicID[:], r.take(16))
		in.offset = record.Offset(r.uvarint())
		in.leaderEpoch = int32(r.uvarint()) - 1
		c.inputs = append(c.inputs, in)
	}
	if b[0] >= 3 {
		for range r.count() {
			o := origin{topic: record.Topic(r.take(r.uvarint()))}
			copy(o.topicID[:], r.take(16))
			c.origins = append(c.origins, o)
		}
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

// count is how many things follow, of at least one byte each.
func (r *reader) count() uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.short, r.b = true, nil
		return 0
	}
	return n
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

// form is everything that the entries of a store depend on. Entries that were
// written under another one cannot be read on.
type form struct {
	store, key, value string
	size, slide       time.Duration // of the window
}

func formOf(s topology.StoreSpec) form {
	return form{s.Name, s.Key, s.Value, s.Window.Size, s.Window.Slide}
}

func (r *reader) form() form {
	text := func() string { return string(r.take(r.uvarint())) }
	return form{text(), text(), text(), time.Duration(r.uvarint()), time.Duration(r.uvarint())}
}

func (f form) hash() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s|%s|%d|%d", f.store, f.key, f.value, f.size, f.slide)
	return h.Sum64()
}

// String is the form but for the store's name.
func (f form) String() string {
	if f == (form{}) {
		return "a form that is not known"
	}
	text := fmt.Sprintf("key %s, value %s", f.key, f.value)
	if w := (window.Spec{Size: f.size, Slide: f.slide}); !w.IsZero() {
		text += ", " + w.String()
	}
	return text
}
