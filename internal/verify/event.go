package verify

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"math"
	"strconv"
	"strings"
	"time"
)

// click is what an event says.
type click struct {
	user, page string
	atMs       int64
}

// The rules of the input, as the documentation of the click job states them.
const (
	maxUserBytes = 1 << 10
	maxPageBytes = 4 << 10
	maxEpoch     = 1e17
)

// parse takes an event apart; ok is false for one that the job must refuse.
// encoding/json/v2 refuses duplicate names, invalid UTF-8 and trailing data.
func parse(value []byte) (c click, ok bool) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(value, &members); err != nil || members == nil {
		return click{}, false
	}
	if c.user, ok = userOf(members["user_id"]); !ok || c.user == "" || len(c.user) > maxUserBytes {
		return click{}, false
	}
	if c.page, ok = textOf(members["page"]); !ok || c.page == "" || len(c.page) > maxPageBytes {
		return click{}, false
	}
	c.atMs, ok = timeOf(members["timestamp"])
	return c, ok
}

func userOf(v jsontext.Value) (string, bool) {
	if v.Kind() == jsontext.KindNumber {
		return string(v), !strings.ContainsAny(string(v), ".eE")
	}
	return textOf(v)
}

func textOf(v jsontext.Value) (text string, ok bool) {
	if v.Kind() != jsontext.KindString {
		return "", false
	}
	return text, json.Unmarshal(v, &text) == nil
}

// timeOf is epoch seconds, milliseconds or microseconds by size, or RFC 3339, in
// milliseconds.
func timeOf(v jsontext.Value) (int64, bool) {
	first := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	if text, ok := textOf(v); ok {
		at, err := time.Parse(time.RFC3339, text)
		return at.UnixMilli(), err == nil
	}
	if v.Kind() != jsontext.KindNumber {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.Abs(n) >= maxEpoch {
		return 0, false
	}
	switch size := math.Abs(n); {
	case size < 1e11:
		n *= 1e3
	case size >= 1e14:
		n /= 1e3
	}
	return int64(math.Floor(n)), math.Floor(n) >= float64(first)
}
