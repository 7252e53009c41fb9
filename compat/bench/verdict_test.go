package main

import "testing"

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		row  row
		want string
	}{
		{row{Goal: "<= 0.5x", Millrace: 2009, Ratio: 0.41}, "met"},
		{row{Goal: "<= 0.5x", Millrace: 2009, Ratio: 0.75}, "missed by 1.50x"},
		{row{Goal: ">= 100 MB/s", Millrace: 50, Ratio: 3}, "missed by 2.00x"},
		{row{Goal: ">= 0.95x", Millrace: 2, Ratio: 0.95}, "met"},
		{row{Goal: "<= 5 %", Millrace: 5}, "met"},
		{row{Goal: "<= 3", Millrace: 3.3}, "missed by 1.10x"},
		{row{Goal: "< 300 MiB", Millrace: 300}, "missed by 1.00x"},
		{row{Goal: "<= 1x, aim 0.5x", Millrace: 9, Ratio: 1}, "met"},
		{row{Goal: "<= 300 ms (10 GB)", Millrace: 299}, "met"},
		{row{Goal: "<= 0.5x", Millrace: 9}, "-"}, // nothing to compare with
		{row{Goal: "usable", Millrace: 9}, "-"},
		{row{Goal: "-", Millrace: 9}, "-"},
	} {
		if got := c.row.verdict(); got != c.want {
			t.Errorf("goal %q, figure %v, ratio %v: %s, want %s", c.row.Goal, c.row.Millrace, c.row.Ratio, got, c.want)
		}
	}
}
