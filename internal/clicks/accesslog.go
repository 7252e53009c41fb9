package clicks

import (
	"bytes"
	"errors"
	"strings"
	"time"
	"unicode/utf8"
)

// AccessLine is what one line of an access log says about a click.
type AccessLine struct {
	Address string
	At      time.Time
	Page    string // the request's path without query, or "*"
}

// Reasons for which a line of an access log is no click.
var (
	errNoAddress   = errors.New("no client address at the start")
	errNoTime      = errors.New("no request time in [brackets]")
	errBadTime     = errors.New("the request time is not like 17/May/2015:10:05:03 +0000")
	errNoRequest   = errors.New("no request in quotes")
	errOpenRequest = errors.New("the request's closing quote is missing")
	errBadRequest  = errors.New("the request is not METHOD PATH PROTOCOL")
	errLineText    = errors.New("the line is not valid UTF-8")
	errLongAddress = errors.New("the client address is longer than 1 KiB")
	errLongPage    = errors.New("the path is longer than 4 KiB")
)

// accessTime is the time format of Apache's and nginx's default logs.
const accessTime = "02/Jan/2006:15:04:05 -0700"

// ParseAccessLine reads a line of Apache's or nginx's common or combined log
// format. Only address, time and request have to be sound: what stands behind
// the request, such as a user agent that was cut off, does not matter.
func ParseAccessLine(line []byte) (AccessLine, error) {
	if !utf8.Valid(line) {
		return AccessLine{}, errLineText
	}
	address, rest, _ := bytes.Cut(line, []byte(" "))
	if len(address) == 0 || address[0] == '[' || address[0] == '"' || len(rest) == 0 {
		return AccessLine{}, errNoAddress
	}
	if len(address) > MaxUserBytes {
		return AccessLine{}, errLongAddress
	}
	at, rest, err := accessTimeIn(rest)
	if err != nil {
		return AccessLine{}, err
	}
	request, err := quotedIn(rest)
	if err != nil {
		return AccessLine{}, err
	}
	page, err := pageOf(request)
	if err != nil {
		return AccessLine{}, err
	}
	return AccessLine{Address: string(address), At: at, Page: page}, nil
}

// accessTimeIn finds the first [time] and what follows it. The user's name
// stands before it and may hold blanks, but no bracket.
func accessTimeIn(text []byte) (at time.Time, rest []byte, err error) {
	_, inside, open := bytes.Cut(text, []byte("["))
	stamp, rest, closed := bytes.Cut(inside, []byte("]"))
	if !open || !closed {
		return at, nil, errNoTime
	}
	if at, err = time.Parse(accessTime, string(stamp)); err != nil {
		return at, nil, errBadTime
	}
	return at, rest, nil
}

// quotedIn is the first "quoted" text, in which a backslash hides a quote.
func quotedIn(text []byte) ([]byte, error) {
	start := bytes.IndexByte(text, '"')
	if start < 0 {
		return nil, errNoRequest
	}
	text = text[start+1:]
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i], nil
		}
	}
	return nil, errOpenRequest
}

// pageOf is the path of a request line such as `GET /a?b=c HTTP/1.1`. A request
// to a proxy names a host before the path.
func pageOf(request []byte) (string, error) {
	words := strings.Split(string(request), " ")
	if len(words) != 3 || words[0] == "" || !strings.HasPrefix(words[2], "HTTP/") {
		return "", errBadRequest
	}
	target, _, _ := strings.Cut(words[1], "?")
	target, _, _ = strings.Cut(target, "#")
	if _, remote, absolute := strings.Cut(target, "://"); absolute && target[0] != '/' {
		target = "/"
		if slash := strings.IndexByte(remote, '/'); slash >= 0 {
			target = remote[slash:]
		}
	}
	switch {
	case target == "":
		return "", errBadRequest
	case len(target) > MaxPageBytes:
		return "", errLongPage
	}
	return target, nil
}
