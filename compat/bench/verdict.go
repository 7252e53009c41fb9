package main

import (
	"fmt"
	"strconv"
	"strings"
)

// verdict says whether a row meets its goal: a comparison and a number, which is
// about the ratio when an x follows it and about the figure otherwise. Rows
// without such a goal, or without figures, get a dash.
func (r row) verdict() string {
	compare, rest, ok := strings.Cut(r.Goal, " ")
	digits := strings.IndexFunc(rest, func(c rune) bool { return (c < '0' || c > '9') && c != '.' })
	if digits < 0 {
		digits = len(rest)
	}
	bound, err := strconv.ParseFloat(rest[:digits], 64)
	figure := r.Millrace
	if strings.HasPrefix(rest[digits:], "x") {
		figure = r.Ratio
	}
	if !ok || err != nil || figure == 0 {
		return "-"
	}
	met := false
	switch compare {
	case "<=":
		met = figure <= bound
	case "<":
		met = figure < bound
	case ">=":
		met = figure >= bound
	default:
		return "-"
	}
	if met {
		return "met"
	}
	return fmt.Sprintf("missed by %.2fx", max(figure/bound, bound/figure))
}
