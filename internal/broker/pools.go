package broker

import "sync"

// pools keep what each request needs for a moment. The garbage collector takes
// what rests in them.
type pools struct {
	produceCalls sync.Pool                  // of *produceCall
	fetchCalls   sync.Pool                  // of *fetchCall
	scratch      sync.Pool                  // of *[]byte: encoded answers
	fetchBuffers [len(fetchSizes)]sync.Pool // of *[]byte, by size
}

func (p *pools) init() {
	p.produceCalls.New = func() any { return new(produceCall) }
	p.fetchCalls.New = func() any { return new(fetchCall) }
	p.scratch.New = func() any { return new([]byte) }
}

// largestScratch is up to where an answer's buffer is kept.
const largestScratch = 64 << 10

func (p *pools) putScratch(scratch *[]byte) {
	if cap(*scratch) <= largestScratch {
		p.scratch.Put(scratch)
	}
}
