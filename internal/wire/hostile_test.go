package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// allocated is how many bytes f takes from the heap.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// checkCost decodes body, also with kmsg where there is a decoder of our own,
// and fails when that takes more memory or time than a frame of its size may
// cost (see the package comment).
func checkCost(t testing.TB, h Header, body []byte) (took uint64, err error) {
	t.Helper()
	checkHeap(t, h, body, func() { _, _ = Decode(h, body) })
	took = checkHeap(t, h, body, func() { err = DecodeAny(h, body) })
	const slowestPerKB = 5 * time.Millisecond
	limit := slowestPerKB * time.Duration(1+len(body)/1024)
	if fastest := fastestOf(5, limit, func() { _ = DecodeAny(h, body) }); fastest > limit {
		t.Errorf("%s v%d: %d bytes took %v, %v are allowed", Name(h.Key), h.Version, len(body), fastest, limit)
	}
	return took, err
}

func checkHeap(t testing.TB, h Header, body []byte, decode func()) uint64 {
	t.Helper()
	took := allocated(decode)
	if limit := detectorShare * uint64(heapPerByte*len(body)+heapSlack); took > limit {
		t.Errorf("%s v%d: %d bytes took %d bytes of memory, %d are allowed", Name(h.Key), h.Version, len(body), took, limit)
	}
	return took
}

// fastestOf is the shortest of some runs of f, because other processes take
// time away. It stops at the first one within the limit.
func fastestOf(runs int, limit time.Duration, f func()) time.Duration {
	fastest := time.Hour
	for range runs {
		start := time.Now()
		f()
		if fastest = min(fastest, time.Since(start)); fastest <= limit {
			break
		}
	}
	return fastest
}

// bomb builds bodies whose one array, or one tag section, holds many of the
// smallest elements there are.
type bomb struct {
	s     *shape
	slot  int // the array that explodes, or none
	count int
	tags  int // unknown tags in each section
	text  int // length of each string
}

const none = -1

func (b bomb) body() []byte { return b.append(nil, b.s) }

func (b bomb) append(dst []byte, s *shape) []byte {
	for i := range s.nodes {
		dst = b.appendNode(dst, &s.nodes[i], s.flexible)
	}
	if !s.tagged {
		return dst
	}
	dst = appendUvarint(dst, uint32(b.tags))
	for i := range b.tags {
		dst = appendUvarint(dst, uint32(1000+i))
		dst = append(dst, 0)
	}
	return dst
}

func (b bomb) appendNode(dst []byte, n *node, flexible bool) []byte {
	switch n.kind {
	case fixed:
		return append(dst, make([]byte, n.width)...)
	case text:
		dst = appendLength(dst, b.text, 2, flexible)
		return append(dst, make([]byte, b.text)...)
	case blob:
		return appendLength(dst, 0, 4, flexible)
	case group:
		if n.nullable {
			dst = append(dst, 1)
		}
		return b.append(dst, n.elem)
	}
	count := 1 // so that an inner array can explode
	if n.slot == b.slot {
		count = b.count
	}
	dst = appendLength(dst, count, 4, flexible)
	return append(dst, bytes.Repeat(b.append(nil, n.elem), count)...)
}

func appendLength(dst []byte, n, width int, flexible bool) []byte {
	switch {
	case flexible:
		return appendUvarint(dst, uint32(n+1))
	case width == 2:
		return appendInt16(dst, int16(n))
	default:
		return appendInt32(dst, int32(n))
	}
}

// eachShape runs check for every kind and version that can be read.
func eachShape(check func(h Header, s *shape)) {
	for _, a := range readable {
		for v := a.min; v <= a.max; v++ {
			check(Header{Key: a.key, Version: v}, a.shape(v))
		}
	}
}

// Arrays of the smallest elements, around the sizes at which they become too
// expensive: what is accepted stays within the bound. The largest ones are
// tried in the last version only, to save time.
func TestManyTinyElements(t *testing.T) {
	accepted, refused := 0, 0
	eachShape(func(h Header, s *shape) {
		counts := []int{100, 900, 3000}
		if h.Version == byKey[h.Key].max {
			counts = append(counts, MaxElements-10, MaxElements+10)
		}
		for slot := range s.lists {
			for _, count := range counts {
				for _, text := range []int{0, 1, 7} {
					_, err := checkCost(t, h, bomb{s: s, slot: slot, count: count, text: text}.body())
					switch {
					case err == nil:
						accepted++
					case errors.Is(err, ErrTooLarge):
						refused++
					default:
						t.Fatalf("%s v%d: a valid body of %d elements: %v", Name(h.Key), h.Version, count, err)
					}
				}
			}
		}
	})
	if accepted < 500 || refused < 200 {
		t.Errorf("%d bodies were accepted, %d refused: the sizes do not lie around the bound", accepted, refused)
	}
}

