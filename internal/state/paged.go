package state

// paged is a list that grows without moving: pages of 4096 elements. The first
// page grows like a slice, for most windows hold few keys.
type paged[T any] struct {
	pages [][]T
	n     int
}

const (
	pageShift = 12
	pageSize  = 1 << pageShift
)

// at is the element with a number below n, valid until the next add.
func (p *paged[T]) at(id uint32) *T { return &p.pages[id>>pageShift][id&(pageSize-1)] }

// add appends v and returns its number.
func (p *paged[T]) add(v T) uint32 {
	id := uint32(p.n)
	page := int(id >> pageShift)
	if page == len(p.pages) {
		p.pages = append(p.pages, nil)
		if page > 0 {
			p.pages[page] = make([]T, 0, pageSize)
		}
	}
	p.pages[page] = append(p.pages[page], v)
	p.n++
	return id
}

// reset forgets all elements, so that nothing they point to is kept, and keeps
// the first page.
func (p *paged[T]) reset() {
	p.n = 0
	if len(p.pages) == 0 {
		return
	}
	clear(p.pages[0])
	p.pages[0] = p.pages[0][:0]
	clear(p.pages[1:])
	p.pages = p.pages[:1]
}
