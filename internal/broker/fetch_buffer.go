package broker

import (
	"context"

	"millrace/internal/batch"
	"millrace/record"
)

// fetchSizes are the sizes of the buffers that records are read into. A
// connection begins with the smallest and gets the next one after an answer that
// used up its buffer: who catches up soon gets large answers, who follows the
// end holds little memory.
var fetchSizes = [...]int{smallestFetch, 256 << 10, 1 << 20, 4 << 20, largestFetch}

const (
	smallestFetch = 64 << 10

	// largestFetch bounds the records of one answer, but for a single batch that
	// is larger (F1). Kafka's fetch.max.bytes, 55 MiB there.
	largestFetch = 16 << 20
)

// classOf is the smallest class that holds n bytes, or the largest one.
func classOf(n int) int {
	for class, size := range fetchSizes {
		if size >= n {
			return class
		}
	}
	return len(fetchSizes) - 1
}

// fetchBuffer holds the records of one answer. Its bytes are taken from the
// broker's AnswerMemory.
type fetchBuffer struct {
	store  *[]byte
	class  int  // index in fetchSizes
	room   int  // bytes that the answer may still take
	read   int  // bytes of records in the answer; they lie at the front of store
	needed int  // size of the first batch when even that did not fit
	full   bool // something did not fit
	urgent bool // there is something to tell without records
}

// takeFetchBuffer gives a buffer of the wanted class, or a smaller one when
// memory is short; it waits only for one of the least class. The larger ones
// leave a quarter of the memory alone, so that clients that read slowly cannot
// take it all. maxBytes is the client's bound.
func (b *Broker) takeFetchBuffer(ctx context.Context, least, class int, maxBytes int32) (*fetchBuffer, error) {
	class = max(least, min(class, classOf(int(maxBytes))))
	for class > least && !b.takeSpareAnswerMemory(int64(fetchSizes[class])) {
		class--
	}
	if class == least {
		if err := b.answerBudget.Acquire(ctx, int64(fetchSizes[class])); err != nil {
			return nil, err
		}
	}
	store, ok := b.fetchBuffers[class].Get().(*[]byte)
	if !ok {
		fresh := make([]byte, fetchSizes[class])
		store = &fresh
	}
	return &fetchBuffer{store: store, class: class, room: min(fetchSizes[class], max(int(maxBytes), 0))}, nil
}

func (b *Broker) takeSpareAnswerMemory(size int64) bool {
	limit := b.answerBudget.LimitBytes()
	return b.answerBudget.UsedBytes()+size <= limit-limit/4 && b.answerBudget.TryAcquire(size)
}

func (b *Broker) putFetchBuffer(f *fetchBuffer) {
	b.fetchBuffers[f.class].Put(f.store)
	b.answerBudget.Release(int64(fetchSizes[f.class]))
}

// fill reads records of one partition, at most maxBytes of them unless they are
// the first of the answer: then at least one batch (F1).
func (f *fetchBuffer) fill(from view, offset record.Offset, maxBytes int) ([]byte, error) {
	limit := min(maxBytes, f.room)
	if f.read > 0 && limit < batch.HeaderSize || f.needed > 0 {
		f.full = f.full || offset < from.end()
		return nil, nil
	}
	space := (*f.store)[f.read:f.read:len(*f.store)]
	records, err := from.read(offset, limit, space)
	switch {
	case err != nil || len(records) == 0:
		return nil, err
	case len(records) > cap(space):
		f.full, f.room = true, 0
		if f.read == 0 {
			f.needed = len(records)
		}
		return nil, nil
	case len(records) > limit && f.read > 0:
		f.full, f.room = true, 0
		return nil, nil
	}
	f.read += len(records)
	f.room -= min(f.room, len(records))
	f.full = f.full || 2*len(records) > limit && limit < maxBytes
	return records, nil
}

// next is the class for the connection's next answer: larger when the buffer was
// too small, smaller when most of it stayed empty.
func (f *fetchBuffer) next() int {
	switch {
	case f.needed > 0:
		return classOf(f.needed)
	case f.full:
		return min(f.class+1, len(fetchSizes)-1)
	case f.read < fetchSizes[f.class]/16:
		return max(f.class-1, 0)
	}
	return f.class
}
