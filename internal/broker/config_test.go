package broker

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestParseAdvertise(t *testing.T) {
	for text, want := range map[string]advertised{
		"":                   {},
		"kafka.example:9092": {"kafka.example", 9092},
		"kafka.example":      {"kafka.example", 0},
		"10.0.0.1:1":         {"10.0.0.1", 1},
		"[::1]:9092":         {"::1", 9092},
		"2001:db8::7":        {"2001:db8::7", 0},
	} {
		if got, err := parseAdvertise(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{":9092", "host:port", "host:70000", "a:b:c", "host:"} {
		if got, err := parseAdvertise(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

// What clients do wrong is logged, but not so often that it fills the disk.
func TestComplaintsAreBounded(t *testing.T) {
	var out strings.Builder
	c := newComplaints(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Unix(1000, 0)
	written := 0
	for range 1000 {
		if _, ok := c.admit(now); ok {
			written++
		}
	}
	if written != complaintBurst {
		t.Errorf("%d lines in one interval, want %d", written, complaintBurst)
	}
	dropped, ok := c.admit(now.Add(complaintInterval))
	if !ok || dropped != 1000-complaintBurst {
		t.Errorf("after the interval: %v, %d lines left out, want %d", ok, dropped, 1000-complaintBurst)
	}
	c.warn("something is wrong", "client", "a")
	if !strings.Contains(out.String(), "something is wrong") {
		t.Errorf("logged %q", out.String())
	}
}
