package window_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"millrace/record"
	"millrace/window"
)

func specs() *rapid.Generator[window.Spec] {
	return rapid.Custom(func(t *rapid.T) window.Spec {
		slide := rapid.Int64Range(1, 60).Draw(t, "slide") * 100
		size := slide + rapid.Int64Range(0, 60).Draw(t, "more")*50
		return window.Hopping(ms(size), ms(slide)).Grace(ms(rapid.Int64Range(0, 9000).Draw(t, "grace"))).Keep(ms(rapid.Int64Range(0, 9000).Draw(t, "kept")))
	})
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// windowsOf tries all starts: the definition.
func windowsOf(s window.Spec, at record.Timestamp) (starts []record.Timestamp) {
	for start := record.Timestamp(0); start <= at; start += record.Timestamp(s.Slide.Milliseconds()) {
		if w := s.At(start); w.Start <= at && at < w.End {
			starts = append(starts, start)
		}
	}
	return starts
}

func TestArithmeticAgreesWithTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := specs().Draw(t, "spec")
		if err := s.Validate(); err != nil {
			t.Skip(err)
		}
		at := record.Timestamp(rapid.Int64Range(0, 20_000).Draw(t, "at"))
		watermark := record.Timestamp(rapid.Int64Range(-10, 40_000).Draw(t, "watermark"))

		want := windowsOf(s, at)
		if first, last := s.FirstStart(at), s.LastStart(at); first != want[0] || last != want[len(want)-1] {
			t.Fatalf("%v at %d: first %d, last %d, want %v", s, at, first, last, want)
		}
		late := true
		for _, start := range want {
			open := s.CloseAt(s.At(start)) > watermark
			late = late && !open
			if open != (start >= s.FirstOpen(watermark)) {
				t.Fatalf("%v: window %d at watermark %d: open %v, but the first open one is %d", s, start, watermark, open, s.FirstOpen(watermark))
			}
		}
		if s.IsLate(at, watermark) != late {
			t.Fatalf("%v: %d at watermark %d: late %v", s, at, watermark, late)
		}

		slice := s.SliceStart(at)
		if slice > at || at >= slice+record.Timestamp(s.Slice().Milliseconds()) {
			t.Fatalf("%v: %d is not in its slice %d", s, at, slice)
		}
		if got := windowsOf(s, slice); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: the slice %d is in %v, its record %d in %v", s, slice, got, at, want)
		}
		if slice < s.DropBefore(watermark) && !s.IsLate(at, watermark-record.Timestamp(s.Kept.Milliseconds())) {
			t.Fatalf("%v: slice %d dropped at %d, though it is needed", s, slice, watermark)
		}
	})
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := window.Hopping(time.Minute+time.Nanosecond, 2*time.Minute).Grace(-time.Second).Validate()
	for _, part := range []string{"whole milliseconds", "at most the size", "cannot be negative"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	for _, bad := range []window.Spec{
		{}, window.Tumbling(0), window.Tumbling(-time.Second), window.Hopping(time.Hour, 0),
		window.Hopping(time.Hour, time.Second), window.Hopping(10*time.Millisecond, time.Millisecond),
		window.Tumbling(1 << 62),
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	for _, good := range []window.Spec{
		window.Tumbling(time.Minute), window.Hopping(time.Hour, time.Minute), window.Hopping(10*time.Second, 3*time.Second),
		window.Tumbling(time.Millisecond), window.Tumbling(24 * time.Hour).Grace(time.Hour).Keep(240 * time.Hour),
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}

func ExampleTumbling() {
	minutes := window.Tumbling(time.Minute).Grace(5 * time.Second)
	at := record.TimestampOf(time.Date(2026, 11, 23, 10, 0, 59, 0, time.UTC))
	w := minutes.At(minutes.LastStart(at))
	fmt.Println(w.Start.Time().Format(time.TimeOnly), w.End.Time().Format(time.TimeOnly))
	fmt.Println("final at", minutes.CloseAt(w).Time().Format(time.TimeOnly))
	fmt.Println(minutes)
	// Output:
	// 10:00:00 10:01:00
	// final at 10:01:05
	// tumbling 1m0s, grace 5s
}

func ExampleHopping() {
	s := window.Hopping(10*time.Minute, 5*time.Minute)
	at := record.TimestampOf(time.Date(2026, 11, 23, 10, 7, 0, 0, time.UTC))
	for start := s.FirstStart(at); start <= s.LastStart(at); start += record.Timestamp(s.Slide.Milliseconds()) {
		fmt.Println(start.Time().Format(time.TimeOnly))
	}
	// Output:
	// 10:00:00
	// 10:05:00
}
