package clicks

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
	"unsafe"

	"millrace/record"
)

// scan reads an event of the usual form: a flat object of the known fields, each
// once, in any order, with strings that need no unescaping and whole numbers. It
// is a shortcut, not a second opinion: what it takes the full decoder takes as
// well, with the same result (FuzzScan), and to anything else it says no, so
// that faults are found and worded in one place. The click's strings are views
// into value.
func scan(value []byte) (Click, bool) {
	s := scanner{value: value}
	if !s.next('{') {
		return Click{}, false
	}
	const wanted = 1<<userField | 1<<timestampField | 1<<pageField
	seen := 0
	for {
		field, ok := s.field()
		if !ok || seen&(1<<field) != 0 {
			return Click{}, false
		}
		seen |= 1 << field
		if s.next(',') {
			continue
		}
		return s.click, seen&wanted == wanted && s.next('}') && s.ended()
	}
}

// scanner is a position in an event and what was read so far.
type scanner struct {
	value []byte
	at    int
	click Click
}

// name reads a member's name and its colon.
func (s *scanner) name() field {
	s.skipSpace()
	rest := s.value[s.at:]
	known := func(f field, n int) field {
		s.at += n
		return f
	}
	switch { // without white space first: each of these is two comparisons of words
	case len(rest) > 10 && string(rest[:10]) == `"user_id":`:
		return known(userField, 10)
	case len(rest) > 12 && string(rest[:12]) == `"timestamp":`:
		return known(timestampField, 12)
	case len(rest) > 7 && string(rest[:7]) == `"page":`:
		return known(pageField, 7)
	}
	name, ok := s.text()
	if !ok || !s.next(':') {
		return otherField
	}
	return fieldNamed(view(name))
}

// field reads a member.
func (s *scanner) field() (f field, ok bool) {
	switch f = s.name(); f {
	case userField:
		id, ok := s.userID()
		s.click.User = view(id)
		return f, ok
	case pageField:
		page, ok := s.text()
		s.click.Page = view(page)
		return f, ok && len(page) > 0 && len(page) <= MaxPageBytes
	case timestampField:
		digits, n := s.digits()
		s.click.At = wholeEpoch(n)
		return f, len(digits) > 0 && len(digits) <= 16 && n < 4e15
	case demoField:
		s.click.Demo = true
		return f, s.literal("true")
	}
	return f, false
}

// view is a string that shares b, which nobody writes to.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (s *scanner) userID() (id []byte, ok bool) {
	if s.skipSpace(); s.at < len(s.value) && s.value[s.at] == '"' {
		id, ok = s.text()
	} else {
		id, _ = s.digits()
		ok = true
	}
	return id, ok && len(id) > 0 && len(id) <= MaxUserBytes
}

// next takes c, and the white space before it.
func (s *scanner) next(c byte) bool {
	if s.at < len(s.value) && s.value[s.at] == c {
		s.at++
		return true
	}
	s.skipSpace()
	if s.at >= len(s.value) || s.value[s.at] != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) literal(word string) bool {
	s.skipSpace()
	if !bytes.HasPrefix(s.value[s.at:], []byte(word)) {
		return false
	}
	s.at += len(word)
	return true
}

func (s *scanner) ended() bool {
	s.skipSpace()
	return s.at == len(s.value)
}

func (s *scanner) skipSpace() {
	for s.at < len(s.value) {
		switch s.value[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// text takes a string without escapes.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	start, ascii := s.at, true
	for {
		s.at += plainASCII(s.value[s.at:])
		if s.at == len(s.value) {
			return nil, false
		}
		switch c := s.value[s.at]; {
		case c == '"':
			text := s.value[start:s.at:s.at]
			s.at++
			return text, ascii || utf8.Valid(text)
		case c == '\\' || c < ' ':
			return nil, false
		}
		s.at++
		ascii = false
	}
}

// digits takes a whole number without sign, fraction or exponent; n is its value
// if it has at most 18 digits. Whatever follows a number must be a comma, a brace
// or white space, which the caller sees.
func (s *scanner) digits() (digits []byte, n int64) {
	s.skipSpace()
	start := s.at
	for s.at < len(s.value) && s.value[s.at]-'0' <= 9 {
		n = 10*n + int64(s.value[s.at]-'0')
		s.at++
	}
	digits = s.value[start:s.at:s.at]
	if len(digits) > 1 && digits[0] == '0' {
		return nil, 0
	}
	return digits, n
}

// wholeEpoch is [epoch] of a whole number below 4e15. The floating point of epoch
// may round larger ones.
func wholeEpoch(n int64) record.Timestamp {
	switch {
	case n < secondsBelow:
		return record.Timestamp(n * 1000)
	case n < millisecondsBelow:
		return record.Timestamp(n)
	}
	return record.Timestamp(n / 1000)
}

// plainASCII is the number of leading bytes that are ASCII and neither a control
// character, a quote nor a backslash. It looks at eight bytes at a time.
func plainASCII(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, backslash := w^('"'*ones), w^('\\'*ones)
		// Subtracting 1 borrows into the high bit of a byte that is zero; 0x20 into
		// that of one below a space. Only bytes above the lowest hit can be wrong.
		hits := ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-' '*ones)&^w | w) & highs
		if hits != 0 {
			return n + bits.TrailingZeros64(hits)/8
		}
	}
	for ; n < len(b); n++ {
		if c := b[n]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return n
}
