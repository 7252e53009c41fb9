package where

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/scanner"
)

// Error is a fault in an expression.
type Error struct {
	Column int // in characters, from 1
	What   string
}

func (e *Error) Error() string { return fmt.Sprintf("at character %d: %s", e.Column, e.What) }

// maxDepth bounds how deep parentheses and ! may be nested.
const maxDepth = 100

// roots are what a path may begin with.
var roots = []string{"topic", "partition", "offset", "ts", "key", "value", "headers"}

// Parse reads an expression. The error is an *[Error].
func Parse(text string) (*Expr, error) {
	p := &parser{}
	p.scan.Init(strings.NewReader(text))
	p.scan.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanFloats | scanner.ScanStrings
	p.scan.Error = func(_ *scanner.Scanner, message string) { p.fail("%s", message) }
	p.next()
	root := p.either()
	if p.token != scanner.EOF {
		p.fail("%s is not expected here: use == != < <= > >= && ||", p.shown())
	}
	if p.err == nil && !truth(root) {
		p.column = 1
		p.fail("it is a value and no condition: compare it, as in value.user_id == \"ana\"")
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Expr{root}, nil
}

// truth reports whether n is a condition; a path may lead to true or false.
func truth(n node) bool {
	switch n := n.(type) {
	case literal:
		_, is := n.value.(bool)
		return is
	case path:
		return (n.root == "value" || n.root == "headers") && len(n.steps) > 0
	}
	return true
}

// parser reads by recursive descent: one method for each strength of binding.
type parser struct {
	scan   scanner.Scanner
	token  rune
	text   string // of token; an operator of two characters is one token
	column int
	depth  int
	err    error // the first
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Column: p.column, What: fmt.Sprintf(format, args...)}
	}
	p.token = scanner.EOF
}

func (p *parser) next() {
	if p.err != nil {
		return
	}
	p.column = p.scan.Pos().Column
	if p.token = p.scan.Scan(); p.err != nil || p.token == scanner.EOF {
		p.token = scanner.EOF
		return
	}
	p.column, p.text = p.scan.Position.Column, p.scan.TokenText()
	if second := p.scan.Peek(); strings.ContainsRune("=!<>", p.token) && second == '=' || (p.token == '&' || p.token == '|') && second == p.token {
		p.scan.Next()
		p.text += string(second)
	}
}

func (p *parser) shown() string {
	if p.token == scanner.EOF {
		return "the end"
	}
	return strconv.Quote(p.text)
}

// is takes an operator if it comes next.
func (p *parser) is(operator string) bool {
	if p.token == scanner.EOF || p.token == scanner.String || p.text != operator {
		return false
	}
	p.next()
	return true
}

func (p *parser) expect(operator string) {
	if !p.is(operator) {
		p.fail("%s is missing, not %s", strconv.Quote(operator), p.shown())
	}
}

func (p *parser) either() node {
	n := p.all()
	for p.is("||") {
		n = both{any: true, left: n, right: p.all()}
	}
	return n
}

func (p *parser) all() node {
	n := p.comparison()
	for p.is("&&") {
		n = both{left: n, right: p.comparison()}
	}
	return n
}

func (p *parser) comparison() node {
	n := p.single()
	for _, operator := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if p.is(operator) {
			return comparison{operator, n, p.single()}
		}
	}
	if p.token == '=' {
		p.fail("to compare, use ==")
	}
	return n
}

func (p *parser) single() node {
	if p.depth++; p.depth > maxDepth {
		p.fail("it is nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	switch {
	case p.is("!"):
		return not{p.single()}
	case p.is("("):
		n := p.either()
		p.expect(")")
		return n
	case p.is("-"):
		return p.number("-")
	}
	switch p.token {
	case scanner.Int, scanner.Float:
		return p.number("")
	case scanner.String:
		return literal{p.quoted()}
	case scanner.Ident:
		return p.name()
	}
	p.fail("a value is missing, not %s", p.shown())
	return literal{}
}

func (p *parser) number(sign string) node {
	text := sign + p.text
	if p.token != scanner.Int && p.token != scanner.Float || !json.Valid([]byte(text)) {
		p.fail("%s is no number in JSON", strconv.Quote(text))
	}
	p.next()
	return literal{json.Number(text)}
}

func (p *parser) quoted() string {
	text, err := strconv.Unquote(p.text)
	if err != nil {
		p.fail("%s is no text as Go and JSON write it", p.text)
	}
	p.next()
	return text
}

func (p *parser) name() node {
	name := p.text
	f, isFunction := functions[name]
	if !isFunction && !slices.Contains(roots, name) {
		switch name {
		case "true", "false":
			p.next()
			return literal{name == "true"}
		case "null":
			p.next()
			return literal{}
		}
		p.fail("%q is not known: a path begins with %s; functions are %s", name, strings.Join(roots, ", "), strings.Join(slices.Sorted(maps.Keys(functions)), ", "))
	}
	p.next()
	if isFunction {
		return call{f.of, p.arguments(name, f.arguments)}
	}
	return p.path(name)
}

func (p *parser) arguments(function string, n int) (all []node) {
	p.expect("(")
	for {
		all = append(all, p.either())
		if !p.is(",") {
			break
		}
	}
	if len(all) != n {
		p.fail("%s takes %d values, not %d", function, n, len(all))
	}
	p.expect(")")
	return all
}

func (p *parser) path(root string) node {
	n := path{root: root}
	for {
		switch {
		case p.is("."):
			if p.token != scanner.Ident {
				p.fail("a name is missing, not %s: names with other characters go into [\"…\"]", p.shown())
			}
			n.steps = append(n.steps, p.text)
			p.next()
		case p.is("["):
			n.steps = append(n.steps, p.index())
			p.expect("]")
		default:
			if len(n.steps) > 0 && root != "value" && root != "headers" {
				p.fail("%s has nothing inside: only value and headers have", root)
			}
			return n
		}
	}
}

func (p *parser) index() any {
	if p.token == scanner.String {
		return p.quoted()
	}
	i, err := strconv.Atoi(p.text)
	if p.token != scanner.Int || err != nil {
		p.fail("a name in quotes or a number is missing, not %s", p.shown())
	}
	p.next()
	return i
}
