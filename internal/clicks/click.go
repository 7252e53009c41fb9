// Package clicks is the built-in click job, written with the public DSL: it
// reads click_events and counts clicks per user, per user and minute, and per
// page, exactly once, and finds users who click too fast.
//
// Most readers need [New], [Job] and, for the events themselves, [Decoder].
package clicks

import (
	"bytes"
	"cmp"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"millrace/record"
)

// Topic is the job's input.
const Topic record.Topic = "click_events"

// JobName is the job's application id, as metrics and paths name it.
const JobName = "click-count"

// Longest ids that are counted, in bytes. Longer ones make the event malformed:
// one event must not take a noticeable share of the memory for all.
const (
	MaxUserBytes = 1 << 10
	MaxPageBytes = 4 << 10
)

// Click is one decoded event. Its strings may be views into the event's bytes,
// which must not change while they are in use: keep copies of few of them.
type Click struct {
	User string // never empty; an integer user_id as its digits
	Page string // never empty
	At   record.Timestamp
	Demo bool // the event says "demo":true, that it is simulated
}

// When is the click's event time.
func (c Click) When() time.Time { return c.At.Time() }

// Reason is why an event is malformed, as metrics and answers name it.
type Reason string

// The reasons, in the order in which an event is checked.
const (
	NoValue       Reason = "no_value"
	InvalidUTF8   Reason = "invalid_utf8"
	InvalidJSON   Reason = "invalid_json"
	DuplicateName Reason = "duplicate_name"
	NotAnObject   Reason = "not_an_object"
	BadUserID     Reason = "bad_user_id"
	BadTimestamp  Reason = "bad_timestamp"
	BadPage       Reason = "bad_page"
)

// MalformedError says why an event cannot be counted. Detail is for people and
// holds none of the event's text but field names.
type MalformedError struct {
	Reason Reason
	Detail string
}

func (e *MalformedError) Error() string { return e.Detail }

// DeadLetterReason is Reason, for the headers of the dead letter and the metric.
func (e *MalformedError) DeadLetterReason() string { return string(e.Reason) }

