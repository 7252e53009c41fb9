package main

import (
	"strconv"
	"strings"
	"time"

	"millrace/internal/client"
	"millrace/record"
)

const positionHelp = "beginning, end, an offset, -N (the last N), -1h (that long ago) or a time (2026-01-15T10:00:00Z)"

// parsePosition reads where to start in a log:
//
//	beginning  end  17  -10  -1h30m  2026-01-15T10:00:00Z  2026-01-15
//
// A bare number is an offset, a negative one counts back from the end, a
// negative duration counts back from now.
func parsePosition(text string, now time.Time) (client.Start, error) {
	switch text {
	case "beginning", "start", "earliest":
		return client.FromBeginning(), nil
	case "end", "latest":
		return client.FromEnd(), nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 {
			return client.FromLast(-n), nil
		}
		return client.FromOffset(record.Offset(n)), nil
	}
	if back, isBack := strings.CutPrefix(text, "-"); isBack {
		if d, err := time.ParseDuration(back); err == nil {
			return client.FromTime(now.Add(-d)), nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return client.FromTime(t), nil
		}
	}
	return client.Start{}, usage("use "+positionHelp, "%q is not a position in a log", text)
}
