package wire

// Mark is one place in a request body that tells how much follows: what a
// hostile client lies about.
type Mark struct {
	Offset int // of the prefix, from the body's start
	Kind   MarkKind
	Width  int // 2 or 4 bytes, or 0 for a variable-length number
}

// MarkKind says what a prefix counts.
type MarkKind uint8

const (
	MarkText  MarkKind = iota // bytes of a string
	MarkBytes                 // bytes of a byte array or of records
	MarkCount                 // elements of an array
	MarkTags                  // fields of a tag section
)

// Layout appends the marks of a valid body to dst, in wire order. Tests of the
// broker use it to build lying frames; the broker itself does not.
func Layout(dst []Mark, key, version int16, body []byte) ([]Mark, error) {
	a := known(key, version)
	if a == nil {
		return dst, refuseAPI(key, version)
	}
	w := newWalker(a, version, body)
	w.marks = &dst
	if err := w.body(); err != nil {
		return dst, err
	}
	return dst, nil
}

func (w *walker) mark(at int, k kind) {
	if w.marks == nil {
		return
	}
	m := Mark{Offset: at, Width: 4}
	switch k {
	case text:
		m.Kind, m.Width = MarkText, 2
	case blob:
		m.Kind = MarkBytes
	case list:
		m.Kind = MarkCount
	}
	if w.api.flexibleAt(w.number) {
		m.Width = 0
	}
	*w.marks = append(*w.marks, m)
}

func (w *walker) markTags(at int) {
	if w.marks != nil {
		*w.marks = append(*w.marks, Mark{Offset: at, Kind: MarkTags})
	}
}