func malformed(reason Reason, format string, args ...any) error {
	return &MalformedError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// Decoder reads click events. The zero value is ready; it is for one goroutine.
type Decoder struct {
	json   *jsontext.Decoder
	source bytes.Buffer
}

// Decode reads one event: a JSON object with
//
//	user_id    a string or an integer, compared as text: 7 and "7" are one user
//	timestamp  seconds, milliseconds or microseconds since 1970 told apart by
//	           size, or an RFC 3339 string
//	page       a string
//
// Other fields are ignored. Duplicate names, invalid UTF-8 and anything behind
// the object make it malformed, as RFC 7493 (I-JSON) asks. The error is a
// *MalformedError.
func (d *Decoder) Decode(value []byte) (Click, error) {
	if click, ok := scan(value); ok {
		return click, nil
	}
	return d.decode(value)
}

// decode is Decode for events of any form.
func (d *Decoder) decode(value []byte) (Click, error) {
	switch {
	case len(value) == 0:
		return Click{}, malformed(NoValue, "the record has no value")
	case !utf8.Valid(value):
		return Click{}, malformed(InvalidUTF8, "the value is not valid UTF-8")
	}
	d.begin(value)
	fields, err := d.object()
	if err != nil {
		return Click{}, err
	}
	return fields.click()
}

func (d *Decoder) begin(value []byte) {
	// A *bytes.Buffer is what jsontext reads in place, without a copy.
	d.source = *bytes.NewBuffer(value)
	if d.json == nil {
		d.json = jsontext.NewDecoder(&d.source)
	} else {
		d.json.Reset(&d.source)
	}
}

// fields are an event's members by the first fault found in each; the first
// faulty one in a fixed order is reported, whatever their order in the event.
type fields struct {
	user, page string
	at         record.Timestamp
	demo       bool

	userErr, atErr, pageErr error
}

var (
	errNoUserID    = malformed(BadUserID, "user_id is missing: send a string or an integer")
	errNoTimestamp = malformed(BadTimestamp, "timestamp is missing: send epoch seconds, milliseconds or microseconds, or RFC 3339")
	errNoPage      = malformed(BadPage, "page is missing: send a string")
)

func (f fields) click() (Click, error) {
	if err := cmp.Or(f.userErr, f.atErr, f.pageErr); err != nil {
		return Click{}, err
	}
	return Click{User: f.user, Page: f.page, At: f.at, Demo: f.demo}, nil
}

func (d *Decoder) object() (fields, error) {
	f := fields{userErr: errNoUserID, atErr: errNoTimestamp, pageErr: errNoPage}
	if kind := d.json.PeekKind(); kind != jsontext.KindBeginObject {
		if err := d.json.SkipValue(); err != nil {
			return f, syntaxFault(err)
		}
		return f, malformed(NotAnObject, "the value is %s, not a JSON object", kindName(kind))
	}
	if _, err := d.json.ReadToken(); err != nil {
		return f, syntaxFault(err)
	}
	for d.json.PeekKind() != jsontext.KindEndObject {
		if err := d.member(&f); err != nil {
			return f, syntaxFault(err)
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return f, syntaxFault(err)
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return f, malformed(InvalidJSON, "something follows the object at byte %d", d.json.InputOffset())
	}
	return f, nil
}

func (d *Decoder) member(f *fields) error {
	name, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	field := fieldOf(name)
	if field == otherField {
		return d.json.SkipValue()
	}
	value, err := d.json.ReadValue()
	if err != nil {
		return err
	}
	switch field {
	case userField:
		f.user, f.userErr = userID(value)
	case timestampField:
		f.at, f.atErr = timestamp(value)
	case pageField:
		f.page, f.pageErr = page(value)
	case demoField:
		f.demo = value.Kind() == jsontext.KindTrue
	}
	return nil
}

type field int8

const (
	otherField field = iota
	userField
	timestampField
	pageField
	demoField
)

// fieldOf reads a member's name, which may be spelled with escapes.
func fieldOf(quoted jsontext.Value) field { return fieldNamed(unquote(quoted)) }

func fieldNamed(name string) field {
	switch name {
	case "user_id":
		return userField
	case "timestamp":
		return timestampField
	case "page":
		return pageField
	case "demo":
		return demoField
	}
	return otherField
}

func userID(value jsontext.Value) (id string, err error) {
	switch value.Kind() {
	case jsontext.KindString:
		id = unquote(value)
	case jsontext.KindNumber:
		if bytes.ContainsAny(value, ".eE") {
			return "", malformed(BadUserID, "user_id is a number with a fraction or exponent: send a string or an integer")
		}
		id = string(value)
	default:
		return "", malformed(BadUserID, "user_id is %s: send a string or an integer", kindName(value.Kind()))
	}
	return id, checkLength(id, MaxUserBytes, BadUserID, "user_id")
}

func page(value jsontext.Value) (string, error) {
	if value.Kind() != jsontext.KindString {
		return "", malformed(BadPage, "page is %s: send a string", kindName(value.Kind()))
	}
	text := unquote(value)
	return text, checkLength(text, MaxPageBytes, BadPage, "page")
}

func checkLength(text string, most int, reason Reason, name string) error {
	switch {
	case len(text) == 0:
		return malformed(reason, "%s is empty", name)
	case len(text) > most:
		return malformed(reason, "%s has %d bytes: at most %d are counted", name, len(text), most)
	}
	return nil
}

func timestamp(value jsontext.Value) (record.Timestamp, error) {
	switch value.Kind() {
	case jsontext.KindNumber:
		return epoch(value)
	case jsontext.KindString:
		at, err := time.Parse(time.RFC3339, unquote(value))
		if err != nil {
			return 0, malformed(BadTimestamp, "timestamp is a string that is not RFC 3339, such as 2026-01-15T10:31:09Z")
		}
		return record.TimestampOf(at), nil
	}
	return 0, malformed(BadTimestamp, "timestamp is %s: send a number or an RFC 3339 string", kindName(value.Kind()))
}

// Bounds of the sizes by which epoch units are told apart. Seconds end in the
// year 5138, milliseconds begin in March 1973 and end in 5138 as well.
const (
	secondsBelow      = 1e11
	millisecondsBelow = 1e14
	microsecondsBelow = 1e17
)

// yearOne is the earliest instant that is accepted: RFC 3339 has no earlier one.
var yearOne = record.TimestampOf(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC))

func epoch(number []byte) (record.Timestamp, error) {
	ms, err := strconv.ParseFloat(string(number), 64)
	size := math.Abs(ms)
	switch {
	case err != nil || size >= microsecondsBelow:
		return 0, malformed(BadTimestamp, "timestamp is too large: send epoch seconds, milliseconds or microseconds")
	case size < secondsBelow:
		ms *= 1000
	case size >= millisecondsBelow:
		ms /= 1000
	}
	at := record.Timestamp(math.Floor(ms))
	if at < yearOne {
		return 0, malformed(BadTimestamp, "timestamp is before the year 1")
	}
	return at, nil
}

// unquote is the text of a JSON string that was read, and so is valid.
func unquote(quoted jsontext.Value) string {
	text, _ := jsontext.AppendUnquote(nil, quoted)
	return string(text)
}

func syntaxFault(err error) error {
	reason, at := InvalidJSON, int64(0)
	if errors.Is(err, jsontext.ErrDuplicateName) {
		reason = DuplicateName
	}
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if ok {
		at, err = syntax.ByteOffset, syntax.Err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the value ends too early")
	}
	return malformed(reason, "%v at byte %d", err, at)
}

func kindName(kind jsontext.Kind) string {
	switch kind {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindBeginObject:
		return "an object"
	default:
		return "not JSON"
	}
}
