package wire

import (
	"math/bits"
	"sync"
)

// Pool keeps frame buffers for reuse, by size class. The classes are 512 bytes,
// then four per doubling up to 128 MiB, so at most a quarter of a buffer (above
// 512 bytes) is unused. What rests in the pool is the garbage collector's to
// take. The zero value is ready; one Pool serves all connections.
type Pool struct {
	classes [poolClasses]sync.Pool
}

const (
	minClassBits = 9  // 512 bytes
	maxClassBits = 27 // 128 MiB
	poolClasses  = 1 + 4*(maxClassBits-minClassBits)
)

// sizeClass is the class of an n-byte buffer, and the size of buffers in that
// class. Above the largest class it is -1 and n itself: such buffers are not
// kept.
func sizeClass(n int) (class, size int) {
	if n <= 1<<minClassBits {
		return 0, 1 << minClassBits
	}
	if n > 1<<maxClassBits {
		return -1, n
	}
	doubling := bits.Len(uint(n-1)) - 1
	base := 1 << doubling
	quarter := (n - 1 - base) / (base / 4)
	return 1 + 4*(doubling-minClassBits) + quarter, base + (quarter+1)*(base/4)
}

func (p *Pool) get(n int) *Frame {
	class, size := sizeClass(n)
	if class >= 0 {
		if f, ok := p.classes[class].Get().(*Frame); ok {
			f.Body = f.store[:n]
			return f
		}
	}
	store := make([]byte, size)
	return &Frame{Body: store[:n], store: store, class: class, pool: p}
}

func (p *Pool) put(f *Frame) {
	if f.class >= 0 {
		p.classes[f.class].Put(f)
	}
}
