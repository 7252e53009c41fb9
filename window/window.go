// Package window is the arithmetic of time windows and watermarks. Pure.
//
// Most readers need [Tumbling], [Hopping] and [Window].
package window

import (
	"time"

	"millrace/record"
)

// Window is the time from Start, included, to End, excluded: a record stamped
// exactly End belongs to the next window. As Kafka Streams' TimeWindow.
type Window struct {
	Start, End record.Timestamp
}

// Spec says how time is cut into windows: [Tumbling] or [Hopping]. The zero Spec
// is no window at all. Windows are aligned to the epoch, as in Kafka Streams.
type Spec struct {
	// Size is a window's length, Slide the distance between the starts of two
	// windows; they are equal for tumbling windows. Whole milliseconds.
	Size, Slide time.Duration

	// GracePeriod is how long after its end, in event time, a window still takes
	// records. A window is final at a watermark of its end plus grace.
	GracePeriod time.Duration

	// Kept is how long a final window can still be queried, in event time.
	Kept time.Duration
}

// IsZero says that s is no window.
func (s Spec) IsZero() bool { return s == Spec{} }

// Tumbling windows follow each other without gap or overlap.
func Tumbling(size time.Duration) Spec { return Spec{Size: size, Slide: size} }

// Hopping windows of the given size start every slide, so a record belongs to
// size/slide of them.
func Hopping(size, slide time.Duration) Spec { return Spec{Size: size, Slide: slide} }

// Grace is s with another grace period.
func (s Spec) Grace(d time.Duration) Spec {
	s.GracePeriod = d
	return s
}

// Keep is s with final windows kept for queries for another d.
func (s Spec) Keep(d time.Duration) Spec {
	s.Kept = d
	return s
}