// Unknown tags are legal, and cost kmsg a map.
func TestManyUnknownTags(t *testing.T) {
	accepted, refused := 0, 0
	eachShape(func(h Header, s *shape) {
		if !s.flexible {
			return
		}
		for _, count := range []int{0, 1, 50, 1000} {
			for _, tags := range []int{1, 2, 8, 9, 15, 29, 57, 113, 300, 20_000} {
				if count*tags > 100_000 {
					continue
				}
				_, err := checkCost(t, h, bomb{s: s, slot: 0, count: count, tags: tags}.body())
				if err == nil {
					accepted++
				} else if errors.Is(err, ErrTooLarge) {
					refused++
				}
			}
		}
	})
	if accepted < 100 || refused < 100 {
		t.Errorf("%d bodies were accepted, %d refused: the sizes do not lie around the bound", accepted, refused)
	}
}

// A count that the frame cannot hold is refused before it is believed.
func TestCountsAreTheSendersWord(t *testing.T) {
	eachShape(func(h Header, s *shape) {
		body := bomb{s: s, slot: none, text: 3}.body()
		marks, err := Layout(nil, h.Key, h.Version, body)
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range marks {
			lie := withPrefix(body, mark, 1<<28)
			if mark.Width == 2 {
				lie = withPrefix(body, mark, 32767)
			}
			took, err := checkCost(t, h, lie)
			if !errors.Is(err, ErrMalformed) || took > 4096 {
				t.Errorf("%s v%d: a lie at byte %d took %d bytes and gave %v", Name(h.Key), h.Version, mark.Offset, took, err)
			}
		}
	})
}

func withPrefix(body []byte, m Mark, v uint32) []byte {
	lie := slices.Clone(body[:m.Offset])
	width := m.Width
	switch width {
	case 2:
		lie = binary.BigEndian.AppendUint16(lie, uint16(v))
	case 4:
		lie = binary.BigEndian.AppendUint32(lie, v)
	default:
		_, width = uvarint(body[m.Offset:])
		lie = appendUvarint(lie, v)
	}
	return append(lie, body[m.Offset+width:]...)
}

// The element cap holds over all arrays of a request together.
func TestElementCap(t *testing.T) {
	h := Header{Key: 9, Version: 7} // OffsetFetch: int32 arrays cost as much as they weigh
	build := func(topics, partitions int) []byte {
		body := []byte{2, 'g'}
		body = appendUvarint(body, uint32(topics+1))
		for range topics {
			body = append(body, 2, 't')
			body = appendUvarint(body, uint32(partitions+1))
			body = append(body, make([]byte, 4*partitions+1)...)
		}
		return append(body, 0, 0)
	}
	if _, err := checkCost(t, h, build(10, MaxElements/10-1)); err != nil {
		t.Errorf("%d elements: %v", MaxElements, err)
	}
	if _, err := checkCost(t, h, build(10, MaxElements/10)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d elements: got %v, want ErrTooLarge", MaxElements+10, err)
	}
}

// Requests that honest clients send at the largest size we are made for.
func TestLargeHonestRequestsAreTaken(t *testing.T) {
	for _, c := range []struct {
		key, version    int16
		topics, perEach int
	}{
		{3, 1, 10_000, 0}, {3, 9, 10_000, 0},
		{1, 11, 100, 100}, {1, 12, 10_000, 1},
		{0, 7, 1000, 10}, {0, 9, 10_000, 1},
		{2, 7, 1000, 10}, {8, 8, 1000, 10}, {8, 2, 2500, 4}, {9, 5, 1000, 10},
	} {
		h := Header{Key: c.key, Version: c.version}
		body := namedTopics(byKey[c.key].shape(c.version), c.topics, c.perEach)
		took, err := checkCost(t, h, body)
		if err != nil {
			t.Errorf("%s v%d with %d topics of %d partitions: %v", Name(c.key), c.version, c.topics, c.perEach, err)
		}
		t.Logf("%s v%d: %d topics of %d partitions, %d bytes, took %.1f times that", Name(c.key), c.version, c.topics, c.perEach, len(body), float64(took)/float64(len(body)))
	}
}

// smallestBatch is a record batch of one tiny record.
const smallestBatch = 61 + 8

// namedTopics is a body whose outer array holds topics called t-00000 and so
// on, and whose inner arrays hold perEach elements.
func namedTopics(s *shape, topics, perEach int) []byte {
	var dst []byte
	number := 0
	var add func(s *shape)
	add = func(s *shape) {
		for i := range s.nodes {
			n := &s.nodes[i]
			switch n.kind {
			case fixed:
				dst = append(dst, make([]byte, n.width)...)
			case blob:
				dst = append(appendLength(dst, smallestBatch, 4, s.flexible), make([]byte, smallestBatch)...)
			case text:
				name := fmt.Sprintf("t-%05d", number)
				dst = append(appendLength(dst, len(name), 2, s.flexible), name...)
			case group:
				dst = append(dst, 0xff) // null
			case list:
				count := perEach
				if n.slot == 0 {
					count = topics
				}
				dst = appendLength(dst, count, 4, s.flexible)
				for range count {
					number++
					add(n.elem)
				}
			}
		}
		if s.tagged {
			dst = append(dst, 0)
		}
	}
	add(s)
	return dst
}
