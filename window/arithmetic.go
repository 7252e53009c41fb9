package window

import (
	"errors"
	"fmt"
	"time"

	"millrace/record"
)

// MaxSlices is the most slices that a hopping window may consist of.
const MaxSlices = 1000

// Validate says everything that is wrong with s, or returns nil.
func (s Spec) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	whole := func(what string, d time.Duration) {
		if d%time.Millisecond != 0 {
			fault("%s %v: use whole milliseconds, the resolution of Kafka's timestamps", what, d)
		}
		if d > maxSpan {
			fault("%s %v: at most %v", what, d, maxSpan)
		}
	}
	whole("window size", s.Size)
	whole("window slide", s.Slide)
	whole("grace", s.GracePeriod)
	whole("kept time", s.Kept)
	switch {
	case s.Size <= 0:
		fault("window size %v: it must be positive", s.Size)
	case s.Slide <= 0 || s.Slide > s.Size:
		fault("window slide %v: it must be positive and at most the size, %v", s.Slide, s.Size)
	case len(faults) == 0 && s.SlicesPerWindow() > min(MaxSlices, s.sliceMs()):
		fault("windows of %v every %v: each is %d slices of %v; at most %d, and not more than a slice has milliseconds: use a longer slide",
			s.Size, s.Slide, s.SlicesPerWindow(), s.Slice(), MaxSlices)
	}
	if s.GracePeriod < 0 || s.Kept < 0 {
		fault("grace %v and kept time %v: they cannot be negative", s.GracePeriod, s.Kept)
	}
	return errors.Join(faults...)
}

// maxSpan keeps all sums of times within 64 bits.
const maxSpan = 100 * 365 * 24 * time.Hour

// String is s as one would say it: "tumbling 1m0s, grace 5s".
func (s Spec) String() string {
	if s.IsZero() {
		return "none"
	}
	text := fmt.Sprintf("tumbling %v", s.Size)
	if s.Slide != s.Size {
		text = fmt.Sprintf("hopping %v every %v", s.Size, s.Slide)
	}
	if s.GracePeriod > 0 {
		text += fmt.Sprintf(", grace %v", s.GracePeriod)
	}
	if s.Kept > 0 {
		text += fmt.Sprintf(", kept %v", s.Kept)
	}
	return text
}

// Slice is the longest time of which windows and slides are whole multiples. A
// record changes one slice; a window is the sum of its slices.
func (s Spec) Slice() time.Duration { return time.Duration(s.sliceMs()) * time.Millisecond }

func (s Spec) sliceMs() int64 {
	a, b := s.Size.Milliseconds(), s.Slide.Milliseconds()
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// SlicesPerWindow is how many slices one window has; 1 for tumbling windows.
func (s Spec) SlicesPerWindow() int64 { return s.Size.Milliseconds() / s.sliceMs() }

// SliceStart is the start of the slice that t, which is not negative, lies in.
func (s Spec) SliceStart(t record.Timestamp) record.Timestamp {
	return floorTo(t, s.sliceMs())
}

// floorTo is t cut to a multiple of step, for t >= 0.
func floorTo(t record.Timestamp, step int64) record.Timestamp {
	return t - t%record.Timestamp(step)
}

// At is the window that begins at start.
func (s Spec) At(start record.Timestamp) Window {
	return Window{start, start + record.Timestamp(s.Size.Milliseconds())}
}

// LastStart is the start of the last window that t, not negative, belongs to.
func (s Spec) LastStart(t record.Timestamp) record.Timestamp {
	return floorTo(t, s.Slide.Milliseconds())
}

// FirstStart is the start of the first window that t, not negative, belongs to.
// As in Kafka Streams no window begins before the epoch.
func (s Spec) FirstStart(t record.Timestamp) record.Timestamp {
	size, slide := record.Timestamp(s.Size.Milliseconds()), record.Timestamp(s.Slide.Milliseconds())
	if t < size {
		return 0
	}
	return floorTo(t-size, int64(slide)) + slide
}

// CloseAt is the watermark at which w is final: its end plus the grace period.
// From then on a record for w is late. The rule is that of Kafka Streams, so that
// counts can be compared.
func (s Spec) CloseAt(w Window) record.Timestamp {
	return w.End + record.Timestamp(s.GracePeriod.Milliseconds())
}

// IsLate says that at the watermark all windows of t, which is not negative, are
// final.
func (s Spec) IsLate(t, watermark record.Timestamp) bool {
	return s.CloseAt(s.At(s.LastStart(t))) <= watermark
}

// FirstOpen is the start of the first window, of any record, that is not final at
// the watermark; 0 for one below the first close.
func (s Spec) FirstOpen(watermark record.Timestamp) record.Timestamp {
	span := record.Timestamp((s.Size + s.GracePeriod).Milliseconds())
	if watermark < span {
		return 0
	}
	return floorTo(watermark-span, s.Slide.Milliseconds()) + record.Timestamp(s.Slide.Milliseconds())
}

// DropBefore is the start before which slices are not needed any more at the
// watermark: all their windows are final, and not kept any longer either.
func (s Spec) DropBefore(watermark record.Timestamp) record.Timestamp {
	kept := record.Timestamp(s.Kept.Milliseconds())
	if watermark < kept {
		return 0
	}
	return s.FirstOpen(watermark - kept)
}
