// Package where reads the expressions of --where and tells which records they
// want.
//
//	value.user_id == "ana" && partition != 2
//	contains(key, "user_") || !has(value.page)
//	headers.reason == "decode" && ts >= "2026-11-23T10:00"
//
// A path begins with topic, partition, offset, ts, key, value or headers: the
// names that consume prints. Into JSON it goes on with .name, ["any name"] and
// [index]. What is not there is null. Values of different kinds are never equal
// and have no order; text is ordered by its bytes, as times in ts are.
package where

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"millrace/record"
)

// Expr is an expression that was read by [Parse].
type Expr struct{ root node }

// Match reports whether e wants r.
func (e *Expr) Match(r *record.Record) bool {
	return e.root.eval(&subject{record: r}) == true
}

// subject is one record; its value is taken apart when it is first asked for.
type subject struct {
	record *record.Record
	value  any
	parsed bool
}

// TimestampLayout is how ts reads: in UTC, so that it is ordered as text.
const TimestampLayout = "2006-01-02T15:04:05.000Z"

// root is the beginning of a path. Values are nil, bool, json.Number, string,
// []any and map[string]any.
func (s *subject) root(name string) any {
	switch r := s.record; name {
	case "topic":
		return string(r.Topic)
	case "partition":
		return number(int64(r.Partition))
	case "offset":
		return number(int64(r.Offset))
	case "ts":
		return r.Timestamp.Time().UTC().Format(TimestampLayout)
	case "key":
		return textOrNull(r.Key)
	case "value":
		if !s.parsed {
			s.value, s.parsed = parseValue(r.Value), true
		}
		return s.value
	default: // Parse lets nothing else through
		headers := make(map[string]any, len(r.Headers))
		for _, h := range r.Headers {
			headers[h.Key] = textOrNull(h.Value)
		}
		return headers
	}
}

func textOrNull(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// parseValue is the JSON in b, or its bytes as text.
func parseValue(b []byte) any {
	if b == nil {
		return nil
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if !utf8.Valid(b) || d.Decode(&v) != nil || d.More() {
		return string(b)
	}
	return v
}

// node is a part of an expression.
type node interface{ eval(*subject) any }

type literal struct{ value any }

func (n literal) eval(*subject) any { return n.value }

// path goes from a root into JSON; each step is a string or an int.
type path struct {
	root  string
	steps []any
}

func (n path) eval(s *subject) any {
	at := s.root(n.root)
	for _, step := range n.steps {
		switch step := step.(type) {
		case string:
			object, _ := at.(map[string]any)
			at = object[step]
		case int:
			list, _ := at.([]any)
			if step >= len(list) {
				return nil
			}
			at = list[step]
		}
	}
	return at
}

type not struct{ of node }

func (n not) eval(s *subject) any { return n.of.eval(s) != true }

// both is && and ||: any says which.
type both struct {
	any         bool
	left, right node
}

func (n both) eval(s *subject) any {
	if (n.left.eval(s) == true) == n.any {
		return n.any
	}
	return n.right.eval(s) == true
}

type comparison struct {
	operator    string
	left, right node
}

func (n comparison) eval(s *subject) any {
	left, right := n.left.eval(s), n.right.eval(s)
	if n.operator == "==" || n.operator == "!=" {
		return equal(left, right) == (n.operator == "==")
	}
	c, ordered := compare(left, right)
	if !ordered {
		return false
	}
	switch n.operator {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// call is a function of the table functions.
type call struct {
	function  func(arguments []any) bool
	arguments []node
}

func (n call) eval(s *subject) any {
	values := make([]any, len(n.arguments))
	for i, a := range n.arguments {
		values[i] = a.eval(s)
	}
	return n.function(values)
}

// functions and how many arguments each takes.
var functions = map[string]struct {
	arguments int
	of        func([]any) bool
}{
	"has":      {1, func(a []any) bool { return a[0] != nil }},
	"contains": {2, onText(strings.Contains)},
	"prefix":   {2, onText(strings.HasPrefix)},
	"suffix":   {2, onText(strings.HasSuffix)},
}

func onText(f func(text, part string) bool) func([]any) bool {
	return func(a []any) bool {
		text, isText := a[0].(string)
		part, alike := a[1].(string)
		return isText && alike && f(text, part)
	}
}
