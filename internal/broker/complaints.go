package broker

import (
	"log/slog"
	"sync"
	"time"
)

// complaints logs what clients do wrong, at most so often that a hostile one
// cannot fill the disk with it. What is left out is counted in the next line.
type complaints struct {
	logger *slog.Logger

	mu struct {
		sync.Mutex
		left    int       // lines that may still be written in this interval
		until   time.Time // end of the interval
		dropped int
	}
}

const (
	complaintInterval = 10 * time.Second
	complaintBurst    = 20
)

func newComplaints(logger *slog.Logger) *complaints { return &complaints{logger: logger} }

func (c *complaints) warn(message string, attributes ...any) {
	dropped, ok := c.admit(time.Now())
	if !ok {
		return
	}
	if dropped > 0 {
		attributes = append(attributes, "similar_lines_left_out", dropped)
	}
	c.logger.Warn(message, attributes...)
}

// admit says whether a line may be written now, and how many were not before.
func (c *complaints) admit(now time.Time) (dropped int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !now.Before(c.mu.until) {
		c.mu.left, c.mu.until = complaintBurst, now.Add(complaintInterval)
	}
	if c.mu.left == 0 {
		c.mu.dropped++
		return 0, false
	}
	c.mu.left--
	dropped, c.mu.dropped = c.mu.dropped, 0
	return dropped, true
}
